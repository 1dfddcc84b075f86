"""`type: change` beside ElastAlert's ChangeRule, and where it differs on purpose."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.conformance.elastalert.client import (
    SECOND,
    START,
    Batch,
    Oracle,
    Seen,
    Stream,
    differential,
    our_matches,
    random_batches,
    wire,
)

VALUES = ["de", "nl", "", 0, 1, False, True, None, [], ["a"], ["b", 1], {"x": 1}]


def login(random: Random) -> dict[str, Any]:
    fields = {
        "user": random.choice("abc"),
        "host": {"ip": random.choice("12")},
        "country": random.choice(VALUES),
        "geo": {"city": random.choice(VALUES[:4])},
    }
    return {name: value for name, value in fields.items() if random.random() < 0.9}


def stream(seed: int) -> Stream:
    random = Random(seed)
    options: dict[str, Any] = {
        "query_key": random.choice(["user", "host.ip", ["user", "host.ip"]]),
        "compare_key": random.choice(["country", "geo.city", ["country", "geo.city"]]),
        "ignore_null": random.random() < 0.5,
    }
    if random.random() < 0.5:
        options["timeframe"] = {"seconds": random.choice([1, 10, 45])}
    return Stream("change", options, random_batches(random, login))


def test_random_streams_have_the_same_matches(oracle: Oracle) -> None:
    compared = differential(oracle, [stream(seed) for seed in range(1000)])
    assert compared.streams == 1000
    assert compared.matches > 3000


def test_their_rules_share_what_they_remember_and_ours_do_not(oracle: Oracle) -> None:
    events = (
        Seen(START, {"user": "a", "country": "de"}),
        Seen(START + SECOND, {"user": "a", "country": "nl"}),
    )
    options = {"query_key": "user", "compare_key": "country", "ignore_null": True}
    given = [
        Stream("change", {**options, **more}, (Batch(events, START + SECOND),))
        for more in ({"timeframe": {"hours": 1}}, {})
    ]
    _first, second = oracle.ask([wire(given[0]), {**wire(given[1]), "keep": True}])
    assert second["error"].startswith("KeyError")
    assert [len(our_matches(one)[0]) for one in given] == [1, 1]
