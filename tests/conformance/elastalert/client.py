"""ElastAlert's rule classes beside ours: the process that holds them, random streams, and the comparison.

A test makes streams (`Stream`: a type, its options, batches of events) and calls `differential`, which
feeds the same batches to the real class and to our type in compatible mode: a step for each event, a tick
at the end of each batch. Matches are compared whole, per batch.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from divertor.model.documents import parse_documents
from divertor.model.events import Event
from divertor.rules.document import Document
from divertor.rules.reading.lists import readers
from divertor.rules.reading.options import Given
from divertor.rules.running.observing import query_key_value
from divertor.rules.types import TYPES
from divertor.rules.types.contract import Hit, Observation, RuleType, Settings

START = 1_767_225_600_000_000
SECOND = 1_000_000
MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SPANS = frozenset({"weeks", "days", "hours", "minutes", "seconds", "milliseconds", "microseconds"})
#: Lengths of time that ElastAlert's classes take as they are written.
_WRITTEN_SPANS = frozenset({"terms_window_size", "window_step_size", "bucket_interval"})
#: How many streams go over at once.
_CHUNK = 500

Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Seen:
    """One event: its time in microseconds since the epoch and its other fields."""

    micros: int
    fields: Fields = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """What one poll finds: events in the order they are fed, and the time up to which it looked. `payload`:
    what the oracle is fed instead, as it would be written by hand.
    """

    events: tuple[Seen, ...]
    end: int
    payload: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Stream:
    """`options` as a rule file has them, with `query_key`; `feed`: `data`, `count` or `terms`, as with
    use_count_query and use_terms_query; `seen`: what new_term knew before.
    """

    type: str
    options: Fields
    batches: tuple[Batch, ...]
    feed: str = "data"
    seen: Fields = field(default_factory=dict)
    settings: Settings = field(default_factory=lambda: Settings(compatible=True))


@dataclass(frozen=True)
class Compared:
    """How much was compared."""

    streams: int
    matches: int


class Oracle:
    """The process with ElastAlert in it."""

    def __init__(self, python: Path) -> None:
        script = Path(__file__).with_name("oracle.py")
        self._process = subprocess.Popen(
            [str(python), "-W", "ignore", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, streams: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The answers to streams in `oracle.py`'s form."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        answers: list[dict[str, Any]] = []
        for first in range(0, len(streams), _CHUNK):
            stdin.write(json.dumps(streams[first : first + _CHUNK]) + "\n")
            stdin.flush()
            line = stdout.readline()
            assert line, "the oracle ended"
            answers += json.loads(line)
        return answers

    def close(self) -> None:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.close()
        self._process.wait(10)
        stdout.close()


def oracle_python() -> Path | None:
    """The Python that has `elastalert2`: $DIVERTOR_ORACLE, or the environment beside the checkout's files."""
    named = os.environ.get("DIVERTOR_ORACLE")
    python = Path(named) if named else Path(__file__).parents[3] / ".venv-oracle" / "bin" / "python"
    return python if python.is_file() else None


def random_batches(
    random: Random,
    fields: Callable[[Random], Fields],
    *,
    runs: int = 8,
    per_run: int = 6,
    every: float = 30,
    late: float = 40,
    grain: float = 1,
) -> tuple[Batch, ...]:
    """Batches `every` seconds apart with up to `per_run` events each, times on a grid of `grain` seconds
    (so that equal ones are frequent), an event in five up to `late` seconds late and out of order. Each
    event has its number in `n`.
    """
    batches, number = [], 0
    for run in range(1, runs + 1):
        end = START + int(run * every * SECOND)
        events = []
        for _ in range(random.randint(0, per_run)):
            back = random.uniform(0, every + (late if random.random() < 0.2 else 0))
            micros = end - int(back / grain) * int(grain * SECOND)
            events.append(Seen(micros, {**fields(random), "n": number}))
            number += 1
        if random.random() < 0.8:
            events.sort(key=lambda one: one.micros)
        batches.append(Batch(tuple(events), end))
    return tuple(batches)


def differential(oracle: Oracle, streams: Iterable[Stream], *, ignore: Iterable[str] = ()) -> Compared:
    """Asserts that each stream has the same matches there and here, batch by batch, in any order within one;
    fields named in `ignore` are left out.
    """
    streams, ignored, total = tuple(streams), frozenset(ignore), 0
    for stream, theirs in zip(streams, their_matches(oracle, streams), strict=True):
        ours = our_matches(stream)
        total += sum(map(len, theirs))
        for place, (there, here) in enumerate(zip(theirs, ours, strict=True)):
            expected, found = _normal(there, ignored), _normal(here, ignored)
            assert found == expected, f"{stream}: batch {place}: here {found}, there {expected}"
    return Compared(len(streams), total)


def their_matches(oracle: Oracle, streams: Sequence[Stream]) -> list[list[list[Fields]]]:
    """ElastAlert's matches for each stream, per batch, `@timestamp` in microseconds."""
    found = []
    for stream, answer in zip(streams, oracle.ask([wire(one) for one in streams]), strict=True):
        assert answer["error"] is None, f"{stream}: {answer['error']}"
        steps = iter(answer["matches"])
        found.append(
            [
                [_unwrapped(one) for _ in _feed(stream, batch) for one in next(steps)]
                for batch in stream.batches
            ]
        )
    return found


def wire(stream: Stream) -> dict[str, Any]:
    """A stream as `oracle.py` takes it."""
    options = {name: _option(name, value) for name, value in stream.options.items()}
    feed = [step for batch in stream.batches for step in _feed(stream, batch)]
    return {"type": stream.type, "options": options, "feed": feed, "seen": dict(stream.seen)}


def our_matches(stream: Stream) -> list[list[Fields]]:
    """Our matches, per batch, in the same shape."""
    kind, query_key = make_type(stream), _query_key(stream)
    state, number, found = kind.start(), 0, []
    for batch in stream.batches:
        hits: list[Hit] = []
        for seen in batch.events:
            hits += kind.step(state, observe(seen, query_key, str(number)), batch.end)
            number += 1
        hits += kind.tick(state, batch.end)
        found.append([document_of(hit, query_key) for hit in hits])
    return found


def make_type(stream: Stream) -> RuleType[Any]:
    """Our type from a stream's options, read as a rule file's."""
    declaration = TYPES[stream.type]
    (node,) = parse_documents(json.dumps(dict(stream.options)), "stream.yaml")
    options = Given.of(node, "options").read_all(declaration.options, stream.type)
    kind = declaration.make(options, replace(stream.settings, query_key=_query_key(stream)))
    for reader in readers(kind, "stream.yaml"):
        reader.refresh()
    return kind


def observe(seen: Seen, query_key: tuple[str, ...], id: str) -> Observation:
    moment = EPOCH + seen.micros * MICROSECOND
    event = Event(id, "log", moment, moment, body=seen.fields)
    return Observation(event, query_key_value(seen.fields, query_key), seen.micros, Document(seen.fields))


def document_of(hit: Hit, query_key: tuple[str, ...]) -> Fields:
    document: dict[str, Any] = {"@timestamp": hit.micros}
    if hit.event is not None:
        document |= hit.event.body
    if len(query_key) > 1 or (hit.event is None and query_key):
        document[",".join(query_key)] = hit.key
    document |= hit.fields
    if hit.related is not None:
        document["related_events"] = [_related(one, query_key) for one in hit.related]
    return document


def _related(event: Event, query_key: tuple[str, ...]) -> Fields:
    more = {",".join(query_key): query_key_value(event.body, query_key)} if len(query_key) > 1 else {}
    return {"@timestamp": (event.timestamp - EPOCH) // MICROSECOND, **event.body, **more}


def _feed(stream: Stream, batch: Batch) -> list[list[Any]]:
    collect: list[Any] = ["collect", batch.end]
    if batch.payload:
        return [*map(list, batch.payload), collect]
    if stream.feed == "count":
        return [["count", [[batch.end, len(batch.events)]]], collect]
    if stream.feed == "terms":
        keys = [query_key_value(one.fields, _query_key(stream)) for one in batch.events]
        buckets = [
            {"key": key, "doc_count": keys.count(key)} for key in dict.fromkeys(keys) if key is not None
        ]
        return [["terms", [[batch.end, buckets]]], collect]
    documents = [{**one.fields, "@timestamp": {"$time": one.micros}} for one in batch.events]
    # ElastAlert feeds no empty list: its classes fail on one.
    return [["data", documents], collect] if documents else [collect]


def _option(name: str, value: Any) -> Any:
    if isinstance(value, Mapping) and value and value.keys() <= _SPANS and name not in _WRITTEN_SPANS:
        return {"$span": timedelta(**value) // MICROSECOND}
    return value


def _query_key(stream: Stream) -> tuple[str, ...]:
    given = stream.options.get("query_key", ())
    return (given,) if isinstance(given, str) else tuple(given)


def _unwrapped(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"$time"}:
            return value["$time"]
        return {key: _unwrapped(inner) for key, inner in value.items()}
    return [_unwrapped(inner) for inner in value] if isinstance(value, list) else value


def _normal(matches: Iterable[Fields], ignored: frozenset[str]) -> list[str]:
    kept = ({name: value for name, value in match.items() if name not in ignored} for match in matches)
    return sorted(json.dumps(one, sort_keys=True) for one in kept)
