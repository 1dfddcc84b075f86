"""The reconciler's decision: stable names and ports, and nobody stopped while requests may still come."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.errors import InputError
from divertor.model.artifacts import ADDRESS, COMMAND, Breed, Deployable, Port, Scale
from divertor.model.deployments import DeployedCluster, DeployedService, Deployment
from divertor.runtime.instances import InstanceState, ObservedInstance, address_of
from divertor.runtime.reconcile import Plan, Scene, plan, with_instances

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _pick(excluded: Collection[int]) -> int:
    return next(port for port in range(20000, 30000) if port not in excluded)


def _service(name: str, instances: int = 1, kind: str = COMMAND, definition: str = "run") -> DeployedService:
    breed = Breed(name, Deployable(kind, definition), (Port("port", 80),))
    return DeployedService(breed, Scale(instances=instances))


def _deployment(*services: DeployedService) -> Deployment:
    return Deployment("d", (DeployedCluster("c", services),) if services else ())


def _observed(of: Plan, state: InstanceState = InstanceState.RUNNING) -> tuple[ObservedInstance, ...]:
    return tuple(ObservedInstance(item.name, "d", state, item.ports, run=1) for item in of.running)


def _first(deployment: Deployment) -> Plan:
    return plan(deployment, Scene((), _pick), now=0.0)


def test_every_instance_gets_a_name_and_a_port_of_its_own() -> None:
    first = _first(_deployment(_service("a", 2), _service("b")))
    assert [(item.name, item.ports) for item in first.wanted] == [
        ("d/c/a/0", (20000,)),
        ("d/c/a/1", (20001,)),
        ("d/c/b/0", (20002,)),
    ]
    assert first.start == ("d/c/a/0", "d/c/a/1", "d/c/b/0")


def test_a_new_control_plane_keeps_what_it_sees_where_it_is() -> None:
    seen = (ObservedInstance("d/c/a/0", "d", InstanceState.RUNNING, (23456,)),)
    again = plan(_deployment(_service("a", 2)), Scene(seen, _pick), now=0.0)
    assert [item.ports for item in again.wanted] == [(23456,), (20000,)]
    assert (again.keep, again.start) == (("d/c/a/0",), ("d/c/a/1",))


def test_ports_of_other_deployments_are_not_given_away() -> None:
    seen = (ObservedInstance("other/c/a/0", "other", InstanceState.RUNNING, (20000,)),)
    found = plan(_deployment(_service("a")), Scene(seen, _pick), now=0.0)
    assert (found.wanted[0].ports, found.stop) == ((20001,), ())


def test_one_that_is_down_because_its_port_was_taken_gets_another() -> None:
    first = _first(_deployment(_service("a")))
    scene = Scene(_observed(first, InstanceState.DOWN), _pick, first, is_free=lambda port: port != 20000)
    assert plan(_deployment(_service("a")), scene, now=1.0).wanted[0].ports == (20001,)


def test_a_running_one_keeps_its_port_although_it_holds_it() -> None:
    first = _first(_deployment(_service("a")))
    scene = Scene(_observed(first), _pick, first, is_free=lambda _port: False)
    assert plan(_deployment(_service("a")), scene, now=1.0).wanted[0].ports == (20000,)


def test_one_too_many_drains_before_it_stops() -> None:
    first = _first(_deployment(_service("a", 2)))
    second = plan(_deployment(_service("a", 1)), Scene(_observed(first), _pick, first), now=10.0, drain=5.0)
    assert [item.name for item in second.wanted] == ["d/c/a/0"]
    assert [item.name for item in second.running] == ["d/c/a/0", "d/c/a/1"]
    assert (second.stop, second.next_deadline) == ((), 15.0)
    third = plan(_deployment(_service("a", 1)), Scene(_observed(second), _pick, second), now=15.0)
    assert (third.stop, third.next_deadline) == (("d/c/a/1",), None)


def test_one_that_the_gateway_still_routes_to_is_never_stopped() -> None:
    first = _first(_deployment(_service("a")))
    leaving = plan(_deployment(), Scene(_observed(first), _pick, first), now=0.0)
    scene = Scene(_observed(first), _pick, leaving, routed=frozenset({"d/c/a/0"}))
    assert plan(_deployment(), scene, now=1e6).stop == ()


def test_one_that_comes_back_while_it_drains_stays_on_its_port() -> None:
    first = _first(_deployment(_service("a")))
    leaving = plan(_deployment(), Scene(_observed(first), _pick, first), now=0.0)
    back = plan(_deployment(_service("a")), Scene(_observed(leaving), _pick, leaving), now=1.0)
    assert (back.wanted[0].ports, back.draining) == ((20000,), {})


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.floats(0, 10)), max_size=12))
@settings(max_examples=150, deadline=None)
def test_whatever_is_scaled_ports_never_clash_and_nothing_stops_undrained(
    steps: list[tuple[int, int, float]],
) -> None:
    now, before = 0.0, None
    for a, b, wait in steps:
        now += wait
        seen = () if before is None else _observed(before)
        after = plan(_deployment(_service("a", a), _service("b", b)), Scene(seen, _pick, before), now, 5.0)
        ports = [port for item in after.running for port in item.ports]
        assert len(ports) == len(set(ports))
        assert len(after.wanted) == a + b
        if before is not None:
            assert all(before.draining[name].deadline <= now for name in after.stop)
            kept = {item.name: item.ports for item in before.running}
            assert all(item.ports == kept.get(item.name, item.ports) for item in after.running)
        before = after


def test_an_address_is_one_instance_where_it_says() -> None:
    found = _first(_deployment(_service("a", 3, ADDRESS, "127.0.0.1:9000")))
    assert [(item.host, item.ports) for item in found.wanted] == [("127.0.0.1", (9000,))]


@pytest.mark.parametrize(
    "definition", ["", "localhost", ":80", "a:0", "a:70000", "a b:80", "http://a:80", "::1:80"]
)
def test_a_wrong_address_is_refused(definition: str) -> None:
    with pytest.raises(InputError, match=r"breed a: .* is no address; expected HOST:PORT"):
        address_of(_service("a", 1, ADDRESS, definition).breed)


def test_an_ipv6_address_is_written_in_brackets() -> None:
    assert address_of(_service("a", 1, ADDRESS, "[::1]:80").breed) == ("::1", 80)


def test_a_service_is_done_when_all_its_instances_may_take_requests() -> None:
    deployment = _deployment(_service("a", 2))
    first = _first(deployment)
    filled = with_instances(deployment, first, _observed(first), (), NOW)
    service = filled.clusters[0].services[0]
    assert [(item.name, item.ports, item.deployed) for item in service.instances] == [
        ("d/c/a/0", {"port": 20000}, True),
        ("d/c/a/1", {"port": 20001}, True),
    ]
    assert (service.status.phase, service.status.since) == ("Done", NOW)


@pytest.mark.parametrize("state", [InstanceState.STARTING, InstanceState.DOWN])
def test_one_that_does_not_run_takes_no_requests(state: InstanceState) -> None:
    deployment = _deployment(_service("a"))
    first = _first(deployment)
    service = with_instances(deployment, first, _observed(first, state), (), NOW).clusters[0].services[0]
    assert (service.instances[0].deployed, service.status.phase) == (False, "Updating")


def test_an_unhealthy_one_takes_no_requests() -> None:
    deployment = _deployment(_service("a"))
    first = _first(deployment)
    filled = with_instances(deployment, first, _observed(first), {"d/c/a/0"}, NOW)
    assert not filled.clusters[0].services[0].instances[0].deployed


def test_nothing_new_changes_nothing() -> None:
    deployment = _deployment(_service("a"))
    first = _first(deployment)
    once = with_instances(deployment, first, _observed(first), (), NOW)
    assert with_instances(once, first, _observed(first), (), NOW.replace(year=2027)) == once
