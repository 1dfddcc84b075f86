"""`type: frequency` beside ElastAlert's FrequencyRule."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.conformance.elastalert.client import Oracle, Stream, differential, random_batches


def user_and_ip(random: Random) -> dict[str, Any]:
    fields = {"user": random.choice("abc"), "host": {"ip": random.choice(["1", "2"])}}
    return {name: value for name, value in fields.items() if random.random() < 0.9}


def stream(seed: int) -> Stream:
    random = Random(seed)
    options: dict[str, Any] = {
        "num_events": random.randint(1, 5),
        "timeframe": {"seconds": random.choice([5, 20, 60])},
        "attach_related": random.random() < 0.3,
    }
    key = random.choice([None, "user", "host.ip", ["user", "host.ip"]])
    if key is not None:
        options["query_key"] = key
    return Stream("frequency", options, random_batches(random, user_and_ip))


def test_random_streams_have_the_same_matches(oracle: Oracle) -> None:
    compared = differential(oracle, [stream(seed) for seed in range(1000)])
    assert compared.streams == 1000
    assert compared.matches > 1000


def counted(seed: int) -> Stream:
    random = Random(seed)
    feed = random.choice(["count", "terms"])
    options: dict[str, Any] = {
        "num_events": random.randint(1, 8),
        "timeframe": {"seconds": random.choice([20, 30, 60, 100])},
        f"use_{feed}_query": True,
    }
    if feed == "terms":
        options["query_key"] = random.choice(["user", "host.ip"])
    return Stream("frequency", options, random_batches(random, user_and_ip), feed=feed)


def test_counts_that_polls_find_have_the_same_matches(oracle: Oracle) -> None:
    compared = differential(oracle, [counted(seed) for seed in range(500)])
    assert compared.streams == 500
    assert compared.matches > 500
