"""`divertor status`: is it well, and what is it doing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from divertor.cli.options import AsJson, State
from divertor.cli.text import console, print_json, print_table, styled

_STYLES = {"running": "green", "starting": "yellow", "backing-off": "red", "failed": "red"}


def status(state: State = "", as_json: AsJson = False) -> None:
    """Show whether the stack is well: its processes, its gateway, what it counts."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        found = api.get("/status")
    if as_json:
        print_json(found)
        return
    _print_facts(found)
    console().print()
    print_table(
        ["PROCESS", "GROUP", "STATE", "PID", "RESTARTS", "WHY"],
        [_process(each) for each in found.get("processes") or []],
        empty="No processes.",
    )


def _print_facts(found: Mapping[str, Any]) -> None:
    rows = [(name, value) for name, value in _flat(found) if not name.startswith("processes")]
    screen = console()
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        screen.print(styled(name.ljust(width), "dim"), styled(value))


def _flat(data: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in data.items():
        if name == "refused" and isinstance(value, Mapping):
            # By file, which each reason names anyway.
            rows += [(prefix + name, str(why)) for why in value.values()]
        elif isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name} ")
        elif isinstance(value, list):
            rows.append((prefix + name, ", ".join(str(item) for item in value if not isinstance(item, dict))))
        else:
            rows.append((prefix + name, str(value)))
    return rows


def _process(each: Mapping[str, Any]) -> list[object]:
    state = str(each.get("state", ""))
    return [
        each.get("name"),
        each.get("group"),
        styled(state, _STYLES.get(state, "")),
        each.get("pid") or "",
        each.get("restarts"),
        each.get("error"),
    ]
