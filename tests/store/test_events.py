"""The event store on a real database file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from divertor.errors import InputError, UnavailableError
from divertor.model.events import Event
from divertor.store import Aggregate, EventQuery, EventStore, set_aside

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
EVERYTHING = EventQuery(limit=1000, newest_first=False)


def event(number: int, **options: Any) -> Event:
    fields: dict[str, Any] = {"type": "log", "timestamp": NOON + timedelta(seconds=number), "received": NOON}
    return Event(f"{number:032x}", **(fields | options))


@asynccontextmanager
async def opened(directory: Path, *events: Event) -> AsyncIterator[EventStore]:
    store = await EventStore.open(directory / "store" / "events.duckdb", memory_limit="64MB")
    try:
        if events:
            await store.append(1, events)
        yield store
    finally:
        await store.close()


async def found(directory: Path, events: Sequence[Event], query: EventQuery) -> list[int]:
    """The numbers of the events that fit, and a check that `count` agrees."""
    async with opened(directory, *events) as store:
        result = await store.query(query)
        assert await store.count(query) == len(result)
    return [int(one.id, 16) for one in result]


async def test_an_event_comes_back_exactly(tmp_path: Path) -> None:
    sent = Event(
        "a1",
        "detection",
        NOON + timedelta(microseconds=123457),
        NOON,
        ("divertor-detection", "bitsensor"),
        ("a:b", "c"),
        {"n": [1, 2.5, None, True]},
        {"http": {"request": {"method": "GET"}}, "text": "é\n\x00\"' ; DROP TABLE events"},
    )
    async with opened(tmp_path, sent) as store:
        assert await store.query(EVERYTHING) == [sent]
        assert await store.get("a1") == sent
        assert await store.get("a2") is None


async def test_an_event_that_is_no_clean_json_is_stored_nevertheless(tmp_path: Path) -> None:
    async with opened(tmp_path, event(1, body={"a": "x\ud800y", "b": float("nan"), "c": 10**40})) as store:
        assert (await store.query(EVERYTHING))[0].body == {"a": "x?y", "b": "nan", "c": 10**40}


async def test_a_sequence_is_stored_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        assert await store.append(7, [event(1), event(2)]) == 2
        assert await store.append(7, [event(1), event(2)]) == 0
        assert await store.append(6, [event(3)]) == 0
        assert (await store.last_seq(), await store.count(EVERYTHING)) == (7, 2)


async def test_another_stream_starts_anew(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append(7, [event(1)], "first")
        assert await store.last_seq("second") == 0
        assert await store.append(1, [event(2)], "second") == 1
        assert (await store.last_seq("second"), await store.count(EVERYTHING)) == (1, 2)


async def test_events_and_sequence_survive_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append(7, [event(1)])
    async with opened(tmp_path) as store:
        assert (await store.last_seq(), await store.count(EVERYTHING)) == (7, 1)


KILLED = """
import asyncio, os, sys
from datetime import datetime, UTC
from pathlib import Path
from divertor.model.events import Event
from divertor.store import EventStore
async def main():
    store = await EventStore.open(Path(sys.argv[1]))
    now = datetime.now(UTC)
    for seq in range(1, 21):
        await store.append(seq, [Event(f"{seq}-{n}", "log", now, now) for n in range(10)])
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""


def run_to_its_end(script: str, path: Path) -> int:
    return subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode


async def test_what_was_appended_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "events.duckdb"
    ended = run_to_its_end(KILLED, path)
    store = await EventStore.open(path)
    assert (ended, await store.last_seq(), await store.count(EVERYTHING)) == (-9, 20, 200)
    await store.close()


TAGGED = [event(1, tags=("a:b", "x")), event(2, tags=("a",)), event(3, tags=("ab", "x"))]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [((), [1, 2, 3]), (("a",), [1, 2]), (("a:b",), [1]), (("a", "x"), [1]), (("b",), []), (("x",), [1, 3])],
)
async def test_tags_are_all_required_and_a_prefix_counts(
    tmp_path: Path, tags: tuple[str, ...], expected: list[int]
) -> None:
    assert await found(tmp_path, TAGGED, EventQuery(tags=tags, newest_first=False)) == expected


INDEXED = [event(1, indices=("divertor-log",)), event(2, indices=("divertor-detection", "bitsensor"))]


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ("bitsensor", [2]),
        ("divertor-*", [1, 2]),
        ("*sensor", [2]),
        ("divertor_log", []),
        ("d%", []),
        ("*", [1, 2]),
    ],
)
async def test_an_index_is_a_name_or_a_pattern(tmp_path: Path, index: str, expected: list[int]) -> None:
    assert await found(tmp_path, INDEXED, EventQuery(index=index, newest_first=False)) == expected


BODIES = [
    event(1, body={"http": {"request": {"method": "GET"}}, "n": 5, "ok": True}),
    event(2, body={"http.request.method": "GET", "n": 5.0, "ok": False}),
    event(
        3, body={"http": {"request": {"method": "POST"}}, "n": "5", "a/b~c": {"d": "x"}, "deep": [{"k": 1}]}
    ),
]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"http.request.method": "GET"}, [1, 2]),
        ({"http.request.method": "GET", "ok": True}, [1]),
        ({"ok": False}, [2]),
        ({"n": 5}, [1, 2, 3]),
        ({"n": "5"}, [1, 3]),
        ({"a/b~c.d": "x"}, [3]),
        ({"deep.0.k": 1}, [3]),
        ({"ok": None}, [3]),
        ({"n": "5' OR '1'='1"}, []),
        ({"n') OR 1=1 --": "5"}, []),
    ],
)
async def test_fields_are_found_by_path(tmp_path: Path, fields: dict[str, Any], expected: list[int]) -> None:
    assert await found(tmp_path, BODIES, EventQuery(fields=fields, newest_first=False)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("UNION select", [1]), ('"quoted"', [2]), ("back\\slash\n", [2]), ("%", []), ("É", [1])],
)
async def test_text_is_found_in_any_case(tmp_path: Path, text: str, expected: list[int]) -> None:
    events = [event(1, body={"q": "' union SELECT é"}), event(2, body={"q": 'a "Quoted" back\\slash\n'})]
    assert await found(tmp_path, events, EventQuery(text=text, newest_first=False)) == expected


async def test_since_is_included_and_until_is_not(tmp_path: Path) -> None:
    query = EventQuery(
        since=NOON + timedelta(seconds=2), until=NOON + timedelta(seconds=4), newest_first=False
    )
    assert await found(tmp_path, [event(n) for n in range(6)], query) == [2, 3]


async def test_types_are_alternatives(tmp_path: Path) -> None:
    events = [event(1, type="a"), event(2, type="b"), event(3, type="c")]
    assert await found(tmp_path, events, EventQuery(types=("a", "c"), newest_first=False)) == [1, 3]


async def test_pages_come_newest_first(tmp_path: Path) -> None:
    async with opened(tmp_path, *(event(n) for n in range(10))) as store:
        page = await store.query(EventQuery(limit=3, offset=2))
    assert [int(one.id, 16) for one in page] == [7, 6, 5]


async def test_events_of_one_instant_keep_their_order(tmp_path: Path) -> None:
    async with opened(tmp_path, *(event(n, timestamp=NOON) for n in range(100))) as store:
        numbers = [int(one.id, 16) for one in await store.query(EVERYTHING)]
    assert numbers == list(range(100))


@pytest.mark.parametrize(
    ("kind", "field", "expected"),
    [
        ("min", "value", 1),
        ("max", "value", 4),
        ("sum", "value", 7),
        ("average", "value", 7 / 3),
        ("count", "value", 5),
        ("sum", "value.n", 10),
        ("max", "t.ms", 30),
        ("max", "nowhere", None),
    ],
)
async def test_aggregates(tmp_path: Path, kind: str, field: str, expected: float | None) -> None:
    values: list[Any] = [1, 2, 4, "no number", {"n": 10}]
    events = [event(n, value=value, body={"t": {"ms": n * 10}}) for n, value in enumerate(values)]
    async with opened(tmp_path, *events[:4], events[4]) as store:
        result = await store.aggregate(EventQuery(until=NOON + timedelta(days=1)), Aggregate(kind), field)
    assert result == (40 if field == "t.ms" else expected)


async def test_pruning_goes_by_arrival(tmp_path: Path) -> None:
    old = [event(n, received=NOON - timedelta(days=9)) for n in range(3)]
    async with opened(tmp_path, *old, event(9, timestamp=NOON - timedelta(days=99))) as store:
        assert await store.prune(NOON - timedelta(days=7)) == 3
        assert [int(one.id, 16) for one in await store.query(EVERYTHING)] == [9]


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": 1001}, {"offset": -1}, {"fields": {"": 1}}])
def test_a_query_out_of_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        EventQuery(**options)


async def test_a_damaged_file_is_told_and_left_alone_until_it_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "events.duckdb"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(UnavailableError, match="Move it aside"):
        await EventStore.open(path)
    assert set_aside(path, "damaged") == [tmp_path / "events.duckdb.damaged"]
    store = await EventStore.open(path)
    await store.close()


HOLDER = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"


@pytest.fixture
def held_elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A database file that another process has open."""
    path = tmp_path / "events.duckdb"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdin is not None
        assert other.stdout.readline() == b"open\n"
        yield path
        other.stdin.close()


async def test_a_file_another_process_has_is_told(held_elsewhere: Path) -> None:
    with pytest.raises(UnavailableError, match="in use by another process"):
        await EventStore.open(held_elsewhere)


async def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="cannot be made"):
        await EventStore.open(tmp_path / "file" / "events.duckdb")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.text(max_size=8), json_values, max_size=4), max_size=5))
async def test_any_body_comes_back(tmp_path: Path, bodies: list[dict[str, Any]]) -> None:
    events = [event(number, body=body) for number, body in enumerate(bodies)]
    async with opened(tmp_path) as store:
        await store.prune(NOON + timedelta(days=1))
        await store.append(await store.last_seq() + 1, events)
        stored = await store.query(EVERYTHING)
    expected = [{_clean(key): _cleaned(inner) for key, inner in one.body.items()} for one in events]
    assert [dict(one.body) for one in stored] == expected


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, list):
        return [_cleaned(inner) for inner in value]
    if isinstance(value, dict):
        return {_clean(key): _cleaned(inner) for key, inner in value.items()}
    return value
