"""What is counted goes on over a restart, is bounded, and says from when on it is complete."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from divertor.bus import Batch
from divertor.control.judging import Judge
from divertor.control.tally import MAX_SEEN, Tally
from divertor.model.events import Event, micros_of
from divertor.rules import load_rule
from divertor.rules.running.checkpoint import Checkpoint, packed, parts_of, unpacked

START = datetime(2026, 1, 2, tzinfo=UTC)
RULE = "name: every\ntype: any\nindex: web-*\nalert: debug\nrealert: {minutes: 0}\n"


def batch(seq: int, index: str = "web-1") -> Batch:
    moment = START + timedelta(minutes=seq)
    event = Event(f"e{seq}", "log", moment, moment, (index,))
    return Batch(seq, (event,), 0, "e", micros_of(moment))


def written(judge: Judge) -> Checkpoint:
    return unpacked(b"".join(packed(judge.mark(), parts_of(judge.engine.snapshot()))))


def test_matches_are_counted_on_from_a_checkpoint_each_once() -> None:
    judge = Judge([load_rule(RULE, "r")])
    judge.take(batch(1))
    checkpoint = written(judge)
    judge.take(batch(2))
    again = Judge([load_rule(RULE, "r")])
    again.restore(checkpoint)
    again.take(batch(2))
    assert again.tally == judge.tally and again.tally.matches["every"][0] == 2
    assert again.tally.since == micros_of(START + timedelta(minutes=1))


@pytest.mark.parametrize("tally", [{}, {"since": 1}, {"since": "x", "matches": 3}])
def test_a_checkpoint_whose_tally_cannot_be_read_costs_only_the_counts(tally: dict[str, object]) -> None:
    judge = Judge([load_rule(RULE, "r")])
    judge.take(batch(1))
    checkpoint = written(judge)
    again = Judge([load_rule(RULE, "r")])
    again.restore(replace(checkpoint, mark=replace(checkpoint.mark, tally=tally)))
    assert (again.seq, again.tally.matches) == (1, {})


def test_when_an_event_of_an_index_last_came_is_known() -> None:
    judge = Judge()
    judge.take(batch(1))
    judge.take(batch(3, "db"))
    tally = judge.tally
    assert tally.last_event(("web-*",)) == micros_of(START + timedelta(minutes=1))
    assert tally.last_event(("web-*", "d*")) == micros_of(START + timedelta(minutes=3))
    assert tally.last_event(("other",)) == 0 and tally.watched == tally.since > 0


def test_names_of_indices_are_bounded_and_what_was_forgotten_is_not_denied() -> None:
    tally = Tally(since=1, watched=1)
    for number in range(2 * MAX_SEEN + 1):
        tally.seen[f"i{number}",] = 1000 + number
    tally.bound()
    assert len(tally.seen) == MAX_SEEN and tally.last_event(("i0",)) == 0
    assert tally.watched == 1000 + MAX_SEEN, "nothing of i0 has come since then: that is true"


def test_a_rule_of_the_same_name_as_a_removed_one_begins_with_nothing() -> None:
    tally = Tally()
    tally.match("r", 1)
    tally.forget("r")
    tally.match("r", 2)
    assert tally.matches["r"] == (1, 2)


def test_a_tally_is_written_as_it_is_read() -> None:
    tally = Tally(1, 2, {"r": (3, 4)}, {("a", "b"): 5})
    assert Tally.from_json(tally.to_json()) == tally
