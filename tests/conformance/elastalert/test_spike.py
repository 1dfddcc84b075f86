"""`type: spike` in compatible mode beside ElastAlert's SpikeRule."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.conformance.elastalert.client import Oracle, Stream, differential, random_batches

#: Placeholders say that they are, and show a key whose events lack the field as `other`.
SHOWN_OTHERWISE = ("placeholder", "user")


def fields(random: Random) -> dict[str, Any]:
    found = {"user": random.choice("ab"), "size": random.choice([0, 1, 3, 7.9, "12", "x"])}
    return {name: value for name, value in found.items() if random.random() < 0.9}


def stream(seed: int) -> Stream:
    random = Random(seed)
    options: dict[str, Any] = {
        "timeframe": {"seconds": random.choice([5, 20, 60])},
        "spike_height": random.choice([1, 1.5, 3]),
        "spike_type": random.choice(["up", "down", "both"]),
    }
    if random.random() < 0.5:
        options["query_key"] = "user"
        options["alert_on_new_data"] = random.random() < 0.5
    if random.random() < 0.3:
        options["field_value"] = "size"
    elif random.random() < 0.7:
        options |= {"threshold_ref": random.randint(0, 3), "threshold_cur": random.randint(0, 3)}
    every = random.choice([10, 30])
    return Stream("spike", options, random_batches(random, fields, runs=16, every=every))


def test_random_streams_have_the_same_matches(oracle: Oracle) -> None:
    compared = differential(oracle, [stream(seed) for seed in range(1000)], ignore=SHOWN_OTHERWISE)
    assert compared.streams == 1000
    assert compared.matches > 2000
