"""`divertor deployments`: what is deployed, in which versions, and who gets which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from divertor.cli.options import AsJson, State, listing
from divertor.cli.text import console, print_json, print_table, styled

group = listing("What is deployed.")
Name = Annotated[str, typer.Argument(help="The deployment's name.")]


@group.command("list")
def list_all(state: State = "", as_json: AsJson = False) -> None:
    """List deployments with their services and weights."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        found = api.get_all("/deployments")
    if as_json:
        print_json(found)
        return
    rows = [row for deployment in found for row in _services(deployment)]
    headings = ["DEPLOYMENT", "CLUSTER", "SERVICE", "WEIGHT", "CONDITION", "INSTANCES", "STATUS"]
    print_table(headings, rows, empty="Nothing is deployed.")


@group.command("show")
def show(name: Name, state: State = "", as_json: AsJson = False) -> None:
    """Show one deployment: services, gateways, and where its attackers go."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        found = api.get(f"/deployments/{quote(name, safe='')}")
    if as_json:
        print_json(found)
        return
    print_table(
        ["CLUSTER", "SERVICE", "WEIGHT", "CONDITION", "INSTANCES", "STATUS"],
        [row[1:] for row in _services(found)],
        empty=f"{name} has no services.",
    )
    screen = console()
    for gateway, settings in (found.get("gateways") or {}).items():
        screen.print(styled(_gateway_line(gateway, settings)))
    for cluster, policy in (found.get("isolation") or {}).items():
        screen.print(styled(_policy_line(cluster, policy)))


@group.command("delete")
def delete(name: Name, state: State = "", as_json: AsJson = False) -> None:
    """Stop everything a deployment runs and remove it."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        api.send("DELETE", f"/deployments/{quote(name, safe='')}", params={"all": "true"})
    if as_json:
        print_json({"deleted": name})
    else:
        console().print(styled(f"{name} is being removed."))


def _gateway_line(name: str, gateway: Mapping[str, Any]) -> str:
    """By its port; one that only other gateways lead to, by its name."""
    port = str(gateway.get("port") or "0")
    routes = ", ".join(gateway.get("routes") or {})
    return f"gateway {name if port.startswith('0') else port} → {routes or 'nothing yet'}"


def _policy_line(cluster: str, policy: Mapping[str, Any]) -> str:
    keys = ", ".join(policy.get("keys") or [])
    line = f"attackers of {cluster} → {policy.get('to')}, known by {keys}, for {policy.get('for')}"
    if policy.get("allow"):
        line += f", but never who matches {policy['allow']}"
    return line + (" (simulated: nobody is moved)" if policy.get("mode") == "simulate" else "")


def _services(deployment: Mapping[str, Any]) -> Iterator[list[object]]:
    for name, cluster in (deployment.get("clusters") or {}).items():
        for service in cluster.get("services") or []:
            breed = str((service.get("breed") or {}).get("name", ""))
            routes = [
                gateway["routes"][breed]
                for gateway in (cluster.get("gateways") or {}).values()
                if breed in (gateway.get("routes") or {})
            ]
            yield [
                deployment.get("name"),
                name,
                breed,
                ", ".join(str(route.get("weight") or "") for route in routes),
                ", ".join(filter(None, map(condition_of, routes))),
                _instances(service),
                ((service.get("status") or {}).get("phase") or {}).get("name"),
            ]


def _instances(service: Mapping[str, Any]) -> str:
    instances = service.get("instances") or []
    up = sum(bool(instance.get("deployed")) for instance in instances)
    return f"{up} of {(service.get('scale') or {}).get('instances', len(instances))}"


def condition_of(route: Mapping[str, Any]) -> str:
    """A route's condition as text, empty when it has none."""
    condition = route.get("condition")
    if isinstance(condition, Mapping):
        return str(condition.get("condition") or condition.get("reference") or "")
    return str(condition or "")
