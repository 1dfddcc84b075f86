"""Which stack a command means."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from divertor.cli.errors import RefusedError, UnreachableError
from divertor.cli.states import find_state, named_state, running_pid
from divertor.layout import Layout


@contextmanager
def supervised(layout: Layout, text: str = "4711\n") -> Iterator[None]:
    """As if a supervisor ran there: it holds this lock."""
    layout.create()
    with (layout.run / "supervisor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(text)
        lock.flush()
        yield


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "divertor"


def test_a_bare_name_is_one_of_the_users_own(home: Path) -> None:
    assert named_state("demo").root == home / "demo"


def test_anything_else_is_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert named_state("mine").root == tmp_path / "mine"


def test_the_running_one_is_found(home: Path) -> None:
    with supervised(named_state("demo")):
        assert find_state("").root == home / "demo"


def test_of_two_running_ones_one_must_be_named() -> None:
    with (
        supervised(named_state("demo")),
        supervised(named_state("default")),
        pytest.raises(RefusedError, match="default and demo"),
    ):
        find_state("")


def test_none_running_is_told() -> None:
    with pytest.raises(UnreachableError, match="no stack is running"):
        find_state("")


def test_a_lock_nobody_holds_means_nothing_runs() -> None:
    with supervised(named_state("demo")):
        assert running_pid(named_state("demo")) == 4711
    assert running_pid(named_state("demo")) == 0


def test_a_damaged_lock_file_names_nobody() -> None:
    with supervised(named_state("demo"), "what?"):
        assert running_pid(named_state("demo")) == 0
