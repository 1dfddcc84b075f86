"""`divertor rules backtest`: what a rule would have alerted on, over everything that is stored.

A stack that is down has its database read directly; one that runs is asked through its API, which takes
longer; a file of events needs no stack at all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from divertor.cli.options import AsJson, State
from divertor.cli.progress import Bar
from divertor.cli.text import console, print_json_line, short_time, styled

if TYPE_CHECKING:
    from rich.console import Console

    from divertor.cli.client import Api
    from divertor.model.events import Event
    from divertor.rules import Match, Rule
    from divertor.store.history import Wanted

#: Events on a page of the API, and how many are aimed at in one stretch of time.
_PAGE = 1000
_AIM = 700
_MICROSECOND = timedelta(microseconds=1)

Some = Iterator[tuple[list["Event"], int]]


@dataclass
class Source:
    """Where events come from: how many there are (None: not known) and lists of those that are wanted, each
    with how many of all there were up to then.
    """

    events: Some
    total: int | None
    last: datetime | None = None
    open: AbstractContextManager[object] = field(default_factory=nullcontext)


def backtest(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A rule file.")],
    since: Annotated[str, typer.Option(help="Only events from this ISO time on.")] = "",
    until: Annotated[
        str, typer.Option(help="Only events before this ISO time; time passes until then.")
    ] = "",
    index: Annotated[str, typer.Option(help="Use this instead of the rule's `index`.")] = "",
    events: Annotated[
        Path | None,
        typer.Option("--events", metavar="FILE", help="Events as JSON lines, instead of a stack's."),
    ] = None,
    arrival: Annotated[
        bool, typer.Option("--as-received", help="Each event when it was received, not when it happened.")
    ] = False,
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """Run a rule over stored events and tell when it would have fired. Nothing is delivered.

    With --json: one JSON line per alert, then one with the totals.
    """
    from dataclasses import replace

    from divertor.rules import load_rule
    from divertor.rules.reading.files import read_text
    from divertor.rules.running.backtest import words_of
    from divertor.store.history import Wanted

    rule = load_rule(read_text(file), str(file))
    if index:
        rule = replace(rule, index=tuple(part.strip() for part in index.split(",") if part.strip()))
    wanted = Wanted(rule.index, _moment(since), _moment(until), words_of(rule), arrival)
    source = _of_file(events, rule, wanted) if events is not None else _of_stack(state, wanted)
    with source.open:
        _run(replace(rule, is_enabled=True), source, wanted, as_json)


def _run(rule: Rule, source: Source, wanted: Wanted, as_json: bool) -> None:
    from divertor.collecting import collect_rarely
    from divertor.rules import Engine
    from divertor.rules.running.backtest import arrival, own_time, replay

    collect_rarely()
    engine, tally = Engine([rule]), Tally()
    began = time.monotonic()
    now = arrival if wanted.by_arrival else own_time
    with Bar(source.total, hidden=as_json) as bar:
        watched = tally.watching(source, bar)
        for match in replay(engine, watched, now, wanted.since, wanted.until or source.last):
            tally.count(match)
            tally.show(match, as_json, bar.screen)
    tally.end(engine.counted(rule.name), time.monotonic() - began)
    faults = engine.health()[rule.name]
    if as_json:
        print_json_line({"rule": rule.name, **tally.totals(), "faults": faults.faults, "late": faults.late})
        return
    screen = console()
    for warning in rule.warnings:
        screen.print(styled(f"warning: {warning}", "yellow"))
    if faults.faults:
        screen.print(styled(f"the rule failed on {faults.faults:,} events: {faults.fault}", "red"))
    screen.print(styled(f"{rule.name}: {tally.words()}", "bold"))


class Tally:
    """What a backtest counts, and its progress on the terminal."""

    def __init__(self) -> None:
        self.alerts = self.hits = self.matches = self.judged = self.passed = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.seconds = 0.0

    def watching(self, source: Source, bar: Bar) -> Iterator[Event]:
        """The source's events, one by one."""
        for events, passed in source.events:
            yield from events
            self.judged += len(events)
            self.passed = max(self.passed, passed)
            if events:
                self.first = self.first or events[0].timestamp
                self.last = events[-1].timestamp
            bar.update(max(passed, self.judged), f"{self.alerts:,} alerts")

    def count(self, match: Match) -> None:
        self.alerts += match.status == "firing"
        self.hits += match.num_hits
        self.matches += match.num_matches

    def end(self, rest: tuple[int, int], seconds: float) -> None:
        self.hits += rest[0]
        self.matches += rest[1]
        self.passed = max(self.passed, self.judged)
        self.seconds = seconds

    def show(self, match: Match, as_json: bool, screen: Console) -> None:
        from divertor.alerts.text import subject
        from divertor.alerts.wording import title
        from divertor.model.events import format_time
        from divertor.rules import Notification

        if as_json:
            print_json_line(
                {
                    "rule": match.rule.name,
                    "time": format_time(match.time),
                    "status": match.status,
                    "key": match.key,
                    "subject": subject(Notification.of(match)),
                    "num_hits": match.num_hits,
                    "num_matches": match.num_matches,
                    "event": match.event_id,
                }
            )
            return
        line = (
            styled(short_time(format_time(match.time)), "dim"),
            styled(title(Notification.of(match)), "bold"),
            styled("" if match.key is None else f"[{match.key[:80]}]"),
            styled(f"{match.num_matches:,} matches, {match.num_hits:,} events", "dim"),
        )
        screen.print(*line)

    def totals(self) -> dict[str, Any]:
        from divertor.model.events import format_time

        return {
            "alerts": self.alerts,
            "matches": self.matches,
            "hits": self.hits,
            "events": self.passed,
            "first": None if self.first is None else format_time(self.first),
            "last": None if self.last is None else format_time(self.last),
            "seconds": round(self.seconds, 3),
        }

    def words(self) -> str:
        rate = self.passed / self.seconds if self.seconds else 0
        return (
            f"{self.alerts:,} alerts of {self.matches:,} matches; {self.hits:,} of {self.passed:,} events "
            f"pass the filter; {self.seconds:,.1f} s, {rate:,.0f} events/s"
        )


def _of_file(path: Path, rule: Rule, wanted: Wanted) -> Source:
    from divertor.cli.rules import read_events

    def events() -> Some:
        batch: list[Event] = []
        count = 0
        for event in read_events(path, rule.index, rule.clock.field):
            count += 1
            early = wanted.since is not None and event.timestamp < wanted.since
            if not early and (wanted.until is None or event.timestamp < wanted.until):
                batch.append(event)
            if len(batch) >= _PAGE:
                yield batch, count
                batch = []
        yield batch, count

    return Source(events(), None)


def _of_stack(state: str, wanted: Wanted) -> Source:
    """A running stack's API, or the database of one that is down."""
    from divertor.cli.client import api_of
    from divertor.cli.errors import UnreachableError
    from divertor.cli.states import DEFAULT, find_state, named_state, running_pid
    from divertor.model.events import moment_of, parse_time
    from divertor.store.history import History

    try:
        layout = find_state(state)
    except UnreachableError:
        layout = named_state(DEFAULT)  # nothing runs: there may still be what it has left
        if not layout.events.is_file():
            raise
    if running_pid(layout):
        api = api_of(layout)
        newest = api.get("/events", {**_range(wanted.since, wanted.until), "per_page": 1})
        last = parse_time(newest[0]["timestamp"]) if newest else None
        return Source(of_api(api, wanted), _total(api, wanted), last, api)
    history = History(layout.events)
    extent = history.extent(wanted)
    return Source(history.events(wanted), extent.count, moment_of(extent.last), history)


def of_api(api: Api, wanted: Wanted) -> Some:
    """The events of the API in the order of their times, a stretch of time after the other.

    The API answers newest first and a page at a time, so a stretch is made as long as a page takes.
    """
    from divertor.model.events import Event, parse_time
    from divertor.rules.running.engine import fits_index

    total = _total(api, wanted)
    if not total:
        return
    asked = {**_range(wanted.since, wanted.until), "per_page": _PAGE}
    oldest = api.get("/events", {**asked, "page": -(-total // _PAGE)})
    newest = api.get("/events", {**asked, "per_page": 1})
    since = parse_time(oldest[-1]["timestamp"])
    end = parse_time(newest[0]["timestamp"]) + _MICROSECOND
    width, passed = (end - since) * _AIM // max(total, _AIM), 0
    while since < end:
        until = min(since + max(width, _MICROSECOND), end)
        count = _count(api, since, until)
        if count > _PAGE and until - since > _MICROSECOND:
            width = max((until - since) // 2, _MICROSECOND)
            continue
        found = api.get_all("/events", _range(since, until), max(count, 1)) if count else []
        passed += len(found)
        events = [Event.from_json(each) for each in reversed(found)]
        yield [event for event in events if fits_index(wanted.indices, event.indices)], passed
        since = until
        # After a burst the stretches grow again, from the shortest one by eight times each.
        width = min(width * _AIM // count, width * 8) if count else max(width, _MICROSECOND) * 8


def _total(api: Api, wanted: Wanted) -> int:
    return _count(api, wanted.since, wanted.until)


def _count(api: Api, since: datetime | None, until: datetime | None) -> int:
    return int(api.get("/events", {**_range(since, until), "aggregator": "count"})["value"])


def _range(since: datetime | None, until: datetime | None) -> Mapping[str, str]:
    from divertor.model.events import format_time

    limits = {"since": since, "until": until}
    return {name: format_time(moment) for name, moment in limits.items() if moment is not None}


def _moment(text: str) -> datetime | None:
    from divertor.errors import InputError, Position
    from divertor.model.events import parse_time

    if not text:
        return None
    try:
        return parse_time(text).astimezone(UTC)
    except ValueError:
        raise InputError(
            f"{text[:40]!r} is no time", Position("--since, --until"), "an ISO 8601 time"
        ) from None
