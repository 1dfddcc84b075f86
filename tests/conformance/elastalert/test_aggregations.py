"""metric_aggregation, spike_aggregation and percentage_match in compatible mode beside ElastAlert's own runs:
its choice of stretches, its queries, its rule classes.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.conformance.elastalert.client import (
    SECOND,
    START,
    Batch,
    Compared,
    Fields,
    Seen,
    Stream,
    oracle_python,
    our_matches,
    random_batches,
)
from tests.conftest import missing_server

from divertor.rules.types.contract import Settings

MICROSECOND = timedelta(microseconds=1)

#: What both say of a match; how the key is spelled is compared by its fields.
IGNORED = ("num_hits", "num_matches", "placeholder", "user,host")

Ask = Callable[[Sequence[Stream]], list[Any]]


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """ElastAlert's answers to streams."""
    python = oracle_python()
    if python is None:
        missing_server("no environment with elastalert2: `make setup` makes .venv-oracle")
    process = subprocess.Popen(
        [str(python), "-W", "ignore", str(Path(__file__).with_name("runner.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def answers(streams: Sequence[Stream]) -> list[Any]:
        stdin.write(json.dumps([_wire(one) for one in streams]) + "\n")
        stdin.flush()
        found: list[Any] = json.loads(stdout.readline())
        return found

    yield answers
    stdin.close()
    process.wait(10)
    stdout.close()


def _wire(stream: Stream) -> dict[str, Any]:
    return {
        "type": stream.type,
        "options": dict(stream.options),
        "buffer": stream.settings.buffer_time // MICROSECOND,
        "every": stream.settings.run_every // MICROSECOND,
        "batches": [
            {
                "end": batch.end,
                "events": [{"micros": one.micros, "fields": dict(one.fields)} for one in batch.events],
            }
            for batch in stream.batches
        ],
    }


def compared(ask: Ask, streams: Sequence[Stream], ignore: tuple[str, ...] = ()) -> Compared:
    """Asserts equal matches, batch by batch. What ElastAlert raises (it adds or compares a number with none)
    disables its rule, and ends the comparison of a stream.
    """
    total = 0
    for stream, theirs in zip(streams, ask(streams), strict=True):
        ours = our_matches(stream)
        assert theirs["error"] is None or theirs["error"].startswith("TypeError"), theirs["error"]
        for place, there in enumerate(theirs["matches"]):
            total += len(there)
            expected, found = _plain(there, ignore), _plain(ours[place], ignore)
            assert found == expected, f"{stream}: batch {place}: here {found}, there {expected}"
    return Compared(len(streams), total)


def _plain(matches: Sequence[Fields], ignore: tuple[str, ...]) -> list[str]:
    left_out = (*IGNORED, *ignore)
    kept = [{name: _number(value) for name, value in one.items() if name not in left_out} for one in matches]
    return sorted(json.dumps(one, sort_keys=True) for one in kept)


def _number(value: Any) -> Any:
    """`0` and `0.0` are one number."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def event(random: Random) -> dict[str, Any]:
    """Some events lack a field of the key; each has the number that is aggregated."""
    found = {"user": random.choice("abc"), "host": random.choice("12"), "kind": random.choice("xy")}
    return {name: one for name, one in found.items() if random.random() < 0.9} | {
        "size": random.randint(-2, 9)
    }


def key_of(random: Random, *more: Any) -> dict[str, Any]:
    key = random.choice([None, "user", *more])
    return {} if key is None else {"query_key": key}


def windows(random: Random) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if random.random() < 0.4:
        found["bucket_interval"] = random.choice([{"seconds": 10}, {"seconds": 15}, {"minutes": 1}])
        found["sync_bucket_interval"] = random.random() < 0.5
    for name in ("use_run_every_query_size", "allow_buffer_time_overlap"):
        if random.random() < 0.3:
            found[name] = True
    return found


def stream(kind: str, options: dict[str, Any], random: Random) -> Stream:
    """Runs that come on time, or too late once in a while."""
    every = random.choice([60, 120])
    settings = Settings(
        compatible=True,
        run_every=timedelta(seconds=60),
        buffer_time=timedelta(seconds=random.choice([60, 180, 240])),
    )
    batches = random_batches(random, event, runs=10, per_run=8, every=every)
    kept = tuple(batch for batch in batches if random.random() < 0.8)
    return Stream(kind, options, kept, settings=settings)


def metric(seed: int) -> Stream:
    random = Random(seed)
    options = {
        **key_of(random, ["user", "host"]),
        **windows(random),
        "metric_agg_key": "size",
        "metric_agg_type": random.choice(["min", "max", "avg", "sum", "cardinality", "value_count"]),
        random.choice(["max_threshold", "min_threshold"]): random.randint(0, 6),
        "min_doc_count": random.choice([1, 1, 3]),
    }
    if not isinstance(options.get("query_key"), list):
        options["metric_format_string"] = random.choice(["{:.3f}", "%.2f"])
        if random.random() < 0.2:
            options |= {"metric_agg_type": "percentiles", "percentile_range": random.choice([50, 95])}
    return stream("metric_aggregation", options, random)


def percentage(seed: int) -> Stream:
    random = Random(seed)
    options = {
        **key_of(random),
        **windows(random),
        "match_bucket_filter": [{"term": {"kind": "x"}}],
        random.choice(["max_percentage", "min_percentage"]): random.choice([20, 50, 70]),
        "min_denominator": random.choice([0, 0, 4]),
    }
    if random.random() < 0.5:
        options["percentage_format_string"] = "%.1f"
    return stream("percentage_match", options, random)


def spike(seed: int) -> Stream:
    random = Random(seed)
    options = {
        **key_of(random, ["user", "host"]),
        "metric_agg_key": "size",
        "metric_agg_type": random.choice(["min", "max", "avg", "sum", "cardinality", "value_count"]),
        "spike_height": random.choice([1, 1.5, 3]),
        "spike_type": random.choice(["up", "down", "both"]),
        "timeframe": {"seconds": random.choice([60, 120])},
        "threshold_cur": random.choice([0, 0, 2]),
        "threshold_ref": random.choice([0, 0, 2]),
        "min_doc_count": random.choice([1, 1, 2]),
        "alert_on_new_data": random.random() < 0.5,
    }
    return stream("spike_aggregation", options, random)


def test_metric_aggregation_has_the_same_matches(ask: Ask) -> None:
    streams = [metric(seed) for seed in range(500)]
    # With several fields ElastAlert leaves the number under its short name out.
    found = compared(ask, streams, ignore=("metric_agg_value",))
    assert found.streams == 500
    assert found.matches > 4_000


def test_percentage_match_has_the_same_matches(ask: Ask) -> None:
    found = compared(ask, [percentage(seed) for seed in range(500)])
    assert found.streams == 500
    assert found.matches > 2_500


def test_spike_aggregation_has_the_same_matches(ask: Ask) -> None:
    found = compared(ask, [spike(seed) for seed in range(500)])
    assert found.streams == 500
    assert found.matches > 800


MINUTE = timedelta(minutes=1)


def minutes(kind: str, runs: int, *seconds: int, **options: Any) -> Stream:
    """Events of user a at host 1, with the size 9, at these seconds; a run a minute, over three minutes."""
    batches = []
    for run in range(1, runs + 1):
        inside = [second for second in seconds if 60 * (run - 1) < second <= 60 * run]
        events = [
            Seen(START + second * SECOND, {"user": "a", "host": "1", "size": 9, "kind": "x"})
            for second in inside
        ]
        batches.append(Batch(tuple(events), START + 60 * run * SECOND))
    settings = Settings(compatible=True, run_every=MINUTE, buffer_time=3 * MINUTE)
    aggregated = {"metric_agg_key": "size"} if "aggregation" in kind else {}
    return Stream(kind, {**aggregated, **options}, tuple(batches), settings=settings)


def by_default(stream: Stream) -> list[int]:
    found = our_matches(replace(stream, settings=replace(stream.settings, compatible=False)))
    return [len(batch) for batch in found]


def test_runs_over_the_same_events_all_match_there_and_a_window_has_one_hit_here(ask: Ask) -> None:
    stream = minutes("metric_aggregation", 4, 30, metric_agg_type="sum", max_threshold=5)
    (theirs,) = ask([stream])
    assert [len(batch) for batch in theirs["matches"]] == [1, 1, 1, 0]
    assert by_default(stream) == [1, 0, 0, 0]


def test_half_a_window_is_little_there_and_is_waited_out_here(ask: Ask) -> None:
    stream = minutes("metric_aggregation", 2, 30, metric_agg_type="sum", min_threshold=20, query_key="user")
    (theirs,) = ask([stream])
    assert [len(batch) for batch in theirs["matches"]] == [1, 1]
    assert by_default(stream) == [0, 0]


def test_a_compound_key_leaves_the_short_name_out_there_and_not_here(ask: Ask) -> None:
    options = {"metric_agg_type": "sum", "max_threshold": 5, "query_key": ["user", "host"]}
    stream = minutes("metric_aggregation", 1, 30, **options)
    (theirs,) = ask([stream])
    ((ours,),) = our_matches(stream)
    assert "metric_agg_value" not in theirs["matches"][0][0]
    assert ours["metric_agg_value"] == 9


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (
            "metric_aggregation",
            {"metric_agg_type": "percentiles", "percentile_range": 50, "max_threshold": 5},
        ),
        ("percentage_match", {"match_bucket_filter": [{"term": {"kind": "x"}}], "max_percentage": 5}),
    ],
    ids=["percentiles", "percentage"],
)
def test_what_a_compound_key_breaks_there_works_here(ask: Ask, kind: str, options: dict[str, Any]) -> None:
    stream = minutes(kind, 1, 30, query_key=["user", "host"], **options)
    (theirs,) = ask([stream])
    assert theirs["error"].startswith("KeyError")
    assert [len(batch) for batch in our_matches(stream)] == [1]


def test_an_empty_run_ends_a_spike_of_averages_there_and_not_here(ask: Ask) -> None:
    options = {"spike_height": 2, "spike_type": "up", "timeframe": {"minutes": 1}}
    stream = minutes("spike_aggregation", 6, 30, 270, metric_agg_type="avg", **options)
    stream = replace(stream, settings=replace(stream.settings, buffer_time=MINUTE))
    (theirs,) = ask([stream])
    assert theirs["error"].startswith("TypeError")
    assert len(our_matches(stream)) == 6
