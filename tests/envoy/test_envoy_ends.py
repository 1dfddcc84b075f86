"""The size of a tree of routes, counted beforehand and counted in what was built."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.envoy.ends import ends
from divertor.envoy.plan import Gate, Host, Isolated, Listener, Paths, Rewrite, Route
from divertor.envoy.routes import route_configuration

PATHS = Paths("/xds", "/table", "/recent", "/log", "/admin")
ANY: dict[str, Any] = {"single_predicate": {}}


def built(node: dict[str, Any]) -> int:
    """The routes at the ends of a tree."""
    if "action" in node:
        return len(node["action"]["typed_config"]["routes"])
    matcher = node["matcher"]
    listed = [each["on_match"] for each in matcher.get("matcher_list", {}).get("matchers", ())]
    mapped = matcher.get("matcher_tree", {}).get("exact_match_map", {}).get("map", {}).values()
    last = [matcher["on_no_match"]] if "on_no_match" in matcher else []
    return sum(built(each) for each in (*listed, *mapped, *last))


ISOLATED = st.builds(
    Isolated,
    st.just("s/c"),
    st.just("a"),
    st.just(()),
    st.just(0),
    st.just("t"),
    allow=st.sampled_from([None, ANY]),
)


def gates(within: st.SearchStrategy[Gate] | None) -> st.SearchStrategy[Gate]:
    routes = st.builds(
        Route,
        st.just("r"),
        st.just("u") if within is None else st.just("u") | within,
        st.sampled_from([0, 10, 50]),
        st.sampled_from([None, ANY]),
        st.sampled_from([0, 50, 100]),
        st.lists(st.just(Rewrite("/x", ANY)), max_size=2).map(tuple),
    )
    named = st.lists(routes, max_size=3).map(
        lambda found: tuple(replace(route, name=f"r{at}") for at, route in enumerate(found))
    )
    return st.builds(
        Gate, st.just("g"), named, st.sampled_from(["none", "route", "instance"]), st.none() | ISOLATED
    )


@settings(max_examples=60, deadline=None)
@given(gates(gates(gates(None))))
def test_what_is_counted_is_what_is_built(gate: Gate) -> None:
    (host,) = route_configuration(Listener("l", "127.0.0.1", 1, (Host(gate),)), PATHS)["virtual_hosts"]
    assert built({"matcher": host["matcher"]}) == ends(gate)


def test_a_hundred_conditions_with_a_strength_each_are_a_list_of_two_each() -> None:
    """And the weights of everybody else: no explosion."""
    routes = tuple(Route(f"r{at}", f"u{at}", 1, ANY, 50) for at in range(100))
    assert ends(Gate("g", routes)) == 201
