"""What may be asked about events: query parameters → `EventQuery`. Pure; the time is an argument."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Query

from divertor.api.answers import Page, Paged
from divertor.api.context import Surroundings
from divertor.errors import InputError, Position
from divertor.model.events import JSON, Event, parse_time
from divertor.model.quantities import parse_seconds
from divertor.store.query import EventQuery

#: Values of one repeatable parameter.
MAX_VALUES = 32
_MAX_TEXT = 1000
_TICK = timedelta(microseconds=1)
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
_WORDS: dict[str, JSON] = {"null": None, "true": True, "false": False}

Moment = Annotated[str, Query(max_length=64, examples=["2026-01-31T12:00:00Z", "15m"])]


async def event_query(
    world: Surroundings,
    page: Paged,
    type: Annotated[list[str] | None, Query(max_length=MAX_VALUES, description="Any of these types.")] = None,
    tags: Annotated[
        list[str] | None,
        Query(max_length=MAX_VALUES, description="All of these tags; an event tagged `a:b` has `a` as well."),
    ] = None,
    index: Annotated[
        str, Query(max_length=_MAX_TEXT, description="An index name, or a pattern with `*`.")
    ] = "",
    since: Annotated[
        str, Query(max_length=64, description="From this time, or so long ago (`15m`), on.")
    ] = "",
    until: Annotated[str, Query(max_length=64, description="Before this time.")] = "",
    gt: Moment = "",
    gte: Moment = "",
    lt: Moment = "",
    lte: Moment = "",
    field: Annotated[
        list[str] | None,
        Query(
            max_length=MAX_VALUES,
            description='A dotted path and the value there, `path:value`; `"1"` is text, `null` nothing.',
        ),
    ] = None,
    text: Annotated[str, Query(max_length=_MAX_TEXT, description="Part of the event's text.")] = "",
) -> EventQuery:
    """The query that those parameters ask for.

    :raises InputError: a time or field is not understood.
    """
    now = world.now()
    floors = [_time("since", since, now), _time("gte", gte, now), _after("gt", gt, now)]
    ceilings = [_time("until", until, now), _time("lt", lt, now), _after("lte", lte, now)]
    return EventQuery(
        types=_clean("type", type),
        tags=_clean("tags", tags),
        index=_stored(index),
        since=max((each for each in floors if each is not None), default=None),
        until=min((each for each in ceilings if each is not None), default=None),
        fields=dict(_field(each) for each in _clean("field", field)),
        text=_stored(text),
        limit=page.size,
        offset=page.offset,
    )


def fits(event: Event, types: Iterable[str], tags: Iterable[str]) -> bool:
    """Whether a live event is of any of `types` (none: of every type) and has all `tags`, as the store
    judges it.
    """
    wanted = tuple(types)
    if wanted and event.type not in wanted:
        return False
    labels = {*event.tags, *(tag.split(":", 1)[0] for tag in event.tags)}
    return all(tag in labels for tag in tags)


def paged(query: EventQuery) -> Page:
    """The page a query is of."""
    return Page(query.offset // query.limit + 1, query.limit)


def _clean(name: str, values: list[str] | None) -> tuple[str, ...]:
    found = tuple(_stored(value) for value in values or ())
    if any(len(value) > _MAX_TEXT for value in found):
        raise InputError("a value is too long", Position(name), f"at most {_MAX_TEXT} characters")
    return found


def _stored(text: str) -> str:
    """As the store keeps text: without the NUL that no database takes."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _time(name: str, text: str, now: datetime) -> datetime | None:
    if not text:
        return None
    try:
        return now - timedelta(seconds=parse_seconds(text)) if _is_span(text) else parse_time(text)
    except (ValueError, OverflowError):
        expected = "an ISO 8601 time such as 2026-01-31T12:00:00Z, or a span such as 15m"
        raise InputError(f"{text[:80]!r} is no time", Position(name), expected) from None


def _after(name: str, text: str, now: datetime) -> datetime | None:
    """The first moment after that time."""
    found = _time(name, text, now)
    try:
        return None if found is None else found + _TICK
    except OverflowError:
        raise InputError(f"{text[:80]!r} is too late", Position(name), "an earlier time") from None


def _is_span(text: str) -> bool:
    return text[-1:].isalpha() and "T" not in text and not text.endswith(("Z", "z"))


def _field(text: str) -> tuple[str, JSON]:
    path, colon, value = text.partition(":")
    if not colon or not path:
        raise InputError(
            f"{text[:80]!r} names no field", Position("field"), "path:value, such as context.ip:10.0.0.1"
        )
    return path, _value(value)


def _value(text: str) -> JSON:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1]
    if text in _WORDS:
        return _WORDS[text]
    if _NUMBER.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else text
    return text
