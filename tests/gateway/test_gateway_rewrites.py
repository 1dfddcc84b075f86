"""Rewrites through a real Envoy: the path an app sees, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway.conftest import App, Gateway, ask, new_port, raw
from tests.gateway.worlds import World, blueprint, cluster, sensor

Apps = Callable[..., App]


@pytest.fixture
def world(gateway: Gateway, apps: Apps) -> World:
    return World(gateway, apps)


def serve(world: World, port: int, *rewrites: str, more: str = "") -> None:
    listed = ", ".join(f'"{each}"' for each in rewrites)
    inner = f"routes: {{'web:1': {{rewrites: [{listed}]}}}}"
    world.serve(blueprint(cluster("web", "1", gateways=inner), gateways=f"{port}: web", more=more))


def target(world: World, app: str = "web:1") -> str:
    return world.apps[app].asked[-1].target


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        ("/old", "/new"),
        ("/old?q=1&r=2", "/new?q=1&r=2"),
        ("/old/", "/old/"),
        ("/other", "/other"),
        ("/", "/"),
    ],
)
def test_a_path_is_replaced_where_the_condition_matches(
    world: World, port: int, asked: str, seen: str
) -> None:
    serve(world, port, "/new if path is /old")
    assert ask(port, asked).by == "web:1" and target(world) == seen


@pytest.mark.parametrize(
    ("new", "seen"),
    [
        ("/v1%[path]", "/v1/a/b"),
        ("%[path]", "/a/b"),
        ("%[path]%[path]/c", "/a/b/a/b/c"),
        ("/%41%[path]", "/%41/a/b"),
        ("/$1%[path]", "/$1/a/b"),
    ],
)
def test_the_path_as_it_came_can_be_part_of_the_new_one(world: World, port: int, new: str, seen: str) -> None:
    serve(world, port, f"{new} if has header x-v")
    assert ask(port, "/a/b?x=%2F", x_v="1").by == "web:1" and target(world) == f"{seen}?x=%2F"


def test_of_several_that_match_the_last_one_counts(world: World, port: int) -> None:
    """As with HAProxy's `set-path`, one after the other."""
    serve(world, port, "/one if has header x-one", "/two if has header x-two", "/three if has header x-three")
    ask(port, x_one="1", x_two="1")
    assert target(world) == "/two"


def test_rewrites_of_outer_gateways_hold_until_an_inner_one_says_otherwise(world: World, port: int) -> None:
    inner = "routes: {'web:1': {rewrites: [/inner if has header x-inner]}}"
    outer = f"{port}: {{routes: {{web: {{rewrites: [/outer if has header x-outer]}}}}}}"
    world.serve(blueprint(cluster("web", "1", gateways=inner), gateways=outer))
    seen = []
    for headers in HEADERS:
        ask(port, "/", "GET", b"", **headers)
        seen.append(target(world))
    assert seen == ["/outer", "/inner", "/inner"]


HEADERS: list[dict[str, str]] = [{"x_outer": "1"}, {"x_inner": "1"}, {"x_outer": "1", "x_inner": "1"}]


@pytest.mark.parametrize("sticky", ["none", "route"])
def test_an_outer_rewrite_holds_before_a_gateway_of_weights_alone(
    world: World, port: int, sticky: str
) -> None:
    inner = f"sticky: {sticky}, routes: {{'web:1': {{weight: 50%}}, 'web:2': {{weight: 50%}}}}"
    outer = f"{port}: {{routes: {{web: {{rewrites: ['/v1%[path] if has header x']}}}}}}"
    world.serve(blueprint(cluster("web", "1", "2", gateways=inner), gateways=outer))
    served = {ask(port, "/a", x="1").by for _ in range(16)}
    assert served == {"web:1", "web:2"}
    assert {asked.target for name in world.apps for asked in world.apps[name].asked} == {"/v1/a"}


def test_each_route_has_its_own_rewrites(world: World, port: int) -> None:
    routes = (
        "routes: {'web:1': {weight: 100%, rewrites: [/one if path is /x]}, "
        "'web:2': {weight: 0%, condition: has cookie beta, rewrites: [/two if path is /x]}}"
    )
    world.serve(blueprint(cluster("web", "1", "2", gateways=routes), gateways=f"{port}: web"))
    assert (ask(port, "/x").by, target(world)) == ("web:1", "/one")
    assert (ask(port, "/x", cookie="beta=1").by, target(world, "web:2")) == ("web:2", "/two")


def test_nothing_tells_the_app_that_a_path_was_rewritten(world: World, port: int) -> None:
    serve(world, port, "/new if path is /old")
    assert not {name for name in ask(port, "/old").seen if "original" in name}


def test_a_diverted_request_is_repeated_as_it_was_asked_and_rewritten_alike(world: World, port: int) -> None:
    """The outer gateway's rewrite is everybody's; the newest version's own is not the audited one's."""
    world.behave = {"web:2": sensor}
    inner = (
        "routes: {'web:1': {weight: 0%}, 'web:2': {weight: 100%, rewrites: ['%[path]/live if has header x']}}"
    )
    policy = "isolation: {web: {to: 'web:1', keys: [cookie session], for: 1h}}"
    outer = f"{port}: {{routes: {{web: {{rewrites: ['/app%[path] if path starts with /']}}}}}}"
    world.serve(blueprint(cluster("web", "1", "2", gateways=inner), gateways=outer, more=policy))
    assert ask(port, "/attack?q=1", cookie="session=r1", x="1").by == "web:1"
    assert target(world, "web:2") == "/attack/live?q=1" and target(world) == "/app/attack?q=1"
    assert ask(port, "/next", cookie="session=r1").by == "web:1" and target(world) == "/app/next"


@pytest.fixture(scope="module")
def prefixed(gateway: Gateway) -> tuple[int, App]:
    """A port that puts `/v1` before every path."""
    made: list[App] = []
    world = World(gateway, lambda *how: made.append(App(*how)) or made[-1])  # type: ignore[func-returns-value]
    port = new_port()
    serve(world, port, "/v1%[path] if path starts with /")
    return port, world.apps["web:1"]


PATHS = st.lists(
    st.sampled_from([*"abc/.-_~!$&'()*+,;=:@%\\|^`{}\"<>[]", "%41", "%2F", "\xe9", "%00", "#"]), max_size=20
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=PATHS, query=st.sampled_from(["", "?", "?a=/b", "?a=%[path]"]))
def test_whatever_the_path_holds_it_is_only_prefixed(
    prefixed: tuple[int, App], parts: list[str], query: str
) -> None:
    port, app = prefixed
    app.asked.clear()
    asked = "/x" + "".join(parts) + query
    reply = raw(port, f"GET {asked} HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\r\n".encode("latin-1"))
    if app.asked:
        seen = app.asked[-1].target
        assert seen.startswith("/v1/") and seen.endswith(query if "#" not in asked else "")
    else:
        assert reply.status == 400
