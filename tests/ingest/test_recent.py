"""What was taken lately."""

from __future__ import annotations

from datetime import UTC, datetime

from divertor.ingest import RecentIds
from divertor.model.events import Event

NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def events(*ids: str) -> list[Event]:
    return [Event(id, "log", NOON, NOON) for id in ids]


def ids(found: list[Event]) -> list[str]:
    return [event.id for event in found]


def test_an_id_is_taken_once_within_a_batch() -> None:
    assert ids(RecentIds().fresh(events("a", "b", "a"))) == ["a", "b"]


def test_what_was_remembered_is_not_fresh() -> None:
    recent = RecentIds()
    recent.remember(events("a"))
    assert ids(recent.fresh(events("a", "b"))) == ["b"]


def test_asking_alone_remembers_nothing() -> None:
    recent = RecentIds()
    recent.fresh(events("a"))
    assert ids(recent.fresh(events("a"))) == ["a"]


def test_the_oldest_are_forgotten() -> None:
    recent = RecentIds(capacity=2)
    recent.remember(events("a", "b", "a", "c"))
    assert ids(recent.fresh(events("a", "b", "c"))) == ["b"]
