"""`divertor rules explain`: why a rule did or did not fire on an event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from divertor.cli.options import AsJson, State
from divertor.cli.text import console, print_json, styled

if TYPE_CHECKING:
    from rich.console import Console

    from divertor.model.events import Event
    from divertor.rules import Rule
    from divertor.rules.filters.filter import Explanation
    from divertor.rules.running.explaining import Verdict

#: Parts of a filter that are shown.
MAX_LINES = 500


def explain(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A rule file.")],
    event: Annotated[
        str,
        typer.Option(
            "--event",
            metavar="FILE|ID",
            help="The event: the last one of a file of JSON lines, or one by its id, of --events or stored.",
        ),
    ],
    events: Annotated[
        Path | None,
        typer.Option("--events", metavar="FILE", help="Events that happened before it, as JSON lines."),
    ] = None,
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """Tell why a rule did or did not fire on an event, part by part. Nothing is delivered."""
    from divertor.rules.reading.files import load_file
    from divertor.rules.running.explaining import explain as judge

    rule = load_file(file)
    before, chosen = _chosen(rule, event, events, state)
    verdict = judge(rule, chosen, before)
    if as_json:
        print_json(verdict.to_json(rule, chosen))
        return
    _print(console(), rule, chosen, verdict)


def _chosen(rule: Rule, event: str, events: Path | None, state: str) -> tuple[list[Event], Event]:
    """The events before, and the one that is asked about."""
    stream = list(_read(rule, events)) if events is not None else []
    path = Path(event)
    if path.is_file():
        from divertor.errors import InputError, Position

        stream += _read(rule, path)
        if not stream:
            raise InputError("no event", Position(str(path), 1, 1), "one JSON object per line")
        return stream[:-1], stream[-1]
    for place, one in enumerate(stream):
        if one.id == event:
            return stream[:place], one
    return stream, _stored(event, state)


def _read(rule: Rule, path: Path) -> Iterator[Event]:
    from divertor.cli.rules import read_events

    return read_events(path, rule.index, rule.clock.field)


def _stored(id: str, state: str) -> Event:
    from urllib.parse import quote

    from divertor.cli.client import open_api
    from divertor.model.events import Event

    with open_api(state) as api:
        return Event.from_json(api.get(f"/events/{quote(id, safe='')}"))


def _print(screen: Console, rule: Rule, event: Event, verdict: Verdict) -> None:
    from divertor.model.events import format_time
    from divertor.rules.running.explaining import Outcome

    fired = verdict.outcome in (Outcome.TOLD, Outcome.HELD)
    screen.print(styled(f"{rule.name} on event {event.id}", "bold"))
    screen.print(_mark(verdict.fits), styled(f"index {', '.join(event.indices)}"), _aside(rule.index))
    for line in _lines(verdict.explanation, 0):
        screen.print(*line)
    if rule.query_key:
        screen.print(styled("  query_key"), styled(f"{', '.join(rule.query_key)} = {verdict.key}"))
    screen.print(styled("  time"), styled(format_time(verdict.time)), styled(rule.clock.field, "dim"))
    if verdict.before:
        screen.print(styled(f"  {verdict.before} events before it, {verdict.passed} passed the filter"))
    if verdict.number is not None:
        limit = "" if verdict.threshold is None else f"; fires at {verdict.threshold:g}"
        screen.print(styled(f"  measured {verdict.number:g}{limit}"))
    why = (styled(verdict.fault, "red"),) if verdict.fault else ()
    screen.print(_mark(fired), styled(verdict.outcome.value, "bold"), *why)


def _aside(patterns: Sequence[str]) -> object:
    return styled(f"(the rule looks at {', '.join(patterns)})", "dim")


def _lines(explanation: Explanation, depth: int) -> list[tuple[object, ...]]:
    """The tree, a line for each part, the inner ones further to the right."""
    lines: list[tuple[object, ...]] = []
    waiting = [(explanation, depth)]
    while waiting and len(lines) < MAX_LINES:
        one, level = waiting.pop()
        found = (styled(f"← {one.found}", "dim"),) if one.found else ()
        lines.append((_mark(one.passed), styled("  " * level + one.text), *found))
        waiting.extend((part, level + 1) for part in reversed(one.parts))
    return lines


def _mark(passed: bool) -> object:
    return styled("✓", "green") if passed else styled("✗", "red")
