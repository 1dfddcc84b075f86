"""`divertor isolations show` and `export`: what the isolated asked and got, as a timeline, HAR or a script.

Everything printed was written by attackers; `text.clean` makes it harmless. A file is written as it comes
from the API, private to its owner, because it holds what an attacker (or a customer taken for one) sent.
"""

from __future__ import annotations

import sys
from collections.abc import Container, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from divertor.cli.isolations import Author, Kind, Scope, export_all, only_watched, private
from divertor.cli.options import AsJson, State
from divertor.cli.text import console, print_json, print_table, short_time, styled

if TYPE_CHECKING:
    from rich.text import Text

Id = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="The isolation's id, as `isolations list` prints it.", show_default=False
    ),
]
Reveal = Annotated[bool, typer.Option("--reveal", help="Show the attacker's sessions in full.")]
_STYLES = {"diverted": "bold red", "refused": "red", "simulated": "yellow"}


def join(group: typer.Typer) -> None:
    """Adds the commands to the group of isolations."""
    group.command("show")(show)
    group.command("export")(export)
    group.command("recorded")(recorded)


class Format(StrEnum):
    """What a recording is exported as."""

    HAR = "har"
    CURL = "curl"
    NDJSON = "ndjson"


def show(
    id: Id,
    request: Annotated[
        int, typer.Option(min=0, metavar="N", help="One exchange in full, by its number in the timeline.")
    ] = 0,
    reveal: Reveal = False,
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """Show who is isolated and why, and everything they asked and got."""
    from divertor.cli.client import open_api

    asked = {"reveal": "true"} if reveal else {}
    with open_api(state) as api:
        if request:
            found = api.get(f"{_path(id)}/exchanges/{request}", asked)
            print_json(found) if as_json else _print_exchange(found)
            return
        recording = api.get(f"{_path(id)}/recording")
        exchanges = api.get_all(f"{_path(id)}/exchanges", asked)
        if as_json:
            print_json({**recording, "exchanges": exchanges})
            return
        watched = only_watched(api)
    _print_session(recording, exchanges, watched)


def export(
    id: Annotated[
        str, typer.Argument(metavar="[ID]", help="Whose recording; without it, all isolations, as NDJSON.")
    ] = "",
    format: Annotated[
        Format | None, typer.Option(help="What a recording is exported as; har if not said.")
    ] = None,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE|-", help="Where to.")] = "-",
    reveal: Reveal = False,
    scope: Scope = "",
    kind: Kind = "",
    by: Author = "",
    state: State = "",
) -> None:
    """Export what somebody asked and got, for other tools or to be asked again; or all isolations."""
    from divertor.cli.client import open_api

    if not id:
        if format or reveal:
            raise typer.BadParameter("--format and --reveal are of one recording: say whose, by its ID")
        export_all(output, scope, kind, by, state)
        return
    if scope or kind or by:
        raise typer.BadParameter("--scope, --kind and --by choose among all isolations: not with an ID")
    with open_api(state) as api:
        data = api.download(f"{_path(id)}/{format or Format.HAR}", {"reveal": "true"} if reveal else {})
    if output == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with private(Path(output)) as out:
        out.write(data)


def recorded(state: State = "", as_json: AsJson = False) -> None:
    """List everybody of whom something was recorded, also when they are no longer isolated."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        found = api.get_all("/recordings")
    if as_json:
        print_json(found)
        return
    rows = [_recorded(each) for each in found]
    print_table(["ID", "KEY", "SCOPE", "SINCE", "HOLDS", "BY", "WHY"], rows, empty="Nothing was recorded.")


def _recorded(each: Mapping[str, Any]) -> list[object]:
    known = each.get("isolation") or {}
    holds = "yes" if each.get("holds") else "no"
    return [
        each.get("id"),
        _key(known),
        known.get("scope"),
        short_time(known.get("created")),
        holds,
        known.get("by"),
        known.get("reason"),
    ]


def _path(id: str) -> str:
    return f"/isolations/{quote(id, safe='')}"


def _print_session(
    recording: Mapping[str, Any], exchanges: list[Any], watched: Container[object] = ()
) -> None:
    screen = console()
    for label, value in _who(recording, watched):
        screen.print(styled(f"{label:<10}", "dim"), styled(value))
    screen.print()
    rows = [_row(each) for each in exchanges]
    headings = ["NO", "TIME", "METHOD", "PATH", "STATUS", "MS", "SENT", "GOT", "SERVED BY", ""]
    print_table(headings, rows, empty="Nothing was recorded.")


def _who(recording: Mapping[str, Any], watched: Container[object]) -> Iterator[tuple[str, object]]:
    known = recording.get("isolation") or {}
    yield "id", recording.get("id")
    if known:
        yield "key", _key(known)
        yield "scope", known.get("scope")
        yield "target", known.get("target")
        if known.get("scope") in watched:
            yield "mode", "simulated: nobody is moved"
        yield "since", short_time(known.get("created"))
        until = short_time(known.get("expires")) or "removed"
        yield "until", until if recording.get("holds") else f"{until} (no longer isolated)"
        yield "by", known.get("by")
        yield "why", known.get("reason")
    keys = recording.get("keys") or []
    if len(keys) > 1:
        yield "keys", f"{len(keys)}, handed out one after the other"
    if recording.get("gone"):
        yield "gone", f"{recording['gone']} exchanges between the first and the last are no longer kept"


def _key(known: Mapping[str, Any]) -> str:
    words = " ".join(str(known[part]) for part in ("kind", "name") if known.get(part))
    return f"{words} {known.get('value', '')}".strip()


def _row(each: Mapping[str, Any]) -> list[object]:
    kind = str(each.get("kind", ""))
    status, took = each.get("status"), each.get("milliseconds")
    return [
        each.get("number"),
        str(each.get("time", ""))[:23].replace("T", " "),
        each.get("method"),
        each.get("path"),
        "-" if status is None else status,
        "-" if took is None else f"{took:.1f}",
        each.get("request_bytes"),
        each.get("response_bytes"),
        each.get("served_by"),
        _mark(kind, each.get("detections") or []),
    ]


def _mark(kind: str, detections: list[Any]) -> Text:
    """What sets an exchange apart: the attack, and the detection that `divertor detections show` explains."""
    words = ["ATTACK, handed over"] if kind == "diverted" else [kind] if kind != "isolated" else []
    words += [f"detection {id}" for id in detections[:3]]
    return styled(" · ".join(words), _STYLES.get(kind, ""))


def _print_exchange(found: Mapping[str, Any]) -> None:
    screen = console()
    for style, line in _exchange_lines(found):
        screen.print(styled(line, style), soft_wrap=True)


def _exchange_lines(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    time = str(found.get("time", "")).replace("T", " ")
    yield "dim", f"{found.get('number')} · {time} · {found.get('kind')} · {found.get('client')}"
    for id in found.get("detections") or []:
        yield "red", f"detection {id}"
    if found.get("redacted"):
        yield "dim", f"struck out: {', '.join(map(str, found['redacted']))}"
    yield "", ""
    yield "bold", f"{found.get('method')} {found.get('path')}"
    yield "", f"host: {found.get('host')}"
    yield from _message(found, "request")
    yield "", ""
    status, took = found.get("status"), found.get("milliseconds")
    answered = "no answer: the client left" if status is None else str(status)
    told = "" if took is None else f" after {took:.1f} ms"
    by = f" from {found.get('served_by')}" if found.get("served_by") else ""
    yield "bold", f"{answered}{by}{told}"
    yield from _message(found, "response")


def _message(found: Mapping[str, Any], name: str) -> Iterator[tuple[str, str]]:
    for header in found.get(f"{name}_headers") or []:
        yield "cyan", f"{header.get('name')}: {header.get('value')}"
    body = found.get(f"{name}_body") or {}
    if not body.get("size"):
        return
    yield "", ""
    if body.get("withheld"):
        yield "dim", f"({body['size']} bytes, not kept: {body['withheld']})"
    elif "text" in body:
        yield from (("", line) for line in str(body["text"]).split("\n"))
    else:
        yield "dim", f"({body.get('kept')} bytes that are no text; --json has them as base64)"
    if not body.get("whole") and not body.get("withheld"):
        yield "dim", f"({body.get('kept')} of {body['size']} bytes were kept)"
