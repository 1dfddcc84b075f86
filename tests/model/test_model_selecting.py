"""What selectors select, in Vamp's example world, and the routes that follow."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from divertor.model.artifacts import Breed, Deployable, Port, Route
from divertor.model.deployments import DeployedCluster, DeployedService, Deployment, Instance
from divertor.model.reading_selectors import parse_selector
from divertor.model.selecting import Candidate, Group, candidates, selected, selected_routes


def of_version(
    name: str, kind: str, namespace: str, labels: dict[str, str], hosts: tuple[int, ...]
) -> list[Candidate]:
    return [
        Candidate(
            name,
            kind,
            namespace,
            f"magneticio/{name}.0",
            labels,
            f"172.17.0.{host}",
            8080 + index,
            index,
            8000 + host * 100 + 80 + index,
        )
        for host in hosts
        for index in (0, 1)
    ]


WORLD = (
    *of_version(
        "sava:1.0", "app", "default", {"io.vamp.cluster": "sava", "io.vamp.service": "sava:1.0"}, (1, 2)
    ),
    *of_version("sava:1.1", "pod", "vamp", {"io.vamp.service": "sava:1.1", "sava": "1.1"}, (3, 4)),
)


def chosen(text: str) -> dict[str, set[int]]:
    """The group's names, and where their members listen."""
    groups = selected(parse_selector(text), WORLD, "default")
    return {group.name: {member.listens for member in group.members} for group in groups}


ALL = {8180, 8181, 8280, 8281, 8380, 8381, 8480, 8481}
FIRST, SECOND = {8180, 8181, 8280, 8281}, {8380, 8381, 8480, 8481}


@pytest.mark.parametrize(
    ("text", "listening"),
    [
        ("name(sava:1.0)", FIRST),
        ("kind(pod)", SECOND),
        ("namespace(default)", FIRST),
        ("namespace($namespace)", FIRST),
        ("image(magneticio/sava:1.0.*)", FIRST),
        ("label(io.vamp.*)(sava:1.1.*)", SECOND),
        ("ip(172.17.0.1)", {8180, 8181}),
        ("port(8080)", {8180, 8280, 8380, 8480}),
        ("port(8080) or ip(172.17.0.2)", {8180, 8280, 8281, 8380, 8480}),
        ("port(8080) and ip(172.17.0.2)", {8280}),
        ("!(port(8080) || ip(172.17.0.2)) && true", {8181, 8381, 8481}),
        ("true", ALL),
        ("port_index(0)", {8180, 8280, 8380, 8480}),
        ("not namespace($namespace)", SECOND),
    ],
)
def test_without_captures_what_is_selected_is_one_group(text: str, listening: set[int]) -> None:
    assert chosen(text) == {"()": listening}


def test_nothing_selected_is_no_group() -> None:
    assert chosen("false") == chosen("name(sava)") == {}


def test_a_capture_makes_a_group_of_each_text_it_matches() -> None:
    assert chosen("label(io.vamp.*)(sava:1.(.*)) and index(0)") == {"(0)": {8180, 8280}, "(1)": {8380, 8480}}
    assert chosen("ip(172.17.0.(.*)) and index(0)") == {
        "(1)": {8180},
        "(2)": {8280},
        "(3)": {8380},
        "(4)": {8480},
    }


def test_several_captures_are_joined() -> None:
    assert chosen("label(io.vamp.*)(sava:1.(.*)) and ip(172.17.0.(.*)) and index(0)") == {
        "(0),(1)": {8180},
        "(0),(2)": {8280},
        "(1),(3)": {8380},
        "(1),(4)": {8480},
    }


def test_what_no_path_may_hold_is_encoded_in_a_groups_name() -> None:
    assert set(chosen("image((.*)) and index(0)")) == {
        "(magneticio%2Fsava:1.0.0)",
        "(magneticio%2Fsava:1.1.0)",
    }


def running(deployable: Deployable, *instances: Instance) -> Deployment:
    ports = (Port("web", 80), Port("admin", 81))
    breed = Breed("s:1", deployable, ports, extras={"metadata": {"tier": {"zone": 7}, "old": True, "l": [1]}})
    service = DeployedService(breed, instances=instances, extras={"metadata": {"old": "no"}})
    return Deployment("d", (DeployedCluster("c", (service,)),))


def test_every_port_of_every_instance_is_a_candidate_with_its_metadata_as_labels() -> None:
    up = Instance("i", "127.0.0.1", {"web": 20001, "admin": 20002}, True)
    found = candidates([running(Deployable("command", "run"), up)])
    first = Candidate(
        "s:1",
        "command",
        "d",
        "",
        {
            "tier.zone": "7",
            "old": "no",
            "io.vamp.deployment": "d",
            "io.vamp.cluster": "c",
            "io.vamp.service": "s:1",
        },
        "127.0.0.1",
        80,
        0,
        20001,
        True,
    )
    assert found == (first, replace(first, port=81, index=1, listens=20002))


def test_an_instance_that_is_down_is_still_a_candidate() -> None:
    (web, _) = candidates([running(Deployable("container/docker", "an/image"), Instance("i", "127.0.0.1"))])
    assert (web.deployed, web.image) == (False, "an/image")


def weights(before: dict[str, int | None] | None, *groups: str) -> dict[str, int | None]:
    routes = selected_routes([Route(path, weight) for path, weight in (before or {}).items()], groups)
    return {route.path: route.weight for route in routes}


def test_the_first_group_ever_gets_everything() -> None:
    assert weights(None, "(a)", "(b)") == {"(a)": 100, "(b)": 0}


def test_a_new_group_gets_nothing() -> None:
    assert weights({"(b)": 100}, "(a)", "(b)") == {"(b)": 100, "(a)": 0}


def test_a_vanished_group_is_dropped_and_the_others_keep_their_proportions() -> None:
    assert weights({"(a)": 40, "(b)": 20, "(c)": 40}, "(b)", "(c)") == {"(b)": 33, "(c)": 67}


def test_when_all_that_had_weight_has_vanished_the_first_left_takes_over() -> None:
    assert weights({"(a)": 100, "(b)": 0}, "(b)", "(c)") == {"(b)": 100, "(c)": 0}


def test_a_gateway_that_was_shut_stays_shut() -> None:
    assert weights({"(a)": 0, "(b)": 0}, "(a)", "(c)") == {"(a)": 0, "(c)": 0}


def test_a_group_without_a_weight_of_its_own_shares_what_is_left() -> None:
    assert weights({"(a)": 10, "(b)": None}, "(a)", "(b)") == {"(a)": 10, "(b)": 90}


def test_a_kept_route_keeps_its_condition() -> None:
    (route,) = selected_routes([Route("(a)", 50, condition_strength=7), Route("(b)", 50)], ["(a)"])
    assert route == Route("(a)", 100, condition_strength=7)


@given(st.dictionaries(st.sampled_from("abcdefg"), st.integers(0, 14)), st.sets(st.sampled_from("abcdefgh")))
def test_weights_sum_up_to_100_or_to_nothing(before: dict[str, int], groups: set[str]) -> None:
    found = weights(dict(before), *sorted(groups))
    assert sum(weight or 0 for weight in found.values()) in (0, 100)
    assert set(found) == groups


def test_a_group_knows_its_members_in_their_order() -> None:
    (group,) = selected(parse_selector("ip(.*1)"), WORLD)
    assert group == Group("()", WORLD[:2])
