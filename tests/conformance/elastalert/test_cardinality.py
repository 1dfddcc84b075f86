"""`type: cardinality` beside ElastAlert's CardinalityRule."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.conformance.elastalert.client import Oracle, Stream, differential, random_batches


def access(random: Random) -> dict[str, Any]:
    fields = {
        "user": random.choice("ab"),
        "host": {"ip": random.choice("12")},
        "page": random.choice(["p", "q", "r", "s", 5, "5", ["p"], ["p", "q"], None]),
    }
    return {name: value for name, value in fields.items() if random.random() < 0.9}


def stream(seed: int) -> Stream:
    random = Random(seed)
    options: dict[str, Any] = {
        "cardinality_field": "page",
        "timeframe": {"seconds": random.choice([5, 20, 60])},
    }
    bound = random.choice(["max_cardinality", "min_cardinality"])
    options[bound] = random.randint(1, 4)
    key = random.choice([None, "user", "host.ip", ["user", "host.ip"]])
    if key is not None:
        options["query_key"] = key
    return Stream("cardinality", options, random_batches(random, access, runs=10))


def test_random_streams_have_the_same_matches(oracle: Oracle) -> None:
    compared = differential(oracle, [stream(seed) for seed in range(1000)])
    assert compared.streams == 1000
    assert compared.matches > 3000
