"""`divertor isolations`: who is being diverted and why; divert somebody, or let somebody back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from divertor.cli.errors import RefusedError
from divertor.cli.options import AsJson, State, listing
from divertor.cli.text import console, print_json, print_table, short_time, styled

if TYPE_CHECKING:
    from divertor.cli.client import Api

group = listing("Who is being diverted, and why.")
Id = Annotated[str, typer.Argument(metavar="ID", help="The isolation's id, as `isolations list` prints it.")]


@group.command("list")
def list_all(state: State = "", as_json: AsJson = False) -> None:
    """List who is isolated, by whom and until when."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        found = api.get_all("/isolations")
    if as_json:
        print_json(found)
        return
    headings = ["ID", "KEY", "SCOPE", "SERVED BY", "SINCE", "UNTIL", "BY", "WHY"]
    print_table(headings, [_row(each) for each in found], empty="Nobody is isolated.")


@group.command("show")
def show(id: Id, state: State = "", as_json: AsJson = False) -> None:
    """Show one isolation."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        found = api.get(f"/isolations/{quote(id, safe='')}")
    if as_json:
        print_json(found)
        return
    screen = console()
    for name, value in found.items():
        screen.print(
            styled(f"{name:<9}", "dim"), styled("until removed" if name == "expires" and not value else value)
        )


@group.command("add")
def add(
    cookie: Annotated[str, typer.Option(metavar="NAME=VALUE", help="Whoever sends this cookie.")] = "",
    header: Annotated[str, typer.Option(metavar="NAME=VALUE", help="Whoever sends this header.")] = "",
    address: Annotated[str, typer.Option(metavar="IP", help="Whoever comes from this address.")] = "",
    scope: Annotated[
        str, typer.Option(metavar="DEPLOYMENT/CLUSTER", help="Needed when there are several.")
    ] = "",
    to: Annotated[
        str, typer.Option(metavar="SERVICE", help="Who serves them; else as the blueprint says.")
    ] = "",
    duration: Annotated[
        str, typer.Option("--for", metavar="24h", help="How long; else as the blueprint says.")
    ] = "",
    reason: Annotated[str, typer.Option(help="Why, for whoever looks at it later.")] = "by hand",
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """Divert somebody from now on."""
    from divertor.cli.client import open_api

    key = _key(cookie, header, address)
    extras = {"target": to, "for": duration}
    with open_api(state) as api:
        wanted = {"scope": scope or only_scope(api), **key, "reason": reason}
        wanted |= {name: value for name, value in extras.items() if value}
        made = api.send("POST", "/isolations", wanted)
    if as_json:
        print_json(made)
    else:
        console().print(
            styled(f"{_key_text(made)} is served by {made.get('target')} from now on ({made.get('id')}).")
        )


@group.command("rm")
def remove(
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="One or more ids.")],
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """Let somebody back to the live version, at once."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        for id in ids:
            api.send("DELETE", f"/isolations/{quote(id, safe='')}")
    if as_json:
        print_json({"removed": ids})
    else:
        console().print(styled(f"No longer isolated: {', '.join(ids)}"))


def only_scope(api: Api) -> str:
    """The one cluster that can isolate.

    :raises RefusedError: there is none, or several.
    """
    deployments = api.get("/deployments")
    scopes = [f"{each['name']}/{cluster}" for each in deployments for cluster in each.get("isolation") or {}]
    if not scopes:
        raise RefusedError("no deployment has an isolation section: there is nowhere to divert to")
    if len(scopes) > 1:
        raise RefusedError(f"say where with --scope: {', '.join(scopes)}")
    return scopes[0]


def _key(cookie: str, header: str, address: str) -> dict[str, str]:
    given = [
        (kind, text) for kind, text in (("cookie", cookie), ("header", header), ("address", address)) if text
    ]
    if len(given) != 1:
        raise typer.BadParameter("say who with one of --cookie, --header and --address")
    kind, text = given[0]
    if kind == "address":
        return {"kind": kind, "name": "", "value": text}
    name, sign, value = text.partition("=")
    if not sign or not name or not value:
        raise typer.BadParameter(f"--{kind} {text!r}: expected NAME=VALUE")
    return {"kind": kind, "name": name, "value": value}


def _row(each: Mapping[str, Any]) -> list[object]:
    return [
        each.get("id"),
        _key_text(each),
        each.get("scope"),
        each.get("target"),
        short_time(each.get("created")),
        short_time(each.get("expires")) or "removed",
        each.get("by"),
        each.get("reason"),
    ]


def _key_text(each: Mapping[str, Any]) -> str:
    if each.get("kind") == "address":
        return f"client address {each.get('value')}"
    return f"{each.get('kind')} {each.get('name')}={each.get('value')}"
