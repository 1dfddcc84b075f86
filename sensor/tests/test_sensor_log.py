"""What findings and faults write to the log: bounded, complete, and nothing that an attacker could forge."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor_sensor.faults import LOG, Faults
from divertor_sensor.reports.detection import Detection, Outcome, Subject
from divertor_sensor.reports.frames import Frame
from divertor_sensor.reports.log import MAX_GROUPS, MAX_ROUTES, PAUSE, Digest, LogReporter

SUBJECT = Subject("GET", "/shop", "10.0.0.9", "", "", "", "")
FOUND = Detection(
    id="1",
    time=1,
    type="sql_injection",
    cwe="CWE-89",
    signal="attack",
    outcome="reported",
    source="query",
    parameter="name",
    payload="x",
    sink="execute",
    statement="x",
    subject=SUBJECT,
    frames=(Frame("/srv/shop.py", 12, "find"),),
)
SIGNS = "\r\n\x1b[2J\x9b\u202e\u2028"


def on(path: str) -> Detection:
    return replace(FOUND, subject=replace(SUBJECT, path=path))


def mentioned(lines: list[str]) -> int:
    """How many findings the lines tell of."""
    counts = [re.match(r"([\d,]+) more in the last", line) for line in lines]
    return sum(int(match[1].replace(",", "")) if match else 1 for match in counts)


class Later:
    """Takes the place of the timer; `run` lets the time pass."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[Callable[[], None]] = []

    def __call__(self, seconds: float, call: Callable[[], None]) -> None:
        assert seconds == PAUSE
        self.calls.append(call)

    def run(self) -> None:
        self.now += PAUSE
        self.calls.pop()()


@pytest.fixture(autouse=True)
def no_losses_of_others(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Reporters of earlier tests, whose collector is away, tell of what they lose; that is none of these."""

    def is_of_here(record: logging.LogRecord) -> bool:
        return record.module != "reporter"

    caplog.handler.addFilter(is_of_here)
    yield
    caplog.handler.removeFilter(is_of_here)  # all tests of a process share the handler


@pytest.fixture
def later() -> Later:
    return Later()


@pytest.fixture
def reporter(later: Later) -> LogReporter:
    return LogReporter(lambda: later.now, later)


def test_the_first_of_a_kind_has_a_line_of_its_own_at_once() -> None:
    digest = Digest()
    assert digest.note(FOUND, 0.0) == [FOUND.summary()] and not digest.is_counting()


def test_its_like_are_counted_and_told_as_one_line() -> None:
    digest = Digest()
    lines = [line for _ in range(1251) for line in digest.note(FOUND, 1.0)]
    assert len(lines) == 1
    assert digest.due(60.0) == []
    assert digest.due(61.0) == [f"1,250 more in the last 60 s like this: {FOUND.summary()}"]


@pytest.mark.parametrize(
    "other",
    [
        {"type": "xss"},
        {"signal": "vulnerability"},
        {"outcome": "blocked"},
        {"sink": "open"},
        {"subject": replace(SUBJECT, path="/other")},
        {"subject": replace(SUBJECT, method="POST")},
        {"frames": (Frame("/srv/shop.py", 13, "find"),)},
    ],
)
def test_another_kind_place_or_route_has_a_line_of_its_own(other: dict[str, Any]) -> None:
    digest = Digest()
    digest.note(FOUND, 0.0)
    assert len(digest.note(replace(FOUND, **other), 0.0)) == 1


def test_what_was_quiet_for_a_while_is_told_at_once_again() -> None:
    digest = Digest()
    digest.note(FOUND, 0.0)
    assert digest.note(FOUND, PAUSE) == [FOUND.summary()]


def test_ever_new_paths_do_not_fill_the_log() -> None:
    """A thousand a second for ten minutes."""
    digest = Digest()
    lines = [line for n in range(6000) for line in digest.note(on(f"/{n}"), n / 10)]
    lines += digest.due(1e9)
    assert mentioned(lines) == 6000 and len(lines) <= 11 * (2 * MAX_ROUTES + 1)


def test_who_makes_up_paths_hides_no_other_place() -> None:
    digest = Digest()
    for number in range(1000):
        digest.note(on(f"/{number}"), 0.0)
    elsewhere = replace(FOUND, frames=(Frame("/srv/shop.py", 99, "pay"),))
    assert digest.note(elsewhere, 0.0) == [elsewhere.summary()]


def test_places_without_end_do_not_fill_the_log() -> None:
    digest = Digest()
    found = [replace(FOUND, frames=(Frame("/srv/shop.py", line, "f"),)) for line in range(1000)]
    lines = [line for each in found for line in digest.note(each, 0.0)]
    assert len(lines) == MAX_GROUPS
    assert digest.due(PAUSE) == [f"{1000 - MAX_GROUPS} more in the last 60 s of further kinds and places"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 200), st.floats(0, 30)), max_size=300))
def test_no_finding_goes_unmentioned(found: list[tuple[int, int, float]]) -> None:
    digest, now, lines = Digest(), 0.0, []
    for path, line, pause in found:
        now += pause
        lines += digest.note(replace(on(f"/{path}"), frames=(Frame("/srv/shop.py", line, "f"),)), now)
    assert mentioned([*lines, *digest.due(now, 0.0)]) == len(found) and not digest.is_counting()


def test_counts_are_written_when_the_time_has_come(
    reporter: LogReporter, later: Later, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        reporter.submit(FOUND)
    assert (len(caplog.messages), len(later.calls)) == (1, 1)
    later.run()
    assert caplog.messages[1:] == [f"4 more in the last 60 s like this: {FOUND.summary()}"]
    assert later.calls == []


def test_counting_goes_on_while_there_is_something_to_count(reporter: LogReporter, later: Later) -> None:
    reporter.submit(FOUND)
    reporter.submit(FOUND)
    later.run()
    reporter.submit(FOUND)
    assert len(later.calls) == 1


def test_a_report_that_is_no_finding_writes_nothing(
    reporter: LogReporter, caplog: pytest.LogCaptureFixture
) -> None:
    reporter.submit(Outcome(1, 200, 1.0, SUBJECT))
    assert caplog.messages == []


def test_threads_lose_no_count(reporter: LogReporter, caplog: pytest.LogCaptureFixture) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: reporter.submit(FOUND), range(2000)))
    reporter.tell()
    assert mentioned(caplog.messages) == 2000


def test_a_child_leaves_the_parents_counts_to_the_parent(
    reporter: LogReporter, caplog: pytest.LogCaptureFixture
) -> None:
    reporter.submit(FOUND)
    reporter.submit(FOUND)
    child = os.fork()
    if not child:
        caplog.clear()
        reporter.tell()
        os._exit(len(caplog.messages))
    assert os.waitpid(child, 0)[1] == 0
    reporter.tell()
    assert mentioned(caplog.messages) == 2


def test_counts_are_written_when_the_process_ends() -> None:
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from test_sensor_log import FOUND, LogReporter\n"
        "reporter = LogReporter()\n"
        "for _ in range(3): reporter.submit(FOUND)\n"
    )
    argv = [sys.executable, "-c", program, os.path.dirname(__file__), *sys.path]
    told = subprocess.run(argv, capture_output=True, text=True, check=True).stderr
    assert mentioned(told.splitlines()) == 3


@pytest.fixture
def full_disk() -> Iterator[None]:
    class FullDisk(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError(28, "No space left on device")

    handler = FullDisk()
    LOG.addHandler(handler)
    yield
    LOG.removeHandler(handler)


def test_a_log_that_cannot_be_written_is_not_the_apps_business(full_disk: None, later: Later) -> None:
    reporter = LogReporter(lambda: later.now, later)
    reporter.submit(FOUND)
    reporter.submit(FOUND)
    reporter.tell()


@pytest.mark.parametrize(
    "forged",
    [
        {"parameter": SIGNS},
        {"subject": replace(SUBJECT, path=SIGNS)},
        {"subject": replace(SUBJECT, method=SIGNS)},
        {"source": SIGNS},
        {"sink": SIGNS},
        {"frames": (Frame(SIGNS, 1, ""),)},
        {"signal": "probe", "parameter": SIGNS},
    ],
)
def test_no_finding_ends_a_line_or_steers_a_terminal(forged: dict[str, Any]) -> None:
    summary = replace(FOUND, **forged).summary()
    assert summary.isprintable() and "x1b[2J" in summary


def test_the_words_of_a_fault_end_no_line_and_steer_no_terminal(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError(f"bad value {SIGNS}CRITICAL root logged in")
    except ValueError as problem:
        Faults().note("place", problem)
    (message,) = caplog.messages
    first, *stack = message.splitlines()
    assert all(line.isprintable() for line in (first, *stack))
    assert "CRITICAL" in first and not any(line.startswith("CRITICAL") for line in stack)
    assert "test_sensor_log.py" in stack[0]


def test_a_fault_takes_little_room_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def recurse(levels: int) -> None:
        if levels:
            recurse(levels - 1)
        raise ValueError("x" * 1_000_000)

    try:
        recurse(200)
    except ValueError as problem:
        Faults().note("place", problem)
    assert len(caplog.messages[0]) < 10_000
