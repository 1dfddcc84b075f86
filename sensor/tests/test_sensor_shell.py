"""What the shell detector promises beyond its vectors."""

from __future__ import annotations

import shlex
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor_sensor.detectors import Candidate, Finding, shell
from divertor_sensor.sources.inputs import Input
from divertor_sensor.work import Spent, Work

HOSTILE = st.text(alphabet="ab'\"$(){}`;&|<>\\ \n*#-", min_size=2, max_size=16)


def finding(line: str, value: str) -> Finding | None:
    origin = Input("query", "q", value)
    return shell.judge(line, [Candidate(text, origin) for text in shell.select(value)], Work()).finding


@given(HOSTILE)
@settings(max_examples=300, deadline=None)
def test_a_correctly_quoted_argument_is_never_an_attack(value: str) -> None:
    found = finding(f"grep -e {shlex.quote('pre' + value)} file", "pre" + value)
    assert found is None or not found.hostile


@given(HOSTILE)
@settings(max_examples=200, deadline=None)
def test_any_text_is_judged_without_a_fault(value: str) -> None:
    found = finding(f"echo {value} \"{value}\" '{value}'", value)
    assert found is None or found.origin.value == value


@pytest.mark.parametrize("piece", ["''", "a'b ", '"', "$", "\\"])
def test_a_long_hostile_line_takes_linear_time(piece: str) -> None:
    payload = piece * 20_000
    started = time.process_time()
    with suppress(Spent):
        finding(f"echo {payload}", payload[: len(payload) // 2])
    assert time.process_time() - started < 3


CALLS = [
    (["sh", "-c", "ls x"], "ls x"),
    (["/bin/bash", "-lc", "ls x"], "ls x"),
    (["env", "sh", "-c", "ls x"], "ls x"),
    (["busybox", "sh", "-c", "ls x"], "ls x"),
    (["bash", "-e", "-c", "ls x"], "ls x"),
    (["bash", "script.sh", "-c", "ls x"], None),
    (["ls", "-c", "x"], None),
    (["xargs", "-n", "1", "sh", "-c", "ls x"], "ls x"),
    (["sudo", "-u", "x", "/bin/bash", "-c", "ls x"], "ls x"),
    (["ssh", "host", "ls x"], "ls x"),
    (["ssh", "-p", "22", "-q", "host", "ls", "x"], "ls x"),
    (["timeout", "5", "ssh", "host", "ls x"], "ls x"),
    (["ssh", "host"], None),
    (["env", "A=b", "ls"], None),
    (["sh"], None),
    (["sh", "-c"], None),
    ([], None),
]


@pytest.mark.parametrize(("argv", "line"), CALLS)
def test_the_line_inside_an_argument_list_is_found(argv: list[str], line: str | None) -> None:
    assert shell.shell_line(argv) == line
