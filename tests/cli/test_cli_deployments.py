"""`divertor deployments show`: each gateway and each policy on a line."""

from __future__ import annotations

from divertor.cli.deployments import _gateway_line, _policy_line

POLICY = {"to": "web:1", "keys": ["cookie session", "user id"], "for": "1d", "mode": "divert"}


def test_a_gateway_is_called_by_its_port_or_else_by_its_name() -> None:
    routes: dict[str, object] = {"shop/web/port": {}}
    assert (
        _gateway_line("9051", {"port": "9051/http", "routes": routes}) == "gateway 9051/http → shop/web/port"
    )
    assert _gateway_line("beta", {"port": "0/http", "routes": routes}) == "gateway beta → shop/web/port"
    assert _gateway_line("all", {"port": "0/http", "routes": {}}) == "gateway all → nothing yet"


def test_a_policy_says_who_is_moved_where_and_who_never() -> None:
    line = "attackers of web → web:1, known by cookie session, user id, for 1d"
    assert _policy_line("web", POLICY) == line
    allowing = POLICY | {"allow": "header x-test is scanner"}
    assert _policy_line("web", allowing) == line + ", but never who matches header x-test is scanner"


def test_a_policy_that_moves_nobody_says_so() -> None:
    assert _policy_line("web", POLICY | {"mode": "simulate"}).endswith("(simulated: nobody is moved)")
