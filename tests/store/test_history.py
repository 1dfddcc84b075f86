"""Stored events in the order of their times."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from divertor.errors import UnavailableError
from divertor.model.events import Event
from divertor.store import EventStore, history
from divertor.store.history import History, Wanted

START = datetime(2026, 1, 1, tzinfo=UTC)


def event(number: int, seconds: float, late: float = 0, index: str = "logs", **body: object) -> Event:
    time = START + timedelta(seconds=seconds)
    return Event(str(number), "log", time, time + timedelta(seconds=late), (index,), ("t",), 5, body)


def stored(tmp_path: Path, events: list[Event]) -> Path:
    path = tmp_path / "events.duckdb"

    async def fill() -> None:
        store = await EventStore.open(path)
        await store.append(1, events)
        await store.close()

    asyncio.run(fill())
    return path


def read(path: Path, wanted: Wanted) -> list[Event]:
    with History(path) as found:
        return [event for events, _passed in found.events(wanted) for event in events]


def test_events_come_in_the_order_of_their_times_however_they_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "SLICE", 3)
    monkeypatch.setattr(history, "_FETCH", 2)
    events = [event(number, number * 7 % 10, text="ü😀") for number in range(20)]
    assert read(stored(tmp_path, events), Wanted()) == sorted(events, key=lambda one: one.timestamp)


def test_events_come_in_the_order_of_their_arrival_when_that_is_asked_for(tmp_path: Path) -> None:
    events = [event(1, 5, late=3), event(2, 7), event(3, 1)]
    found = read(stored(tmp_path, events), Wanted(by_arrival=True))
    assert [one.id for one in found] == ["3", "2", "1"]


def test_only_wanted_indices_times_and_words_are_read(tmp_path: Path) -> None:
    events = [
        event(1, 1, user="Root here"),
        event(2, 2, user="other"),
        event(3, 3, index="web-1", user="root"),
        event(4, 4, index="else", user="root"),
        event(5, 99, user="root"),
    ]
    wanted = Wanted(("logs", "web-*"), START, START + timedelta(seconds=50), ("root", "toor"))
    assert [one.id for one in read(stored(tmp_path, events), wanted)] == ["1", "3"]


def test_how_far_it_is_counts_all_events(tmp_path: Path) -> None:
    path = stored(tmp_path, [event(number, number, index="ab"[number % 2]) for number in range(10)])
    with History(path) as found:
        steps = [passed for _events, passed in found.events(Wanted(("a",)))]
        assert steps[-1] == found.extent(Wanted()).count == 10


def test_an_empty_store_has_no_events(tmp_path: Path) -> None:
    assert read(stored(tmp_path, []), Wanted()) == []


def test_a_store_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="not there"):
        History(tmp_path / "none.duckdb")


def test_a_damaged_store_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "events.duckdb"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(UnavailableError, match="cannot be read"):
        History(path)
