"""The control plane as a process: what it says when it cannot start."""

from __future__ import annotations

import os
import sys

import pytest

from divertor.errors import ConflictError, UnavailableError
from divertor.plane import __main__ as plane


def start(problem: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    async def serve(_layout: object) -> None:
        raise problem

    monkeypatch.setattr(sys, "argv", ["plane", "state"])
    monkeypatch.setattr(plane, "serve", serve)
    monkeypatch.setattr(os, "umask", lambda _mask: 0)  # that of the tests stays
    return plane.main()


def test_what_a_part_refuses_is_one_line_without_a_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = ExceptionGroup("inner", [UnavailableError("no broker")])
    problem = ExceptionGroup("parts", [ConflictError("gateway a: no certificate"), inner])
    assert start(problem, monkeypatch) == 1
    assert capsys.readouterr().err == "divertor: gateway a: no certificate\ndivertor: no broker\n"


def test_a_bug_of_ours_shows_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExceptionGroup):
        start(ExceptionGroup("parts", [ConflictError("expected"), KeyError("bug")]), monkeypatch)
