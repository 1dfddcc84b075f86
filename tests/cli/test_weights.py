"""`divertor gateways set`: which routes are meant, and what stays."""

from __future__ import annotations

from typing import Any

import pytest

from divertor.cli.errors import RefusedError
from divertor.cli.gateways import _settings, with_weights

GATEWAY: dict[str, Any] = {
    "name": "d/c/p",
    "sticky": "none",
    "routes": {"d/c/s:1/p": {"weight": "0%", "condition": None}, "d/c/s:2/p": {"weight": "100%"}},
}


def test_a_service_stands_for_its_route() -> None:
    changed = with_weights(GATEWAY, {"s:1": "10%", "s:2": "90%"})
    assert [route["weight"] for route in changed["routes"].values()] == ["10%", "90%"]


def test_a_route_may_be_meant_by_its_path() -> None:
    assert with_weights(GATEWAY, {"d/c/s:1/p": "5%"})["routes"]["d/c/s:1/p"]["weight"] == "5%"


def test_everything_else_stays() -> None:
    changed = with_weights(GATEWAY, {"s:1": "10%"})
    assert changed["sticky"] == "none" and changed["routes"]["d/c/s:2/p"] == {"weight": "100%"}


def test_the_original_is_not_touched() -> None:
    with_weights(GATEWAY, {"s:1": "10%"})
    assert GATEWAY["routes"]["d/c/s:1/p"]["weight"] == "0%"


def test_an_unknown_route_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RefusedError, match="d/c/p has no route s:3; it has s:1, s:2"):
        with_weights(GATEWAY, {"s:3": "10%"})


def test_what_else_a_gateway_does_is_shown_as_it_is_written() -> None:
    gateway = GATEWAY | {"timeout": "30s", "mirror": {"s:2": "10%"}, "virtual_hosts": []}
    gateway["routes"] = {"a/b": {"weight": "1%", "rewrites": [{"path": "/x if path is /y"}]}}
    assert list(_settings(gateway)) == [
        "timeout: 30s",
        'mirror: {"s:2": "10%"}',
        'a/b: rewrites: [{"path": "/x if path is /y"}]',
    ]
