"""`realert` and `exponential_realert` beside ElastAlert's own `is_silenced` and `next_alert_time`."""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.conformance.elastalert.client import oracle_python
from tests.conftest import missing_server

from divertor.rules.alarms.realert import Realerts
from divertor.rules.rule import AlarmOptions

STREAMS = 2000


def streams() -> list[dict[str, Any]]:
    """Random matches of a few keys, in bursts and with long pauses."""
    made = []
    for seed in range(STREAMS):
        random = Random(seed)
        realert = random.choice([0, 1, 7, 60, 600])
        longest = random.choice([None, max(1, realert) * random.randint(2, 100)])
        seconds, matches = 0.0, []
        for _ in range(random.randint(1, 60)):
            seconds += random.choice([0, 0.5, 1, 10, 60, 600, 3600, realert, realert * 3])
            matches.append([seconds, random.choice([None, "a", "b"])])
        made.append({"realert": realert, "longest": longest, "matches": matches})
    return made


def ours(stream: dict[str, Any]) -> list[float | None]:
    longest = stream["longest"]
    options = AlarmOptions(
        realert=timedelta(seconds=stream["realert"]),
        exponential_realert=None if longest is None else timedelta(seconds=longest),
    )
    realerts = Realerts()
    found: list[float | None] = []
    for seconds, key in stream["matches"]:
        now = round(seconds * 1_000_000)
        realerts.forget(now)  # what is forgotten must change nothing
        if realerts.covers(("r", key), now):
            found.append(None)
            continue
        realerts.begin(("r", key), options, now)
        quiet = realerts.by_place.get(("r", key))
        found.append(seconds if quiet is None else quiet.until / 1_000_000)
    return found


def test_silences_are_those_of_elastalert() -> None:
    python = oracle_python()
    if python is None:
        missing_server("no environment with elastalert2: `make setup` makes .venv-oracle")
    script = Path(__file__).with_name("realert.py")
    asked = streams()
    done = subprocess.run(
        [str(python), "-W", "ignore", str(script)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    theirs = json.loads(done.stdout)
    assert len(theirs) == STREAMS
    for stream, expected in zip(asked, theirs, strict=True):
        assert ours(stream) == pytest.approx(expected), stream
    told = sum(each is not None for expected in theirs for each in expected)
    assert told > 10 * STREAMS


def test_the_silence_doubles_up_to_its_bound_and_decays() -> None:
    """The example in ElastAlert's documentation: 10 minutes, at most an hour."""
    minutes = [0.0, 15.0, 36.0, 80.0]
    stream = {"realert": 600, "longest": 3600, "matches": [[minute * 60, None] for minute in minutes]}
    assert ours(stream) == [minute * 60 for minute in (10, 35, 76, 140)]
