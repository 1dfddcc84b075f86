"""`type: flatline` in compatible mode beside ElastAlert's FlatlineRule."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.conformance.elastalert.client import Oracle, Stream, differential, random_batches

#: A match without an event shows the query_key here, and only `key` there.
SHOWN_OTHERWISE = ("user", "user,host")


def fields(random: Random) -> dict[str, Any]:
    found = {"user": random.choice("abc"), "host": random.choice("12")}
    return {name: value for name, value in found.items() if random.random() < 0.9}


def stream(seed: int) -> Stream:
    random = Random(seed)
    options: dict[str, Any] = {
        "timeframe": {"seconds": random.choice([20, 30, 60, 90])},
        "threshold": random.randint(1, 4),
        "forget_keys": random.random() < 0.3,
    }
    key = random.choice([None, "user", ["user", "host"]])
    if key is not None:
        options["query_key"] = key
    return Stream("flatline", options, random_batches(random, fields, runs=12))


def test_random_streams_have_the_same_matches(oracle: Oracle) -> None:
    compared = differential(oracle, [stream(seed) for seed in range(1000)], ignore=SHOWN_OTHERWISE)
    assert compared.streams == 1000
    assert compared.matches > 5000
