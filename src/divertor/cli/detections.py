"""`divertor detections`: what the sensors found, down to the vulnerable line."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from divertor.cli.options import AsJson, State, listing
from divertor.cli.text import console, print_json, print_table, short_time, styled
from divertor.cli.trace import Finding, finding, trace
from divertor.errors import NotFoundError

if TYPE_CHECKING:
    from divertor.cli.client import Api

group = listing("What the sensors found.")
LAST = "last"


class Signal(StrEnum):
    """How near harm was."""

    ATTACK = "attack"
    VULNERABILITY = "vulnerability"
    PROBE = "probe"


@group.command("list")
def list_all(
    signal: Annotated[
        Signal | None, typer.Option(help="Only these. Probes, which reached nothing, are only listed so.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, newest first.")] = 30,
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """List detections, newest first."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        wanted = {} if signal is None else {"signal": signal.value}
        found = api.get_all("/detections", wanted, limit)
    if as_json:
        print_json(found)
        return
    rows = [_row(each) for each in map(finding, found)]
    headings = ["ID", "TIME", "TYPE", "SIGNAL", "OUTCOME", "REQUEST", "PLACE", "CLIENT"]
    print_table(headings, rows, empty="Nothing was detected.")


def _row(each: Finding) -> list[str]:
    outcome = f"{each.outcome} ({each.simulated})" if each.simulated else each.outcome
    request = f"{each.method} {each.path}"
    return [
        each.id,
        short_time(each.time),
        each.type,
        each.signal,
        outcome,
        request,
        each.place,
        each.address,
    ]


@group.command("show")
def show(
    id: Annotated[
        str, typer.Argument(metavar="[ID|last]", help="Which one; the last one by default.")
    ] = LAST,
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """Show a detection: request, parameter, payload, the vulnerable line, and what was done."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        found = _find(api, id)
    if as_json:
        print_json(found)
        return
    screen = console()
    for style, line in trace(finding(found)):
        screen.print(styled(line, style))


def _find(api: Api, id: str) -> Any:
    if id != LAST:
        return api.get(f"/detections/{quote(id, safe='')}")
    newest = api.get_all("/detections", limit=1)
    if not newest:
        raise NotFoundError("nothing was detected yet")
    return newest[0]
