"""The options that say how a rule sees time: where an event's time is and how it is written, the rhythm of
ElastAlert that a rule may ask for, and how times are shown to people.

Pure: nothing here reads a clock. Reading an event's time is `observing.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from divertor.model.documents import Node
from divertor.model.fields import fail, suggestion, text_of
from divertor.rules.reading.options import Given, Option, OptionGroup, boolean, span, text
from divertor.rules.rule import Clock

_KINDS = ("iso", "unix", "unix_ms", "custom")


def pretty(moment: datetime, clock: Clock) -> str:
    """A time for people: in the local time zone unless `use_local_time` is false, by
    `custom_pretty_ts_format`.
    """
    return (moment.astimezone() if clock.local else moment.astimezone(UTC)).strftime(clock.shown_as)


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


GROUP: OptionGroup = OptionGroup(
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
