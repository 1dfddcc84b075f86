"""How a rule sees time: where an event's time is and how it is written, the rhythm of ElastAlert that a rule
may ask for, and how times are shown to people.

Pure: nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from divertor.model.documents import Node
from divertor.model.events import parse_time
from divertor.model.fields import fail, suggestion, text_of
from divertor.rules.options import Given, Option, OptionGroup, boolean, span, text
from divertor.rules.rule import Clock

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = ("iso", "unix", "unix_ms", "custom")
#: A longer text is no time.
_MAX_LENGTH = 100
#: Seconds since the epoch beyond which a number is no time: the year 9999.
_LAST = 253_402_300_799.0


def read_time(value: Any, clock: Clock) -> datetime | None:
    """The moment that a value of the rule's `timestamp_field` names; None when it names none."""
    try:
        if clock.kind == "iso":
            return parse_time(value) if isinstance(value, str) else None
        if clock.kind == "custom":
            return _custom(value, clock.format)
        return _since_epoch(value, 1000.0 if clock.kind == "unix_ms" else 1.0)
    except (ValueError, OverflowError):
        return None


def pretty(moment: datetime, clock: Clock) -> str:
    """A time for people: in the local time zone unless `use_local_time` is false, by
    `custom_pretty_ts_format`.
    """
    return (moment.astimezone() if clock.local else moment.astimezone(UTC)).strftime(clock.shown_as)


def _custom(value: Any, written_as: str) -> datetime | None:
    if not isinstance(value, str | int | float) or isinstance(value, bool) or len(str(value)) > _MAX_LENGTH:
        return None
    moment = datetime.strptime(str(value), written_as)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _since_epoch(value: Any, per_second: float) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > _MAX_LENGTH:
        return None
    seconds = float(value) / per_second
    if not 0 <= seconds <= _LAST:
        return None
    return _EPOCH + timedelta(seconds=seconds)


def _kind(node: Node, what: str) -> str:
    word = text_of(node, what).strip().lower()
    if word not in _KINDS:
        fail(node, f"{what} is {word[:40]!r}", suggestion(word, _KINDS))
    return word


def _format(node: Node, what: str) -> str:
    """A `strptime` format that can be read back."""
    written = text_of(node, what)
    moment = datetime(2026, 11, 22, 10, 30, 15, tzinfo=UTC)
    try:
        datetime.strptime(moment.strftime(written), written)
    except ValueError:
        fail(node, f"{written[:80]!r} is no format of times", "such as %Y-%m-%d %H:%M:%S")
    return written


def _read(given: Given, values: Mapping[str, Any]) -> Clock:
    kind = values["timestamp_type"]
    written_as = values["timestamp_format"]
    node = given.node("timestamp_format")
    if node is not None and kind != "custom":
        fail(node, f"a timestamp_format with timestamp_type {kind}", "timestamp_type: custom")
    return Clock(
        field=values["timestamp_field"],
        compatible=values["compatible"],
        run_every=values["run_every"],
        query_delay=values["query_delay"],
        buffer_time=values["buffer_time"],
        kind=kind,
        format=written_as if kind == "custom" else "",
        local=values["use_local_time"],
        shown_as=values["custom_pretty_ts_format"],
    )


GROUP = OptionGroup(
    "clock",
    (
        Option("timestamp_field", text, default="@timestamp"),
        Option("timestamp_type", _kind, default="iso"),
        Option("timestamp_format", _format, default="%Y-%m-%dT%H:%M:%SZ"),
        Option("use_local_time", boolean, default=True),
        Option("custom_pretty_ts_format", text, default="%Y-%m-%d %H:%M %Z"),
        Option("compatible", boolean, default=False),
        Option("run_every", span(), default=timedelta(minutes=1)),
        Option("buffer_time", span(), default=timedelta(minutes=15)),
        Option("query_delay", span(zero=True), default=timedelta(0)),
    ),
    _read,
)
