"""`divertor rules`: which rules run, and what a rule would have alerted on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from divertor.cli.alerts import waiting
from divertor.cli.backtest import backtest
from divertor.cli.explain import explain
from divertor.cli.health import details, quiet, trouble, unheard
from divertor.cli.judging import run
from divertor.cli.lint import lint
from divertor.cli.options import AsJson, State, listing
from divertor.cli.progress import Bar
from divertor.cli.text import console, print_json, print_json_line, print_table, short_time, styled

if TYPE_CHECKING:
    from divertor.model.events import Event
    from divertor.rules import Match

group = listing("Which rules run, and what a rule would have alerted on.")
group.command("lint")(lint)
group.command("backtest")(backtest)
group.command("explain")(explain)
group.command("run")(run)
#: The longest line of an events file, in bytes.
MAX_LINE = 4 * 1024 * 1024
#: Lines after which it is told how far reading is, and sets of index names that are remembered.
_TELL, _MANY = 1000, 1000


@group.command("list")
def list_all(state: State = "", as_json: AsJson = False) -> None:
    """List the rules that run."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        found = api.get_all("/rules")
        status = {} if as_json else api.get("/status")
    if as_json:
        print_json(found)
        return
    now, stopped = datetime.now(UTC), status.get("stopped_rules") or {}
    rows = [
        [
            each.get("name"),
            each.get("type"),
            each.get("matches"),
            short_time(each.get("last_match")),
            quiet(each),
            trouble(each, stopped) or styled(unheard(each, now), "yellow"),
        ]
        for each in found
    ]
    headings = ["RULE", "TYPE", "MATCHES", "LAST MATCH", "QUIET", "TROUBLE"]
    print_table(headings, rows, empty="No rules run.")
    since = min((each["matches_since"] for each in found if each.get("matches_since")), default="")
    if since:
        console().print(styled(f"Matches are counted since {short_time(since)}.", "dim"))
    for why in _unseen((status.get("rules") or {}).get("refused") or {}, found):
        console().print(styled(f"refused: {why}", "red"))


@group.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="RULE", help="The rule's name.")],
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """Tell all that is known of a rule: what it looks at, what it found, what keeps it from being heard."""
    from urllib.parse import quote

    from divertor.cli.client import open_api

    with open_api(state) as api:
        found = api.get(f"/rules/{quote(name, safe='')}")
        if as_json:
            print_json(found)
            return
        more = waiting(api, rule=name)
        stopped = api.get("/status").get("stopped_rules") or {}
    screen = console()
    for label, value in details(found, more, trouble(found, stopped), datetime.now(UTC)):
        screen.print(styled(f"{label:11}", "dim"), styled(value))


def _unseen(refused: Mapping[str, str], rules: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why something is not in use, unless one of the rules says it: a file that never was understood."""
    said = [str(rule.get("error")) for rule in rules]
    return [why for why in refused.values() if not any(why in one for one in said)]


@group.command("resume")
def resume(
    name: Annotated[str, typer.Argument(metavar="RULE", help="A rule that was stopped.")], state: State = ""
) -> None:
    """Let a rule isolate again that was stopped because it isolated too many."""
    from urllib.parse import quote

    from divertor.cli.client import open_api

    with open_api(state) as api:
        api.send("DELETE", f"/stopped-rules/{quote(name, safe='')}")
    console().print(styled(f"{name} isolates again"))


@group.command("test")
def test(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A rule file.")],
    events: Annotated[
        Path,
        typer.Option("--events", metavar="FILE", help="Events as JSON lines: Divertor's, or bare documents."),
    ],
    as_json: AsJson = False,
) -> None:
    """Tell what a rule would have alerted on, each event judged at its own time. Nothing is delivered.

    With --json: one JSON line per alert.
    """
    from divertor.rules import backtest
    from divertor.rules.reading.files import load_file

    rule = load_file(file)
    with Bar(_size(events), hidden=as_json, counts=False) as bar:

        def told(position: int) -> None:
            bar.update(position, f"{counted.count:,} events")

        counted = Counting(read_events(events, rule.index, rule.clock.field, told), rule.index)
        matches = backtest(rule, counted)
    if as_json:
        for match in matches:
            print_json_line(_as_json(match))
        return
    screen = console()
    for warning in rule.warnings:
        screen.print(styled(f"warning: {warning}", "yellow"))
    for match in matches:
        _print(match)
    fired = sum(match.status == "firing" for match in matches)
    screen.print(styled(f"{rule.name}: {fired} alerts on {counted.count} events"))
    if counted.count and not counted.fitting:
        screen.print(styled(_of_others(rule.index, counted.others), "yellow"))


class Counting:
    """An iterator that knows how many it gave, how many of them fit the index, and what others are called."""

    def __init__(self, items: Iterator[Event], index: tuple[str, ...]) -> None:
        self._items = items
        self._index = index
        self._fits: dict[tuple[str, ...], bool] = {}
        self.count = self.fitting = 0
        self.others: dict[str, None] = {}

    def __iter__(self) -> Iterator[Event]:
        for item in self._items:
            self.count += 1
            self.fitting += self._fit(item.indices)
            yield item

    def _fit(self, names: tuple[str, ...]) -> bool:
        from divertor.rules.running.engine import fits_index

        known = self._fits.get(names)
        if known is None:
            known = fits_index(self._index, names)
            if len(self._fits) < _MANY:
                self._fits[names] = known
                self.others.update(dict.fromkeys(names) if not known else {})
        return known


def _of_others(index: Iterable[str], others: Iterable[str]) -> str:
    """Why a rule found nothing in events that are all of other indices."""
    some = list(others)
    more = f" and {len(some) - 3} more" if len(some) > 3 else ""
    return f"none of the events is of index {', '.join(index)}: they are of {', '.join(some[:3])}{more}"


def _size(path: Path) -> int | None:
    """Bytes of a file; None when it has no end that is known, or is not there."""
    try:
        return path.stat().st_size or None
    except OSError:
        return None


def read_events(
    path: Path,
    indices: tuple[str, ...],
    timestamp_field: str,
    told: Callable[[int], None] = lambda _position: None,
) -> Iterator[Event]:
    """The events of a file of JSON lines, one by one.

    A line is an event as the API gives it, or a bare document: then it counts as one of the rule's index.
    `told` hears now and then how many bytes were read.

    :raises InputError: a line is neither.
    :raises UnavailableError: the file cannot be read.
    """
    import json

    from divertor.errors import InputError, Position, UnavailableError

    try:
        with path.open("rb") as lines:
            number = read = 0
            while line := lines.readline(MAX_LINE + 1):
                number += 1
                read += len(line)
                if not number % _TELL:
                    told(read)
                if line.strip():
                    try:
                        yield _event(json.loads(line), number, indices, timestamp_field)
                    except (ValueError, RecursionError) as problem:
                        where = Position(str(path), number, 1)
                        raise InputError(
                            f"not an event: {problem}", where, "one JSON object per line"
                        ) from None
    except OSError as problem:
        raise UnavailableError(f"{path}: {problem.strerror}") from problem


def _event(data: object, number: int, indices: tuple[str, ...], timestamp_field: str) -> Event:
    from divertor.model.events import Event, parse_time

    if not isinstance(data, Mapping):
        raise ValueError("it is no object")
    if {"id", "type", "timestamp", "received"} <= data.keys():
        return Event.from_json(data)
    moment = data.get("@timestamp") or _at(data, timestamp_field) or data.get("timestamp")
    if not isinstance(moment, str):
        raise ValueError(f"it says no time: no {' or '.join(dict.fromkeys(('@timestamp', timestamp_field)))}")
    time = parse_time(moment)
    names = tuple(name.replace("*", "x") for name in indices)
    return Event(
        str(data.get("_id", number)), str(data.get("type", "event")), time, time, names, body=dict(data)
    )


def _at(data: Mapping[str, Any], path: str) -> Any:
    value: Any = data
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _as_json(match: Match) -> dict[str, Any]:
    from divertor.alerts.text import body, subject
    from divertor.model.events import format_time
    from divertor.rules import Notification

    return {
        "rule": match.rule.name,
        "time": format_time(match.time),
        "status": match.status,
        "subject": subject(Notification.of(match)),
        "text": body(Notification.of(match)),
        "num_hits": match.num_hits,
        "num_matches": match.num_matches,
        "event": match.event_id,
        "document": dict(match.document),
    }


def _print(match: Match) -> None:
    from divertor.alerts.text import body
    from divertor.alerts.wording import title
    from divertor.model.events import format_time
    from divertor.rules import Notification

    screen = console()
    names = ", ".join(alert.name for alert in match.rule.alerts)
    screen.print(
        styled(short_time(format_time(match.time)), "dim"),
        styled(title(Notification.of(match)), "bold"),
        styled(f"→ {names}"),
    )
    for line in body(Notification.of(match)).splitlines():
        screen.print(styled(f"    {line}"))
