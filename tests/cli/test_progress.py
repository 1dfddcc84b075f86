"""A progress bar and lines on one terminal."""

from __future__ import annotations

import io
import os
import pty
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from divertor.cli.progress import Bar


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch, shown: list[str]) -> Iterator[None]:
    """Standard output is a terminal while the block runs; `shown` then holds what was on it."""
    theirs, ours = pty.openpty()
    with os.fdopen(ours, "w") as output, monkeypatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.setattr(sys, "stdout", output)
        yield
        output.write("\0")  # a terminal hands on what it is told when it has time: the end has to be seen
        output.flush()
        seen = b""
        while not seen.endswith(b"\0"):
            seen += os.read(theirs, 65536)
        shown.append(seen[:-1].decode())
    os.close(theirs)


def test_a_line_that_is_printed_beside_a_bar_has_a_line_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    with terminal(monkeypatch, shown), Bar(10) as bar:
        bar.update(5, "half")
        bar.screen.print("a line")
    before, _, after = shown[0].partition("a line")
    assert before.endswith("\x1b[2K") and after.startswith("\r\n")


def test_there_is_no_bar_where_nobody_sees_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with Bar(10) as bar:
        bar.update(5)
    assert capsys.readouterr().err == ""


def test_a_bar_that_is_hidden_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    with terminal(monkeypatch, shown), Bar(None, hidden=True) as bar:
        bar.update(5)
    assert shown == [""]
