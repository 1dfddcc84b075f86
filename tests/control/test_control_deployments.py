"""Deployments with a real broker: a change is whole or not at all, in record, routing and runtime."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme

from divertor.bus import Bus, State
from divertor.control.artifacts import Artifacts
from divertor.control.deployments import KIND, Deployments
from divertor.control.rollback import Rollback
from divertor.envoy.plan import Route, Snapshot
from divertor.errors import (
    ConflictError,
    DivertorError,
    InputError,
    NotFoundError,
    Position,
    UnavailableError,
)
from divertor.gateway.planning import Choices
from divertor.model.artifacts import Artifact, Blueprint, Gateway
from divertor.model.deployments import Deployment, Instance
from divertor.model.events import Event
from divertor.model.reading import read_artifacts, read_blueprint, read_gateway
from divertor.model.rendering import deployment_to_json, gateway_to_json
from divertor.rules.reading.actions import ReleaseOptions

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def text(*versions: str, port: int = 9051, name: str = "shop", extra: str = "") -> str:
    services = "\n".join(
        f"      - breed: {{name: 'web:{version}', deployable: {{type: command, definition: run}}, "
        "ports: {port: 80}}"
        for version in versions
    )
    return (
        f"name: {name}\ngateways: {{{port}: web/port}}\nclusters:\n  web:\n    services:\n{services}\n{extra}"
    )


@dataclass
class Runs:
    """A runtime that has every instance running at once; 'unrunnable' in a command cannot be run."""

    wanted: dict[str, Deployment] = field(default_factory=dict)

    def deploy(self, deployment: Deployment) -> None:
        for cluster in deployment.clusters:
            if any("unrunnable" in service.breed.deployable.definition for service in cluster.services):
                raise InputError("it cannot be run", Position("runtime"))
        self.wanted[deployment.name] = deployment

    def remove(self, name: str) -> None:
        self.wanted.pop(name, None)

    def running(self) -> list[Deployment]:
        return [self._with_instances(deployment) for deployment in self.wanted.values()]

    def _with_instances(self, deployment: Deployment) -> Deployment:
        clusters = []
        for cluster in deployment.clusters:
            services = tuple(
                replace(service, instances=(Instance(service.name, "127.0.0.1", {"port": 7000 + at}, True),))
                for at, service in enumerate(cluster.services)
            )
            clusters.append(replace(cluster, services=services))
        return replace(deployment, clusters=tuple(clusters))


@dataclass
class Office:
    """The deployments of one control plane, and everything they touch."""

    deployments: Deployments
    artifacts: Artifacts
    state: State
    runtime: Runs
    told: list[Event]
    routed: list[Snapshot]
    rollback: Rollback

    async def give(self, first: int) -> None:
        """Moves customers between the two versions."""
        routes = {
            f"shop/web/web:{at}/port": {"weight": f"{part}%"} for at, part in ((1, first), (2, 100 - first))
        }
        await self.deployments.update_gateway("shop/web/port", {"routes": routes}, "me")

    async def deploy(self, *versions: str, **more: Any) -> Deployment:
        found = await self.deployments.deploy(read_blueprint(text(*versions, **more), "x"), "shop", "me")
        self.run()
        return found

    def run(self) -> None:
        for deployment in self.runtime.running():
            self.deployments.ran(deployment)

    async def everything(self) -> Any:
        """What a refused change must leave as it was."""
        recorded = {name: entry.value for name, entry in (await self.state.list(KIND)).items()}
        return recorded, self.deployments.snapshot(), dict(self.runtime.wanted), len(self.told)

    def weights(self) -> dict[str, int]:
        return {route.name.split("/")[2]: route.weight for route in self.routes()}

    def routes(self) -> tuple[Route, ...]:
        """The routes of the cluster's gateway, behind the only port."""
        (listener,) = self.deployments.snapshot().listeners
        _, inner = listener.gates
        return inner.routes


@asynccontextmanager
async def office(broker: Any, taken: frozenset[int] = frozenset()) -> AsyncIterator[Office]:
    bus = await Bus.connect(broker.url, broker.password, "test")
    state, runtime, told, routed = State(bus), Runs(), list[Event](), list[Snapshot]()

    async def publish(events: list[Event]) -> None:
        told.extend(events)

    def free_port(port: int) -> None:
        if port in taken:
            raise ConflictError(f"port {port} is in use")

    def route() -> None:
        routed.append(here.deployments.snapshot())

    artifacts = Artifacts(state, publish, lambda: NOW)
    choices = Choices(isolation_secret=b"i", divert_secret=b"d")
    rollback = Rollback(state, lambda: here.deployments, lambda: NOW)
    deployments = Deployments(
        state, artifacts, runtime, choices, publish, route, lambda: NOW, free_port, rollback.note
    )
    here = Office(deployments, artifacts, state, runtime, told, routed, rollback)
    try:
        yield here
    finally:
        await bus.close()


async def test_a_deployment_is_recorded_run_routed_and_told(broker: Any) -> None:
    async with office(broker) as here:
        deployment = await here.deploy("1")
        assert here.runtime.wanted.keys() == {"shop"} == (await here.state.list(KIND)).keys()
        assert here.routed[-1].upstreams[0].endpoints[0].port == 7000
        assert here.told[0].tags == ("synchronization:deployed", "deployments:shop")
        assert here.deployments.get("shop").clusters[0].services[0].instances and deployment.name == "shop"


async def test_a_merged_version_gets_nothing_until_it_is_given_a_weight(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1")
        await here.deployments.merge("shop", read_blueprint(text("2"), "x"), "me")
        assert here.weights() == {"web:1": 100, "web:2": 0}


async def test_a_gateway_put_back_with_other_weights_moves_the_traffic(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1", "2")
        wanted = gateway_to_json(here.deployments.gateway("shop/web/port"))
        wanted["routes"]["shop/web/web:1/port"]["weight"] = "10%"
        wanted["routes"]["shop/web/web:2/port"]["weight"] = "90%"
        await here.deployments.update_gateway("shop/web/port", wanted, "me")
        assert here.weights() == {"web:1": 10, "web:2": 90}
        assert "web:1 50% → 10%" in str(here.told[-1].body["message"])


async def test_a_deployment_put_back_with_a_condition_isolates_a_session(broker: Any) -> None:
    """What scripts for Vamp do: GET, set a condition, PUT."""
    async with office(broker) as here:
        await here.deploy("1", "2")
        wanted = deployment_to_json(here.deployments.get("shop"))
        routes = wanted["clusters"]["web"]["gateways"]["port"]["routes"]
        next(iter(routes.values()))["condition"] = "cookie PHPSESSID has 3f9c"
        await here.deployments.update("shop", wanted, "me")
        assert "3f9c" in str(here.routes()[0].predicate)


async def test_a_version_that_carries_traffic_is_not_removed(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1", "2")
        before = await here.everything()
        with pytest.raises(ConflictError):
            await here.deployments.remove("shop", read_blueprint(text("2"), "x"), "me")
        assert await here.everything() == before


async def test_a_version_without_traffic_is_removed(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1")
        await here.deployments.merge("shop", read_blueprint(text("2"), "x"), "me")
        await here.deployments.remove("shop", read_blueprint(text("2"), "x"), "me")
        assert here.weights() == {"web:1": 100}


async def test_removing_all_of_it_ends_the_deployment(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1")
        assert await here.deployments.remove("shop", read_blueprint(text("1"), "x"), "me") is None
        assert here.runtime.wanted == {} and here.deployments.snapshot() == Snapshot()


async def test_a_deleted_deployment_is_gone_everywhere(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1")
        await here.deployments.delete("shop", "me")
        assert (await here.everything())[:3] == ({}, Snapshot(), {})
        assert here.told[-1].tags[0] == "synchronization:undeployed"
        with pytest.raises(NotFoundError):
            here.deployments.get("shop")


REFUSED = {
    "the name is taken": (text("1"), "shop"),
    "a port is another gateway's": (text("1", name="other"), "other"),
    "a port is another program's": (text("1", port=9999), "other"),
    "it cannot be run": (text("1", port=9052).replace("definition: run", "definition: unrunnable"), "other"),
    "a breed is nowhere": ("name: x\nclusters: {web: {services: nowhere}}", "other"),
}


@pytest.mark.parametrize("why", REFUSED)
async def test_a_refused_deployment_changes_nothing(broker: Any, why: str) -> None:
    async with office(broker, taken=frozenset({9999})) as here:
        await here.deploy("1")
        before = await here.everything()
        blueprint, name = REFUSED[why]
        with pytest.raises(DivertorError):
            await here.deployments.deploy(read_blueprint(blueprint, "x"), name, "me")
        assert await here.everything() == before


async def test_without_the_broker_nothing_changes(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1")
        before, snapshot = dict(here.runtime.wanted), here.deployments.snapshot()
        broker.kill()
        with pytest.raises(UnavailableError):
            await here.deployments.delete("shop", "me")
        assert here.runtime.wanted == before and here.deployments.snapshot() == snapshot


async def test_trying_a_change_changes_nothing(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1")
        before = await here.everything()
        two = read_blueprint(text("2"), "x")
        await here.deployments.deploy(
            read_blueprint(text("1", port=9052), "x"), "y", "me", validate_only=True
        )
        tried = await here.deployments.merge("shop", two, "me", validate_only=True)
        await here.deployments.delete("shop", "me", validate_only=True)
        assert len(tried.clusters[0].services) == 2 and await here.everything() == before


async def test_a_restarted_control_plane_goes_on_where_the_last_one_was(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1", "2", extra="isolation: {web: {to: 'web:1', keys: [cookie session]}}\n")
        await here.deployments.create_gateway(_gateway(9060), "me")
        snapshot = here.deployments.snapshot()
    async with office(broker) as again:
        for recorded in await again.deployments.load():
            assert not again.deployments.is_complete()
            again.runtime.deploy(recorded)
        again.run()
        assert again.deployments.is_complete() and again.deployments.snapshot() == snapshot
        assert again.deployments.policies().keys() == {"shop/web"}


def _gateway(port: int, path: str = "shop/web/port") -> Gateway:
    return read_gateway(f"name: extra\nport: {port}\nroutes: {path}\n", "x")


async def test_a_gateway_of_its_own_comes_changes_and_goes(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1")
        await here.deployments.create_gateway(_gateway(9060), "me")
        assert {each.port for each in here.deployments.snapshot().listeners} == {9051, 9060}
        await here.deployments.update_gateway(
            "extra", {**gateway_to_json(_gateway(9061)), "name": "extra"}, "me"
        )
        assert {each.port for each in here.deployments.snapshot().listeners} == {9051, 9061}
        with pytest.raises(ConflictError, match="still leads to"):
            await here.deployments.delete("shop", "me")
        await here.deployments.delete_gateway("extra", "me")
        await here.deployments.delete("shop", "me")


@pytest.mark.parametrize("gateway", [_gateway(9051), _gateway(9060, "nowhere/web/port"), _gateway(9999)])
async def test_a_refused_gateway_changes_nothing(broker: Any, gateway: Gateway) -> None:
    async with office(broker, taken=frozenset({9999})) as here:
        await here.deploy("1")
        before = await here.everything()
        with pytest.raises(DivertorError):
            await here.deployments.create_gateway(gateway, "me")
        assert await here.everything() == before and await here.state.list("gateways") == {}


async def test_a_breed_by_name_is_taken_from_the_library(broker: Any) -> None:
    async with office(broker) as here:
        breed = "kind: breeds\nname: web:7\ndeployable: {type: command, definition: run}\nports: {port: 80}\n"
        (artifact,) = read_artifacts(breed, "x")
        assert await here.artifacts.put(artifact, "me") and not await here.artifacts.put(artifact, "me")
        blueprint = read_blueprint("name: x\nclusters: {web: {services: 'web:7'}}", "x")
        deployed = await here.deployments.deploy(blueprint, "shop", "me")
        assert deployed.clusters[0].services[0].breed.deployable.definition == "run"
        assert await here.artifacts.list("breeds") == [artifact] and isinstance(artifact, Artifact)
        assert await here.artifacts.delete("breeds", "web:7", "me")
        assert [each.tags[0] for each in here.told if each.type == "archive"] == [
            "archiving:create",
            "archiving:update",
            "archiving:delete",
        ]


def with_tls(certificate: Path, key: Path, version: str = "1") -> Blueprint:
    tls = f"{{certificate: {certificate}, key: {key}}}"
    port = f"{{9051: {{routes: web/port, tls: {tls}}}}}"
    return read_blueprint(text(version).replace("{9051: web/port}", port), "x")


def pair(directory: Path) -> tuple[Path, Path]:
    issued = trustme.CA().issue_cert("shop.example")
    issued.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    issued.private_key_pem.write_to_path(directory / "key.pem")
    return directory / "cert.pem", directory / "key.pem"


async def test_a_certificate_that_cannot_be_served_is_no_change(broker: Any, tmp_path: Path) -> None:
    certificate, key = pair(tmp_path)
    async with office(broker) as here:
        await here.deployments.deploy(with_tls(certificate, key), "shop", "me")
        before = await here.everything()
        with pytest.raises(ConflictError, match="gateway shop/9051: .*gone.pem cannot be read"):
            await here.deployments.merge("shop", with_tls(tmp_path / "gone.pem", key), "me")
        assert await here.everything() == before


async def test_a_certificate_that_went_bad_in_use_stops_no_other_change(broker: Any, tmp_path: Path) -> None:
    certificate, key = pair(tmp_path)
    async with office(broker) as here:
        await here.deployments.deploy(with_tls(certificate, key), "shop", "me")
        certificate.unlink()
        await here.deployments.merge("shop", with_tls(certificate, key, "2"), "me")
        here.run()
        assert here.weights() == {"web:1": 100, "web:2": 0}


async def test_a_gateway_of_its_own_needs_a_certificate_too(broker: Any, tmp_path: Path) -> None:
    tls = f"{{certificate: {tmp_path}/a.pem, key: {tmp_path}/b.pem}}"
    async with office(broker) as here:
        await here.deploy("1")
        gateway = read_gateway(f"{{name: front, port: 9052, routes: shop/web/port, tls: {tls}}}", "x")
        with pytest.raises(ConflictError, match="gateway front: .*a.pem cannot be read"):
            await here.deployments.create_gateway(gateway, "me", validate_only=True)


async def test_what_a_change_of_a_gateway_of_its_own_does_not_say_stays(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1")
        await here.deployments.create_gateway(
            read_gateway("{name: front, port: 9052, routes: shop/web/port, retries: 2}", "x"), "me"
        )
        await here.deployments.update_gateway("front", {"timeout": "5s", "retries": None}, "me")
        front = here.deployments.gateway("front")
        assert (front.port, [route.path for route in front.routes]) == (9052, ["shop/web/port"])
        assert (front.traffic.timeout is None, front.traffic.retries) == (False, None)


def _alarm(time: datetime = NOW) -> Any:
    """What a rule that only counts has found."""
    rule = SimpleNamespace(name="errors", type="frequency")
    return SimpleNamespace(event=None, id="m", rule=rule, document={}, time=time)


async def test_the_last_change_of_weights_is_taken_back(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1", "2")
        await here.give(90)
        await here.give(20)
        await here.rollback.roll_back(_alarm(), ReleaseOptions("shop/web/port", "too many errors"))
        assert here.weights() == {"web:1": 90, "web:2": 10}
        assert "rule errors: too many errors changed gateway" in str(here.told[-1].body["message"])


async def test_a_second_alarm_does_not_go_forward_again(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1", "2")
        await here.give(100)
        await here.give(0)
        for _ in range(3):
            await here.rollback.roll_back(_alarm(), ReleaseOptions("shop/web/port"))
        assert here.weights() == {"web:1": 100, "web:2": 0}


async def test_what_people_changed_meanwhile_is_not_undone(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1", "2")
        await here.give(100)
        await here.give(0)
        await here.state.put(
            "weights", "shop/web/port", {"before": {}, "after": {"x": 1}, "taken_back": False, "at": ""}
        )
        with pytest.raises(ConflictError, match="changed since"):
            await here.rollback.roll_back(_alarm(), ReleaseOptions("shop/web/port"))
        assert here.weights() == {"web:1": 0, "web:2": 100}


async def test_what_people_took_back_themselves_is_not_put_forward_by_a_late_alarm(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1", "2")
        for first in (100, 0, 100):
            await here.give(first)
        await here.rollback.roll_back(_alarm(), ReleaseOptions("shop/web/port"))
        assert here.weights() == {"web:1": 100, "web:2": 0}


async def test_a_version_that_is_tried_once_more_is_taken_back_once_more(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1", "2")
        for first in (100, 0, 100, 0):
            await here.give(first)
        await here.rollback.roll_back(_alarm(), ReleaseOptions("shop/web/port"))
        assert here.weights() == {"web:1": 100, "web:2": 0}


async def test_an_alarm_about_what_was_before_a_change_does_not_take_it_back(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1", "2")
        await here.give(100)
        await here.give(0)
        with pytest.raises(ConflictError, match="changed after that"):
            await here.rollback.roll_back(_alarm(NOW - timedelta(seconds=1)), ReleaseOptions("shop/web/port"))
        assert here.weights() == {"web:1": 0, "web:2": 100}


async def test_a_version_added_without_customers_is_no_change_to_take_back(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1")
        await here.deployments.merge("shop", read_blueprint(text("2"), "x"), "me")
        with pytest.raises(NotFoundError, match="never changed"):
            await here.rollback.roll_back(_alarm(), ReleaseOptions("shop/web/port"))


async def test_the_gateway_is_that_of_the_application_the_event_is_about(broker: Any) -> None:
    isolation = "isolation: {web: {to: 'web:1', keys: [client address]}}"
    async with office(broker) as here:
        await here.deploy("1", "2", extra=isolation)
        await here.give(100)
        await here.give(0)
        await here.rollback.roll_back(_alarm(), ReleaseOptions())
        assert here.weights() == {"web:1": 100, "web:2": 0}
