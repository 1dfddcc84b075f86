"""`divertor gateways`: the ports customers come in by, and the share of each route."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from divertor.cli.deployments import condition_of
from divertor.cli.errors import RefusedError
from divertor.cli.options import AsJson, State, listing
from divertor.cli.text import console, print_json, print_table, styled

group = listing("Who gets which version.")
Name = Annotated[str, typer.Argument(help="The gateway's name, such as shop/9051 or shop/web/port.")]
#: Keys of a gateway and of a route that its table has, or that say nothing more.
_SHOWN = frozenset(
    ("name", "kind", "internal", "port", "sticky", "routes", "weight", "condition", "condition_strength")
)
_HEADINGS = ["GATEWAY", "PORT", "STICKY", "ROUTE", "WEIGHT", "CONDITION", "STRENGTH"]


@group.command("list")
def list_all(state: State = "", as_json: AsJson = False) -> None:
    """List gateways with their routes."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        found = api.get_all("/gateways")
    if as_json:
        print_json(found)
    else:
        print_table(_HEADINGS, [row for each in found for row in _rows(each)], empty="There are no gateways.")


@group.command("show")
def show(name: Name, state: State = "", as_json: AsJson = False) -> None:
    """Show one gateway."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        found = api.get(_path(name))
    _print(found, as_json)


@group.command("set")
def set_weights(
    name: Name,
    weights: Annotated[
        list[str], typer.Argument(metavar="ROUTE=WEIGHT…", help="For example shop:1.1.0=100%.")
    ],
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """Change the weights of routes; routes that are not named keep theirs. They must sum to 100%."""
    from divertor.cli.client import open_api

    wanted = dict(_weight(each) for each in weights)
    with open_api(state) as api:
        gateway = api.get(_path(name))
        changed = api.send("PUT", _path(name), with_weights(gateway, wanted))
    _print(changed, as_json)


def with_weights(gateway: Mapping[str, Any], weights: Mapping[str, str]) -> dict[str, Any]:
    """`gateway` with the weights of some of its routes replaced. A route is meant by its path or its service.

    :raises RefusedError: it has no such route.
    """
    routes = {path: dict(route) for path, route in (gateway.get("routes") or {}).items()}
    for name, weight in weights.items():
        paths = [path for path in routes if name == path or name in path.split("/")[2:3]]
        if not paths:
            known = ", ".join(path.split("/")[2] if path.count("/") == 3 else path for path in routes)
            raise RefusedError(f"{gateway.get('name')} has no route {name}; it has {known}")
        for path in paths:
            routes[path]["weight"] = weight
    return {**gateway, "routes": routes}


def _weight(text: str) -> tuple[str, str]:
    route, sign, weight = text.rpartition("=")
    number = weight.removesuffix("%")
    if not sign or not route or not number.isdecimal() or int(number) > 100:
        raise typer.BadParameter(f"{text!r}: expected ROUTE=WEIGHT with a weight from 0% to 100%")
    return route, f"{int(number)}%"


def _path(name: str) -> str:
    return f"/gateways/{quote(name)}"


def _print(gateway: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(gateway)
        return
    console().print(styled(gateway.get("name"), "bold"))
    print_table(_HEADINGS[1:], [row[1:] for row in _rows(gateway)], empty="It has no routes.")
    for line in _settings(gateway):
        console().print(styled(line))


def _settings(gateway: Mapping[str, Any]) -> Iterator[str]:
    """What else was asked of the gateway and its routes, as a blueprint writes it."""
    for key, value in gateway.items():
        if key not in _SHOWN and value not in (None, [], {}):
            yield f"{key}: {_text(value)}"
    for path, route in (gateway.get("routes") or {}).items():
        for key, value in route.items():
            if key not in _SHOWN and value not in (None, [], {}):
                yield f"{path}: {key}: {_text(value)}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _rows(gateway: Mapping[str, Any]) -> list[list[object]]:
    return [
        [
            gateway.get("name"),
            gateway.get("port"),
            gateway.get("sticky"),
            path,
            route.get("weight"),
            condition_of(route),
            route.get("condition_strength"),
        ]
        for path, route in (gateway.get("routes") or {}).items()
    ]
