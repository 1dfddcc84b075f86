"""`divertor metrics`: how much each version is asked, how often that fails, how fast it answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from divertor.cli.errors import RefusedError
from divertor.cli.options import AsJson, State
from divertor.cli.text import console, print_json, print_json_line, print_table, styled

#: Seconds between two tables: the gateway is looked at every ten.
EVERY = 5.0
_HEADINGS = ["WHAT", "RATE", "ERRORS", "P50", "P90", "P99", "ACTIVE", "HEALTH"]


def metrics(
    name: Annotated[str, typer.Argument(metavar="[GATEWAY|DEPLOYMENT]", help="Of this one only.")] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again and again.")] = False,
    window: Annotated[float, typer.Option(min=10, max=300, help="Seconds to look back.")] = 60.0,
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """Show requests per second, errors and durations of every gateway, route and version."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        while True:
            _print(chosen(api.get_all("/metrics", {"window": window}), name), as_json, watch)
            if not watch:
                return
            time.sleep(EVERY)


def chosen(found: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """What belongs to a gateway or a deployment; everything for no name.

    :raises RefusedError: nothing does, though other things are measured.
    """
    if not name:
        return list(found)
    if any(each.get("gateway") == name for each in found):
        return [each for each in found if each.get("gateway") == name]
    inside = f"{name}/"
    belongs = [
        each
        for each in found
        if each.get("deployment") == name or str(each.get("gateway", "")).startswith(inside)
    ]
    if found and not belongs:
        known = {str(each[part]) for each in found for part in ("gateway", "deployment") if each.get(part)}
        raise RefusedError(f"no gateway or deployment {name!r}; there is {', '.join(sorted(known))}")
    return belongs


def row(each: Mapping[str, Any]) -> list[object]:
    """One line of the table."""
    errors = each.get("errors")
    health = each.get("health")
    return [
        styled(_title(each), "bold" if each.get("kind") == "gateways" else ""),
        f"{each.get('rate') or 0:.1f}/s",
        styled("" if errors is None else f"{errors:.2f}%", "red" if errors else ""),
        *(_milliseconds(each.get(quantile)) for quantile in ("p50", "p90", "p99")),
        each.get("active"),
        styled("" if health is None else f"{health:.0%}", "red" if health is not None and health < 1 else ""),
    ]


def _title(each: Mapping[str, Any]) -> str:
    match each.get("kind"):
        case "gateways":
            return f"gateway {each.get('gateway')}"
        case "routes":
            return f"  route {each.get('route')}"
        case _:
            names = (each.get(part) for part in ("deployment", "cluster", "service", "port"))
            return "version " + "/".join(str(part) for part in names if part)


def _milliseconds(value: object) -> str:
    if not isinstance(value, int | float):
        return ""
    return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def _print(found: list[Mapping[str, Any]], as_json: bool, watch: bool) -> None:
    if as_json:
        (print_json_line if watch else print_json)(found)
        return
    screen = console()
    if watch and screen.is_terminal:
        screen.clear()
    print_table(_HEADINGS, [row(each) for each in found], empty="Nothing is measured.")
