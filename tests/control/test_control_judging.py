"""Judging a stream again, from any checkpoint on, tells the same under the same ids."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest

from divertor.bus import Batch
from divertor.control.judging import Judge
from divertor.model.events import Event
from divertor.rules import Rule, load_rule
from divertor.rules.running.checkpoint import DamagedError, Mark, Reader, packed, parts_of, unpacked
from divertor.rules.types import TYPES

START = datetime(2026, 1, 2, tzinfo=UTC)
COMMON = "index: logs\nalert: debug\nrealert: {seconds: 3}\n"
EVENTS = (
    "events: [{name: a, filter: [{term: {kind: rare}}]}, {name: b, filter: [{term: {kind: common}}]}]\n"
    "timeframe: {seconds: 9}\nquery_key: user\n"
)
#: Every rule type there is, with options under which it finds something in a minute of random events.
RULES = {
    "any": "filter: [{term: {kind: rare}}]\naggregation: {seconds: 4}\n",
    "blacklist": "compare_key: path\nblacklist: ['/1', '/2']\n",
    "whitelist": "compare_key: path\nignore_null: true\nwhitelist: ['/1', '/2', '/3', '/4']\n",
    "change": "compare_key: path\nignore_null: true\nquery_key: user\n",
    "frequency": "num_events: 6\ntimeframe: {seconds: 9}\nquery_key: user\nattach_related: true\n",
    "new_term": "fields: [path]\n",
    "cardinality": "cardinality_field: path\nmax_cardinality: 4\ntimeframe: {seconds: 9}\nquery_key: user\n",
    "spike": "spike_height: 2\nspike_type: both\ntimeframe: {seconds: 5}\nthreshold_ref: 2\n"
    "query_key: user\n",
    "flatline": "threshold: 3\ntimeframe: {seconds: 2}\nquery_key: user\n",
    "metric_aggregation": "metric_agg_key: size\nmetric_agg_type: avg\nmax_threshold: 52\n"
    "timeframe: {seconds: 5}\nbuffer_time: {seconds: 5}\n",
    "spike_aggregation": "metric_agg_key: size\nmetric_agg_type: sum\nspike_height: 1.5\nspike_type: up\n"
    "timeframe: {seconds: 5}\nbuffer_time: {seconds: 5}\n",
    "sequence": EVENTS,
    "correlation": EVENTS,
    "percentage_match": "match_bucket_filter: [{term: {kind: rare}}]\nmax_percentage: 22\n"
    "timeframe: {seconds: 5}\nbuffer_time: {seconds: 5}\n",
}


@cache
def rules() -> list[Rule]:
    return [load_rule(f"name: {name}\ntype: {name}\n{COMMON}{text}", name) for name, text in RULES.items()]


def batches(seed: int) -> list[Batch]:
    """A minute of random events, some late, with a silence in the middle that only time shows."""
    chance = random.Random(seed)
    moment, found = START, list[Batch]()
    for seq in range(1, 200):
        moment += timedelta(seconds=chance.random() * (8 if seq == 100 else 0.6))
        events = [event(chance, f"{seq}-{number}", moment) for number in range(chance.randrange(5))]
        found.append(Batch(seq, tuple(events), 0, "e", stored_at(moment)))
    return found


def event(chance: random.Random, id: str, moment: datetime) -> Event:
    late = timedelta(seconds=chance.choice((0, 0, 0, 1, 5)))
    body = {
        "user": f"u{chance.randrange(4)}",
        "path": f"/{chance.randrange(40)}",
        "kind": chance.choice(("rare", "common", "common", "common")),
        "size": chance.randrange(100),
    }
    return Event(id, "log", moment - late, moment, ("logs",), (), None, body)


def stored_at(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6)


def told(judge: Judge, stream: Sequence[Batch]) -> list[str]:
    return [f"{each.rule.name} {each.id}" for batch in stream for each in judge.take(batch)]


def restarted(judge: Judge) -> Judge:
    """Another judge that goes on from a checkpoint, as if the first had died."""
    content = b"".join(packed(judge.mark(), parts_of(judge.engine.snapshot())))
    found = unpacked(content)
    assert found.alarms
    again = Judge(rules())
    assert again.restore(found) == ()
    return again


def test_the_rules_here_are_of_every_type() -> None:
    assert set(TYPES) == set(RULES)


@pytest.mark.parametrize("seed", range(4))
def test_a_restart_between_any_two_batches_changes_nothing_that_is_told(seed: int) -> None:
    stream, chance = batches(seed), random.Random(seed)
    expected = told(Judge(rules()), stream)
    assert len({line.split()[0] for line in expected}) >= len(RULES) - 2, "the rules find something"
    judge, found = Judge(rules()), list[str]()
    for batch in stream:
        found += told(judge, [batch])
        if chance.random() < 0.2:
            judge = restarted(judge)
    assert found == expected


def test_batches_judged_once_more_after_a_crash_are_told_under_the_same_ids() -> None:
    stream = batches(7)
    judge = Judge(rules())
    told(judge, stream[:90])
    saved = restarted(judge)
    assert told(saved, stream[90:]) == told(judge, stream[90:])


def test_time_passes_without_events_and_never_back() -> None:
    judge = Judge(rules())
    told(judge, batches(1)[:50])
    reached = judge.now
    later = told(judge, [Batch(300, (), 0, "e", stored_at(reached + timedelta(seconds=20)))])
    assert any(line.startswith("flatline") for line in later)
    assert judge.now == reached + timedelta(seconds=20)
    judge.take(Batch(301, (), 0, "e", stored_at(START)))
    assert judge.now == reached + timedelta(seconds=20)


def test_an_event_that_was_received_in_the_future_does_not_carry_time_away() -> None:
    judge = Judge(rules())
    ahead = Event("x", "log", START, START + timedelta(days=365), ("logs",), (), None, {})
    judge.take(Batch(1, (ahead,), 0, "e", stored_at(START)))
    assert judge.now == START + timedelta(minutes=1)


def test_a_rule_that_was_changed_meanwhile_begins_anew_and_is_named() -> None:
    judge = Judge(rules())
    told(judge, batches(2)[:50])
    content = b"".join(packed(judge.mark(), parts_of(judge.engine.snapshot())))
    changed = [replace(rule, text=rule.text + "#") if rule.name == "frequency" else rule for rule in rules()]
    assert Judge(changed).restore(unpacked(content)) == ("frequency",)


# --- files that are not what they should be ---------------------------------------------------------------


def content_of(judge: Judge) -> bytes:
    return b"".join(packed(judge.mark(), parts_of(judge.engine.snapshot())))


def test_a_damaged_part_costs_only_its_rule() -> None:
    judge = Judge(rules())
    told(judge, batches(2)[:50])
    content = bytearray(content_of(judge))
    content[-1] ^= 1  # within the last rule
    assert Judge(rules()).restore(unpacked(bytes(content))) == (list(RULES)[-1],)


def test_a_checkpoint_with_a_lot_that_waits_is_read() -> None:
    gathered = [{"rule": "x" * (65 * 2**20)}]
    content = b"".join(packed(Mark("e", 5, gathered=gathered), ()))
    assert unpacked(content).mark.gathered == gathered


@pytest.mark.parametrize("seed", range(3))
def test_no_damage_at_all_makes_it_fail(seed: int) -> None:
    judge, chance = Judge(rules()), random.Random(seed)
    told(judge, batches(2)[:20])
    content = content_of(judge)
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(chance.randrange(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        cut = bytes(damaged[: chance.choice((len(damaged), chance.randrange(len(damaged))))])
        try:
            Judge(rules()).restore(unpacked(cut))
        except DamagedError:
            continue


@pytest.mark.parametrize("alien", [b"", b"x", b"divertor rules checkpoint\n", b"\x80\x05N.", b"{}"], ids=repr)
def test_an_alien_file_is_refused(alien: bytes) -> None:
    with pytest.raises(DamagedError):
        unpacked(alien)


@pytest.mark.parametrize(
    "name",
    [
        "os system",
        "builtins eval",
        "builtins getattr",
        "divertor.rules.reading.files read_text",
        "divertor.rules.reading.files Path",
        "divertor.rules.running.checkpoint pickle.loads",
        "divertor.plane.assembly Plane",
        "divertor.rules.wording.jinja _Sandbox",
        "divertor.rules.running.checkpoint Reader",
        "builtins range",
        "subprocess Popen",
    ],
)
def test_a_pickle_can_name_nothing_but_plain_values_and_what_rules_keep(name: str) -> None:
    import io
    import pickle

    module, attribute = name.split()
    content = b"\x80\x04" + b"".join(
        b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, attribute)
    )
    with pytest.raises(pickle.UnpicklingError, match="no business"):
        Reader(io.BytesIO(content + b"\x93.")).load()
