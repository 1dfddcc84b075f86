"""The supervisor's values: what survives JSON, what is refused, and restarting as a state machine."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from divertor.runtime.process import (
    ProcessSpec,
    ProcessState,
    ProcessStatus,
    ReadyCheck,
    ReadyKind,
    RestartPolicy,
    RestartTracker,
)

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
_SECONDS = st.floats(0, 1000)
_CHECKS = st.builds(
    ReadyCheck, st.sampled_from(ReadyKind), _TEXT, st.integers(0, 65535), _TEXT, _TEXT, _SECONDS
)
_SPECS = st.builds(
    ProcessSpec,
    name=st.from_regex(r"[a-z][a-z0-9:./]{0,20}", fullmatch=True),
    argv=st.lists(_TEXT, min_size=1, max_size=5).map(tuple),
    env=st.dictionaries(_TEXT.filter(lambda name: "=" not in name), _TEXT, max_size=3),
    cwd=_TEXT,
    log=_TEXT,
    log_limit=st.integers(4096, 10**9),
    stop_grace=_SECONDS,
    restart=st.builds(RestartPolicy, _SECONDS, _SECONDS, _SECONDS),
    ready=st.none() | _CHECKS,
    listens=st.lists(st.integers(1, 65535), max_size=3).map(tuple),
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(_SPECS)
@settings(max_examples=100, deadline=None)
def test_a_spec_survives_json(spec: ProcessSpec) -> None:
    assert ProcessSpec.from_json(spec.to_json()) == spec


@given(st.sampled_from(sorted(ProcessSpec("a", ("b",)).to_json())), _JSON)
@settings(max_examples=200, deadline=None)
def test_any_json_in_a_field_is_taken_or_refused_as_a_value(field: str, value: Any) -> None:
    data = ProcessSpec("a", ("b",)).to_json() | {field: value}
    try:
        assert isinstance(ProcessSpec.from_json(data), ProcessSpec)
    except ValueError as problem:
        assert str(problem)


def test_a_status_survives_json() -> None:
    status = ProcessStatus("a", "g", ProcessState.FAILED, 7, 3, 1.5, None, 9, 2.5, "why", (20000,))
    assert ProcessStatus.from_json(status.to_json()) == status


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"argv": []}, "the command is empty"),
        ({"argv": "ls -l"}, "'argv' of a process must be a list"),
        ({"name": "two words"}, "is no process name"),
        ({"shell": True}, "a process has no field 'shell'"),
        ({"env": {"A": 1}}, "'env' of a process must be an object of texts"),
        ({"env": {"A=B": "c"}}, "holds `=`"),
        ({"argv": ["a\0b"]}, "holds a NUL"),
        ({"argv": ["\ud800"]}, "half a character"),
        ({"listens": [70000]}, "'listens' of a process must be a list of ports"),
        ({"stop_grace": -1}, "'stop_grace' of a process must be a number of seconds"),
        ({"argv": ["x"] * 2000}, "'argv' of a process must be a list of at most 1024"),
    ],
)
def test_a_wrong_field_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProcessSpec.from_json({"name": "a", "argv": ["b"]} | change)


def test_the_waits_are_none_then_double_up_to_the_maximum() -> None:
    policy = RestartPolicy()
    waits = [policy.delay(failures) for failures in range(11)]
    assert waits == [0, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]
    assert policy.delay(10**9) == 30


def test_what_cannot_be_executed_is_never_retried_at_once() -> None:
    tracker = RestartTracker(RestartPolicy()).refused(now=100.0)
    assert (tracker.state, tracker.retry_at) == (ProcessState.FAILED, 100.2)


class Lives(RuleBasedStateMachine):
    """Any order of starts, ends, refusals and stops, against a plain account of the same."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.tracker = RestartTracker(RestartPolicy())
        self.short_runs = 0
        self.starts = 0

    @property
    def runs(self) -> bool:
        return self.tracker.state in (ProcessState.STARTING, ProcessState.RUNNING)

    @precondition(lambda self: not self.runs)
    @rule(awaits=st.booleans())
    def start(self, awaits: bool) -> None:
        self.now = max(self.now, self.tracker.retry_at or 0.0)
        self.tracker = self.tracker.spawned(self.now, awaits_ready=awaits)
        self.starts += 1

    @rule()
    def ready(self) -> None:
        before = self.tracker.state
        self.tracker = self.tracker.became_ready()
        assert (self.tracker.state is before) or before is ProcessState.STARTING

    @precondition(lambda self: self.runs)
    @rule(lived=st.floats(0, 20))
    def end(self, lived: float) -> None:
        self.now += lived
        since = self.tracker.since
        assert since is not None
        self.short_runs = 0 if self.now - since >= 10 else self.short_runs
        self.tracker = self.tracker.ended(self.now)
        expected = 0 if self.short_runs == 0 else min(30.0, 0.2 * 2 ** (self.short_runs - 1))
        self.short_runs += 1
        assert self.tracker.retry_at == self.now + expected

    @precondition(lambda self: not self.runs)
    @rule()
    def refuse(self) -> None:
        self.tracker = self.tracker.refused(self.now)
        self.short_runs = max(1, self.short_runs) + 1
        assert self.tracker.retry_at is not None and self.tracker.retry_at > self.now

    @precondition(lambda self: self.runs)
    @rule()
    def stop(self) -> None:
        self.tracker = self.tracker.stopped()
        self.short_runs = 0

    @invariant()
    def a_retry_is_due_exactly_while_it_is_down_unasked(self) -> None:
        down = self.tracker.state in (ProcessState.BACKING_OFF, ProcessState.FAILED)
        assert (self.tracker.retry_at is not None) == down

    @invariant()
    def restarts_are_the_starts_after_the_first(self) -> None:
        assert self.tracker.restarts == max(0, self.starts - 1)


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
