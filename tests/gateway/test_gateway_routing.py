"""Who gets which version, through a real Envoy: conditions, strength, weights, stickiness, health, failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from divertor.conditions import parse, to_envoy
from divertor.envoy.plan import Check, Endpoint, Listener, Route, Snapshot, Upstream
from tests.gateway.conftest import Answer, App, Gateway, Reply, ask, listener, upstream

Apps = Callable[..., App]


def route(name: str, weight: int, condition: str = "", strength: int = 100) -> Route:
    predicate = to_envoy(parse(condition)) if condition else None
    return Route(f"shop/web/{name}/port", name, weight, predicate, strength)


def served(replies: list[Reply]) -> Counter[str | None]:
    return Counter(reply.by for reply in replies)


@pytest.fixture
def two(apps: Apps) -> tuple[Upstream, Upstream]:
    return upstream("a", apps("a")), upstream("b", apps("b"))


def test_smoke(gateway: Gateway, two: tuple[Upstream, Upstream], port: int) -> None:
    gateway.apply(Snapshot((listener(port, route("a", 100), route("b", 0)),), two))
    assert ask(port).by == "a"
