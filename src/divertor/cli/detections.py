"""`divertor detections`: what the sensors found, down to the vulnerable line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from divertor.cli.options import AsJson, State, listing
from divertor.cli.text import console, print_json, print_table, short_time, styled
from divertor.cli.trace import finding, trace
from divertor.errors import NotFoundError

if TYPE_CHECKING:
    from divertor.cli.client import Api

group = listing("What the sensors found.")
LAST = "last"


@group.command("list")
def list_all(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, newest first.")] = 30,
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """List detections, newest first."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        found = api.get_all("/detections", limit=limit)
    if as_json:
        print_json(found)
        return
    rows = []
    for each in map(finding, found):
        request = f"{each.method} {each.path}"
        rows.append(
            [each.id, short_time(each.time), each.type, each.outcome, request, each.place, each.address]
        )
    headings = ["ID", "TIME", "TYPE", "OUTCOME", "REQUEST", "PLACE", "CLIENT"]
    print_table(headings, rows, empty="Nothing was detected.")


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
