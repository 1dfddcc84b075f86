"""Following the spool while it is written, renamed, damaged, and after a restart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from divertor.recording import spool
from divertor.recording.frames import Tag
from divertor.recording.spool import PATIENCE, Spool

from .spooled import TIME, simple


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recorded.spool"


def opened(path: Path, clock: Clock) -> Spool:
    return Spool(path, clock, lambda: TIME)


def write(path: Path, data: bytes) -> None:
    with path.open("ab") as handle:
        handle.write(data)


def told(reader: Spool) -> list[str]:
    """All there is, confirmed."""
    found: list[str] = []
    while batch := reader.read():
        found += [each.path for each in batch]
        reader.confirm()
    reader.confirm()
    return found


def test_nothing_is_there_at_first(path: Path, clock: Clock) -> None:
    reader = opened(path, clock)
    assert not reader.is_waiting() and reader.read() == []


def test_what_is_appended_is_told_once(path: Path, clock: Clock) -> None:
    reader = opened(path, clock)
    write(path, simple(1))
    assert told(reader) == ["/1"]
    write(path, simple(2))
    assert reader.is_waiting() and told(reader) == ["/2"]
    assert not reader.is_waiting()


def test_after_a_restart_the_rest_is_told(path: Path, clock: Clock) -> None:
    write(path, simple(1))
    assert told(opened(path, clock)) == ["/1"]
    write(path, simple(2))
    assert told(opened(path, clock)) == ["/2"]


def test_what_was_not_confirmed_is_told_again(path: Path, clock: Clock) -> None:
    write(path, simple(1))
    reader = opened(path, clock)
    assert len(reader.read()) == 1
    reader.rewind()
    assert told(reader) == ["/1"]
    assert told(opened(path, clock)) == []


def test_a_large_spool_is_put_aside_and_nothing_is_missed(path: Path, clock: Clock) -> None:
    reader = opened(path, clock)
    count = 0
    while path.exists() or not count:
        write(path, simple(count, (Tag.RESPONSE_BODY, bytes(600_000))))
        count += 1
        assert told(reader) == [f"/{count - 1}"]
    assert count * 600_000 > spool.ROTATE
    write(path.with_suffix(".old"), simple(100))  # the filter had opened it just before
    write(path, simple(101))
    assert told(reader) == ["/100", "/101"]
    clock.now += PATIENCE
    assert told(reader) == []
    assert not path.with_suffix(".old").exists()
    write(path, simple(102))
    assert told(reader) == ["/102"]


def test_an_unfinished_record_is_given_up_after_a_while(path: Path, clock: Clock) -> None:
    reader = opened(path, clock)
    write(path, simple(1)[:-1])
    assert told(reader) == []
    clock.now += PATIENCE
    write(path, simple(2))
    assert told(reader) == ["/2"]
    assert reader.damaged == len(simple(1)) - 1


def test_an_unfinished_record_that_is_finished_is_told(path: Path, clock: Clock) -> None:
    reader = opened(path, clock)
    write(path, simple(1)[:-1])
    assert told(reader) == []
    write(path, simple(1)[-1:])
    assert told(reader) == ["/1"]


def test_a_record_larger_than_a_look_is_told(path: Path, clock: Clock) -> None:
    write(path, simple(1, (Tag.REQUEST_BODY, bytes(3 * spool.CHUNK))) + simple(2))
    assert told(opened(path, clock)) == ["/1", "/2"]


def test_a_damaged_position_means_from_the_start(path: Path, clock: Clock) -> None:
    write(path, simple(1))
    path.with_suffix(".position").write_text("[1")
    assert told(opened(path, clock)) == ["/1"]


def test_what_the_filter_lost_is_known(path: Path, clock: Clock) -> None:
    write(path, simple(1, (Tag.LOST, 12)))
    reader = opened(path, clock)
    told(reader)
    assert reader.lost == 12
