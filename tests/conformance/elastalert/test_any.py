"""`type: any` beside ElastAlert's AnyRule."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.conformance.elastalert.client import Oracle, Stream, differential, random_batches


def user(random: Random) -> dict[str, Any]:
    return {"user": random.choice("abc"), "status": random.choice([200, None, "500", [1, 2]])}


def stream(seed: int) -> Stream:
    random = Random(seed)
    options: dict[str, Any] = random.choice([{}, {"query_key": "user"}, {"query_key": ["user", "status"]}])
    return Stream("any", options, random_batches(random, user))


def test_random_streams_have_the_same_matches(oracle: Oracle) -> None:
    compared = differential(oracle, [stream(seed) for seed in range(200)])
    assert compared.streams == 200
    assert compared.matches > 2000
