"""`type: spike` in compatible mode beside ElastAlert's SpikeRule."""

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
    wire,
)

from divertor.rules.types.contract import Settings

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
    compared = differential(oracle, [stream(seed) for seed in range(500)], ignore=SHOWN_OTHERWISE)
    assert compared.streams == 500
    assert compared.matches > 1000


def both(oracle: Oracle, seconds: list[int], until: int, **more: Any) -> tuple[list[Any], list[Any]]:
    """What ElastAlert's class finds and what we do by default: a run each ten seconds."""
    options = {"timeframe": {"seconds": 10}, "spike_height": 3, "spike_type": "up"} | more
    batches = tuple(
        Batch(
            tuple(
                Seen(START + second * SECOND, {"n": second, "size": 1.9})
                for second in seconds
                if end - 10 < second <= end
            ),
            START + end * SECOND,
        )
        for end in range(10, until + 1, 10)
    )
    stream = Stream("spike", options, batches)
    there = [match for batch in their_matches(oracle, [stream])[0] for match in batch]
    ours = [match for batch in our_matches(replace(stream, settings=Settings())) for match in batch]
    return there, ours


def test_nothing_against_nothing_is_a_spike_there_and_not_here(oracle: Oracle) -> None:
    there, here = both(oracle, [1], 60)
    assert [(one["reference_count"], one["spike_count"]) for one in there] == [(0, 0), (0, 0)]
    assert here == []


def test_one_event_after_silence_is_a_spike_there_and_not_here(oracle: Oracle) -> None:
    there, here = both(oracle, [1, 22], 20 + 10)
    assert [(one["reference_count"], one["spike_count"]) for one in there] == [(0, 1)]
    assert here == []


def test_the_match_is_the_windows_oldest_event_there_and_the_one_that_made_the_spike_here(
    oracle: Oracle,
) -> None:
    there, here = both(oracle, [1, 15, 21, 22, 23, 24], 30, threshold_cur=3)
    assert [one["n"] for one in there + here] == [15, 22]


def test_values_lose_their_fractions_there_and_not_here(oracle: Oracle) -> None:
    there, here = both(oracle, [1, 11, 21, 22], 30, field_value="size", spike_height=1)
    assert [one["spike_count"] for one in (*there, *here)] == [1.0, 1.9]


def test_a_list_as_a_value_ends_the_rule_there_and_is_taken_here(oracle: Oracle) -> None:
    options = {"timeframe": {"seconds": 10}, "spike_height": 1, "spike_type": "up", "field_value": "size"}
    batch = Batch((Seen(START, {"size": [5]}),), START)
    (answer,) = oracle.ask([wire(Stream("spike", options, (batch,)))])
    assert answer["error"].startswith("TypeError")
    assert our_matches(Stream("spike", options, (batch,))) == [[]]
