"""`type: flatline` in compatible mode beside ElastAlert's FlatlineRule."""

from __future__ import annotations

from dataclasses import replace
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
    their_matches,
)

from divertor.rules.types.contract import Settings

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
    compared = differential(oracle, [stream(seed) for seed in range(500)], ignore=SHOWN_OTHERWISE)
    assert compared.streams == 500
    assert compared.matches > 2500


def silent(events: tuple[Seen, ...] = (), **more: Any) -> Stream:
    """Events in the first run, then five without any; runs half a minute apart."""
    batches = [Batch(events if run == 1 else (), START + 30 * run * SECOND) for run in range(1, 7)]
    return Stream("flatline", {"timeframe": {"seconds": 60}, "threshold": 1} | more, tuple(batches))


def test_a_silence_is_told_with_every_run_there_and_once_here(oracle: Oracle) -> None:
    (there,) = their_matches(oracle, [silent()])
    here = our_matches(replace(silent(), settings=Settings()))
    assert [len(batch) for batch in there] == [0, 0, 1, 1, 1, 1]
    assert [len(batch) for batch in here] == [0, 0, 1, 0, 0, 0]


def test_the_time_is_the_runs_there_and_the_moment_of_silence_here(oracle: Oracle) -> None:
    stream = silent((Seen(START + 17 * SECOND, {"user": "a"}),), query_key="user")
    (there,) = their_matches(oracle, [stream])
    here = our_matches(replace(stream, settings=Settings()))
    first = [next(batch for batch in found if batch)[0]["@timestamp"] for found in (there, here)]
    assert [(micros - START) // SECOND for micros in first] == [90, 77]
