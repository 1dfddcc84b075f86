"""Judging in steps: a tick that finds very much leaves others their turn, and changes nothing it finds."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.control.test_control_following import wall, worker
from tests.control.test_control_judging import START, batches, rules, stored_at, told

from divertor.bus import Batch
from divertor.control import following
from divertor.control.checkpoints import Checkpoints
from divertor.control.enriching import Enriching
from divertor.control.judging import Judge
from divertor.model.events import Event
from divertor.rules import Rule, load_rule
from divertor.rules.running import engine
from divertor.rules.running.checkpoint import packed, parts_of, unpacked
from divertor.rules.running.engine import PORTION

KEYS = 5 * PORTION
SILENT = (
    "name: silent\ntype: flatline\nindex: logs\nthreshold: 1\ntimeframe: {seconds: 10}\nquery_key: user\n"
    "alert: debug\ndry_run: true\n"
)
RECOVERING = SILENT.replace("silent", "recovering") + "recovery: {after: {seconds: 30}}\n"


def silent() -> list[Rule]:
    return [load_rule(text, "silent") for text in (SILENT, RECOVERING)]


def met(judge: Judge, keys: int = KEYS) -> Batch:
    """A judge that knows so many keys; the batch with which they all fall silent."""
    events = tuple(
        Event(f"e{key}", "log", START, START, ("logs",), (), None, {"user": f"u{key}"}) for key in range(keys)
    )
    judge.take(Batch(1, events, 0, "e", stored_at(START)))
    return Batch(2, (), 0, "e", stored_at(START + timedelta(seconds=12)))


def test_no_step_holds_more_than_a_portion() -> None:
    judge = Judge(silent())
    steps = [len(step) for step in judge.taking(met(judge))]
    assert sum(steps) == 2 * KEYS
    assert max(steps) <= 2 * PORTION


def test_alarms_that_are_over_in_one_second_are_told_in_portions_too() -> None:
    judge = Judge(silent())
    judge.take(met(judge))
    over = Batch(3, (), 0, "e", stored_at(START + timedelta(seconds=60)))
    steps = [len(step) for step in judge.taking(over)]
    assert sum(steps) == KEYS
    assert max(steps) <= 2 * PORTION


@pytest.mark.parametrize("portion", [1, 3, 10**9])
def test_how_large_a_portion_is_changes_nothing_that_is_told(
    portion: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = Judge([*rules(), *silent()])
    expected = [told(many, batches(5)), told(many, [met(many)])]
    monkeypatch.setattr(engine, "PORTION", portion)
    again = Judge([*rules(), *silent()])
    assert [told(again, batches(5)), told(again, [met(again)])] == expected


def test_there_is_no_mark_in_the_midst_of_a_batch() -> None:
    judge = Judge(silent())
    steps = judge.taking(met(judge))
    next(steps)
    with pytest.raises(RuntimeError, match="midst"):
        judge.mark()
    list(steps)
    assert judge.mark().seq == 2


def test_what_dies_in_the_midst_of_a_tick_is_told_again_under_the_same_ids() -> None:
    judge, saved = Judge(silent()), Judge(silent())
    batch = met(judge)
    content = b"".join(packed(judge.mark(), parts_of(judge.engine.snapshot())))
    steps, begun = judge.taking(batch), list[str]()
    while len(begun) < 2 * PORTION:
        begun += [one.id for one in next(steps)]
    saved.restore(unpacked(content))
    again = [one.id for one in saved.take(batch)]
    assert again[: len(begun)] == begun
    assert len(set(again)) == 2 * KEYS


@pytest.mark.anyio
@pytest.mark.parametrize(("keys", "children"), [(5, 0), (KEYS * 10, 1)], ids=["few", "many"])
async def test_a_checkpoint_that_has_grown_at_once_is_left_to_a_child(
    keys: int, children: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forked, judge, kept, fork = list[int](), Judge(silent()), Checkpoints(tmp_path, "one"), os.fork

    def counted() -> int:
        forked.append(1)
        return fork()

    monkeypatch.setattr(os, "fork", counted)
    kept._size = 100  # of the one before
    judge.take(met(judge, keys))
    await kept.write(judge)
    await kept.commit()
    found = kept.read("e", 10)
    assert found is not None and len(found.snapshot.rules["silent"].state.silent) == keys
    assert len(forked) == children


@pytest.mark.anyio
async def test_others_have_their_turn_while_very_many_keys_fall_silent(
    broker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_TURN", 0.0)
    async with worker(broker, tmp_path) as here:
        await here.rules.put("silent", SILENT, "me")
        past, now, follows = wall() - timedelta(seconds=60), wall(), here.rules.worker
        before = [
            Event(f"{key}", "log", past, past, ("logs",), (), None, {"user": f"u{key}"})
            for key in range(KEYS)
        ]
        await here.bus.publish(before)
        await here.judged()
        await here.bus.publish([Event("last", "log", now, now, ("logs",))])
        last, turns, rules_then = (await here.bus.position()).last, 0, set[int]()
        async with asyncio.timeout(15):
            while follows.judge.seq < last or follows.judge.midway:
                await asyncio.sleep(0)
                if follows.judge.midway:
                    turns += 1
                    follows.use([])  # a rule that changes does so behind the batch
                    rules_then.add(len(follows.judge.engine.rules))
        assert turns >= 5
        assert rules_then == {1} and not follows.judge.engine.rules
        assert here.rules.get("silent").matches == KEYS


@pytest.mark.anyio
async def test_others_have_their_turn_while_very_many_notifications_are_finished() -> None:
    judge, turns = Judge(silent()), 0
    finishing = asyncio.ensure_future(Enriching(None).told(judge.take(met(judge))))
    while not finishing.done():
        await asyncio.sleep(0)
        turns += 1
    assert len(finishing.result()) == 2 * KEYS
    assert turns >= 4
