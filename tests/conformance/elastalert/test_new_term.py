"""`type: new_term` beside ElastAlert's NewTermsRule, and where it differs on purpose."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.conformance.elastalert.client import Oracle, Stream, differential, random_batches

VALUES = ["a", "b", "c", "5", 5, 5.0, 0, "", None, True, False, ["a"], ["a", "b"], {"x": 1}, 1]


def login(random: Random) -> dict[str, Any]:
    fields = {
        "user": random.choice(VALUES),
        "host": {"ip": random.choice(["1", "2", ""])},
        "port": random.choice([80, 443, None]),
    }
    return {name: value for name, value in fields.items() if random.random() < 0.9}


def stream(seed: int) -> Stream:
    random = Random(seed)
    options: dict[str, Any] = {"alert_on_missing_field": random.random() < 0.5}
    fields = random.choice(
        [
            "user",
            None,
            ["user"],
            ["user", "port"],
            [["user", "host.ip"]],
            ["port", ["host.ip", "user", "port"]],
        ]
    )
    if fields is None:
        options["query_key"] = "user"
    else:
        options["fields"] = fields
    return Stream("new_term", options, random_batches(random, login, runs=4))


def test_random_streams_have_the_same_matches(oracle: Oracle) -> None:
    compared = differential(oracle, [stream(seed) for seed in range(1000)])
    assert compared.streams == 1000
    assert compared.matches > 5000
