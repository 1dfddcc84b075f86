"""What selectors make of routes is recorded: weights outlive changes, restarts and a broker that is away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.control.test_control_deployments import Office, office, text

from divertor.control.deployments import GATEWAYS
from divertor.errors import ConflictError
from divertor.model.reading import read_blueprint, read_gateway

pytestmark = pytest.mark.anyio

SELECTING = r"{name: all, port: 9100, selector: 'name(web:(\d+))'}"


async def create(here: Office, gateway: str) -> None:
    await here.deployments.create_gateway(read_gateway(gateway, "gateway"), "me")
    await here.deployments.record_selected()


async def add(here: Office, *versions: str) -> None:
    """Merges these versions; they run at once, and it is recorded what became of the routes."""
    await here.deployments.merge("shop", read_blueprint(text(*versions), "x"), "me")
    here.run()
    await here.deployments.record_selected()


def weights(here: Office) -> dict[str, int | None]:
    return {route.path: route.weight for route in here.deployments.gateway("all").routes}


async def test_a_new_version_gets_nothing_until_it_is_given_a_weight(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("2")
        await create(here, SELECTING)
        await add(here, "1")
        assert weights(here) == {"(2)": 100, "(1)": 0}
        changed = {"routes": {"(2)": {"weight": "10%"}, "(1)": {"weight": "90%"}}}
        await here.deployments.update_gateway(
            "all", {"port": 9100, "selector": r"name(web:(\d+))", **changed}, "me"
        )
        await add(here, "3")
        assert weights(here) == {"(2)": 10, "(1)": 90, "(3)": 0}


async def test_the_first_version_keeps_everything_after_a_restart(broker: Any) -> None:
    """By its name alone the newer one would come first."""
    async with office(broker) as here:
        await here.deploy("2")
        await create(here, SELECTING)
        await add(here, "1")
    async with office(broker) as again:
        for deployment in await again.deployments.load():
            again.runtime.deploy(deployment)
        assert weights(again) == {"(2)": 100, "(1)": 0}
        await again.deployments.record_selected()  # nothing runs yet, as far as is known
        assert weights(again) == {"(2)": 100, "(1)": 0}


async def test_a_change_of_what_runs_is_told_as_a_change_of_routes(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1")
        await create(here, SELECTING)
        await add(here, "2")
        told = [event for event in here.told if "gateways:all" in event.tags]
        assert "(2) added with 0%" in str(told[-1].body["message"])
        assert "its selector" in str(told[-1].body)


async def test_nothing_is_recorded_when_nothing_changed(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1")
        await create(here, SELECTING)
        await here.deployments.record_selected()
        before = await here.state.get(GATEWAYS, "all")
        here.run()
        await here.deployments.record_selected()
        assert before == await here.state.get(GATEWAYS, "all")


async def test_it_is_recorded_as_soon_as_something_runs(broker: Any) -> None:
    async with office(broker) as here:
        told = asyncio.Event()
        here.deployments._route = told.set  # who is told of routing
        await here.deploy("1")
        await here.deployments.create_gateway(read_gateway(SELECTING, "gateway"), "me")
        told.clear()
        keeping = asyncio.create_task(here.deployments.keep_selected())
        async with asyncio.timeout(5):
            await told.wait()
        keeping.cancel()
        assert weights(here) == {"(1)": 100}


async def test_a_gateway_that_another_leads_to_is_not_deleted(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1")
        await create(here, "{name: back, routes: shop/web}")
        await create(here, "{name: front, port: 9101, routes: back}")
        with pytest.raises(ConflictError, match="the route back leads to no gateway"):
            await here.deployments.delete_gateway("back", "me")
        await here.deployments.delete_gateway("front", "me")
        await here.deployments.delete_gateway("back", "me")


async def test_a_deployment_that_gets_copies_is_not_deleted(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1")
        mirrored = "{name: front, port: 9101, mirror: 'shop/web/web:1', routes: '[192.0.2.1:80]'}"
        await create(here, mirrored)
        with pytest.raises(ConflictError, match="shop/web/web:1 leads to no gateway"):
            await here.deployments.delete("shop", "me")


async def test_virtual_hosts_are_refused_where_nobody_serves_them(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1")
        with pytest.raises(ConflictError, match="--virtual-hosts-port"):
            await create(here, "{name: front, virtual_hosts: shop.example, routes: shop/web}")
        assert await here.state.list(GATEWAYS) == {}


SELECTED = r"{port: 9051, selector: 'name(web:(\d+))'}"


async def merge(here: Office, gateway: str) -> list[tuple[str, int | None, bool]]:
    """Merges a blueprint with this gateway and what runs already; the gateway's routes."""
    document = text("1", "2").replace("{9051: web/port}", f"{{9051: {gateway}}}")
    await here.deployments.merge("shop", read_blueprint(document, "x"), "me")
    here.run()
    await here.deployments.record_selected()
    routes = here.deployments.gateway("shop/9051").routes
    return [(route.path, route.weight, route.condition is not None) for route in routes]


async def test_merging_the_same_selector_again_moves_nobody(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1", "2")
        assert await merge(here, SELECTED) == [("(1)", 100, False), ("(2)", 0, False)]
        changed = {"routes": {"(1)": {"weight": "0%"}, "(2)": {"weight": "100%"}}}
        await here.deployments.update_gateway("shop/9051", changed, "me")
        assert await merge(here, SELECTED) == [("(1)", 0, False), ("(2)", 100, False)]


async def test_what_a_blueprint_says_of_a_group_leaves_its_weight(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1", "2")
        await merge(here, SELECTED)
        conditional = SELECTED.replace("}", ", routes: {(2): {condition: has cookie beta}}}")
        assert sorted(await merge(here, conditional)) == [("(1)", 100, False), ("(2)", 0, True)]


async def test_weights_that_a_blueprint_gives_to_groups_count(broker: Any) -> None:
    async with office(broker) as here:
        await here.deploy("1", "2")
        await merge(here, SELECTED)
        weighted = SELECTED.replace("}", ", routes: {(2): {weight: 100%}}}")
        assert sorted(await merge(here, weighted)) == [("(1)", 0, False), ("(2)", 100, False)]
