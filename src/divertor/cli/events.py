"""`divertor events`: everything that happened, and what happens now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from divertor.cli.options import AsJson, State, listing
from divertor.cli.text import clean, console, print_json, print_json_line, print_table, short_time, styled

group = listing("What happened, and what happens now.")
Type = Annotated[str, typer.Option("--type", help="Only events of this type.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="Only events with this tag; may be repeated.")]
#: Characters of an event's content on its line.
MAX_SUMMARY = 160


@group.command("list")
def list_all(
    type: Type = "",
    tags: Tags = None,
    text: Annotated[str, typer.Option(help="Only events that hold this text.")] = "",
    since: Annotated[str, typer.Option(help="Only events from this ISO time on.")] = "",
    until: Annotated[str, typer.Option(help="Only events before this ISO time.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, newest first.")] = 30,
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """List events, newest first. With --json: JSON, one document."""
    from divertor.cli.client import open_api

    asked = {"type": type, "tags": tags or [], "text": text, "since": since, "until": until}
    with open_api(state) as api:
        found = api.get_all("/events", {name: value for name, value in asked.items() if value}, limit)
    if as_json:
        print_json(found)
        return
    rows = [
        [short_time(each.get("timestamp")), each.get("type"), _tags(each), summary(each)] for each in found
    ]
    print_table(["TIME", "TYPE", "TAGS", "WHAT"], rows, empty="No events.")


@group.command("tail")
def tail(type: Type = "", tags: Tags = None, state: State = "", as_json: AsJson = False) -> None:
    """Print events as they happen, until Ctrl-C. With --json: JSON lines."""
    from divertor.cli.client import open_api

    asked = {name: value for name, value in {"type": type, "tags": tags or []}.items() if value}
    screen = console()
    with open_api(state) as api:
        try:
            for event in api.events(asked):
                if as_json:
                    print_json_line(event)
                else:
                    screen.print(styled(short_time(event.get("timestamp")), "dim"), styled(_line(event)))
        except KeyboardInterrupt:
            return


def _line(event: Mapping[str, Any]) -> str:
    return f"{clean(event.get('type')):<12} {_tags(event)} {summary(event)}"


def _tags(event: Mapping[str, Any]) -> str:
    return " ".join(map(str, event.get("tags") or []))


def summary(event: Mapping[str, Any]) -> str:
    """What an event says, on one line of at most `MAX_SUMMARY` characters."""
    body = event.get("body")
    body = body if isinstance(body, Mapping) else {}
    text = body.get("message") or event.get("value")
    if not text:
        text = json.dumps(body) if body else ""
    line = clean(text if isinstance(text, str) else json.dumps(text))
    return line if len(line) <= MAX_SUMMARY else line[: MAX_SUMMARY - 1] + "…"
