"""Logs: private, bounded, and quoted without control characters."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from divertor.runtime.logs import open_log, rotate, tail


def test_a_log_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "a.log"
    os.close(open_log(str(path)))
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_log_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        open_log(str(tmp_path / "a.log"))


def test_rotation_keeps_the_newest_part_and_the_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = open_log(str(path))
    os.write(log, b"old " * 10 + b"new " * 10)
    assert rotate(str(path), 40)
    os.write(log, b"next")
    os.close(log)
    assert (tmp_path / "a.log.1").read_bytes() == b"new " * 10
    assert path.read_bytes() == b"next"


def test_a_short_log_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"x" * 40)
    assert not rotate(str(tmp_path / "a.log"), 40)


def test_a_log_is_cut_even_when_no_copy_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"x" * 50)
    (tmp_path / "a.log.1").mkdir()
    assert rotate(str(tmp_path / "a.log"), 40)
    assert (tmp_path / "a.log").read_bytes() == b""


def test_the_tail_has_the_last_lines_without_control_characters(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"one\ntwo\n\x1b[31mred\xff\n")
    assert tail(str(tmp_path / "a.log"), lines=2) == "two\n\ufffd[31mred\ufffd"


def test_the_tail_of_no_file_is_empty(tmp_path: Path) -> None:
    assert tail(str(tmp_path / "none.log")) == ""
