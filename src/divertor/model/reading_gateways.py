"""Positioned nodes to gateways, routes and conditions, with all of Vamp's short forms.

Knows one gateway at a time: whether its routes lead anywhere is `checks`, which sees the whole blueprint.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from divertor.conditions import Condition, Or, parse
from divertor.model.artifacts import Gateway, Protocol, Reference, Route, Sticky
from divertor.model.documents import MappingNode, Node, Scalar, Sequence
from divertor.model.fields import (
    Fields,
    choice_of,
    entries_of,
    fail,
    is_null,
    items_of,
    name_of,
    parsed,
    text_of,
)
from divertor.model.quantities import parse_percentage, parse_port

GATEWAY_EXTRAS = ("metadata",)
ROUTE_EXTRAS = ("balance", "metadata")
#: What only a running gateway has: printed by a GET, accepted and ignored on the way back.
GATEWAY_RUNTIME = ("service", "deployed", "lookup_name", "internal", "kind")
ROUTE_RUNTIME = ("targets", "lookup_name", "deployed", "name", "kind")
#: Their silent loss would send requests somewhere else.
GATEWAY_UNSUPPORTED = ("virtual_hosts", "selector")
ROUTE_UNSUPPORTED = ("rewrites", "selector")

_GATEWAY_FIELDS = ("name", "port", "sticky", "routes", *GATEWAY_EXTRAS, *GATEWAY_RUNTIME)
_ROUTE_FIELDS = (
    "weight",
    "condition",
    "condition_strength",
    "filters",
    "filter_strength",
    *ROUTE_EXTRAS,
    *ROUTE_RUNTIME,
)
_STICKY = {word.value: word for word in Sticky}
_PORT_KEY = re.compile(r"[0-9]{1,5}(?:/(?:http|tcp))?", re.IGNORECASE)
_PATH = re.compile(r"[^\s/\[\]]+(?:/[^\s/\[\]]+){0,3}")
_EXTERNAL = re.compile(r"\[(?:[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})\]")
#: A word without any sign of a comparison in it: a condition meant by name, not a mistyped one.
_CONDITION_NAME = re.compile(r"[^\s/\[\]=!&|'\"<>()]+")


@dataclass(frozen=True, slots=True)
class Asked:
    """A condition as a document asks for it: inline, by name, or not at all."""

    condition: Condition | None = None
    reference: Reference | None = None


def read_gateway_node(key: Scalar | None, node: Node) -> Gateway:
    """One external gateway under `key` (`8080`, `8080/http` or a name), or under its own `name:`."""
    if not isinstance(node, MappingNode):
        node = MappingNode(((_word("routes", node), node),), node.position)
    fields = _gateway_fields(node)
    port, protocol = _port(key, fields)
    sticky, routes = _sticky(fields, protocol), read_routes(fields.get("routes"))
    return Gateway(
        _gateway_name(key, fields),
        port,
        protocol,
        sticky,
        routes,
        extras=fields.extras(GATEWAY_EXTRAS),
        position=node.position,
    )


def read_gateways(node: Node | None) -> tuple[Gateway, ...]:
    """The `gateways:` of a blueprint or deployment: a mapping by port or name."""
    return tuple(read_gateway_node(key, item) for key, item in entries_of(node, "gateways"))


def read_cluster_gateways(node: Node | None) -> tuple[Gateway, ...]:
    """The `gateways:` of a cluster: by port name, or one gateway whose port name is left out."""
    if is_null(node):
        return ()
    entries = entries_of(node, "gateways")
    assert node is not None
    if any(key.text in ("routes", "sticky", *GATEWAY_UNSUPPORTED) for key, _ in entries):
        return (_internal_gateway("", node),)
    return tuple(_internal_gateway(name_of(key, "a port", strict=True), item) for key, item in entries)


def read_routes(node: Node | None) -> tuple[Route, ...]:
    """Routes as one path, a list of paths, or a mapping by path; in their order."""
    if isinstance(node, MappingNode):
        return _unique([_route(key, item) for key, item in node.entries])
    return _unique([route for item in items_of(node) for route in _listed_routes(item)])


def read_condition_node(node: Node | None) -> Asked:
    """A condition inline, as `{condition: …}`, as `{ref: name}` or by its bare name; empty for none."""
    if node is None or is_null(node):
        return Asked()
    if isinstance(node, MappingNode):
        return _long_condition(node)
    text = text_of(node, "a condition")
    if not text.strip():
        return Asked()
    if _is_condition_name(text):
        return Asked(reference=Reference("conditions", text, node.position))
    return Asked(condition=parse_condition(node))


def parse_condition(node: Node) -> Condition:
    """A scalar's text in the condition language, with errors placed inside the document."""
    text = text_of(node, "a condition")
    quote = 1 if isinstance(node, Scalar) and node.quoted and node.position.line else 0
    position = node.position
    return parse(text, position.source, position.line, position.column + quote)


def _internal_gateway(name: str, node: Node) -> Gateway:
    if not isinstance(node, MappingNode):
        node = MappingNode(((_word("routes", node), node),), node.position)
    fields = _gateway_fields(node)
    port, protocol = _port(None, fields)
    sticky, routes = _sticky(fields, protocol), read_routes(fields.get("routes"))
    return Gateway(
        name, port, protocol, sticky, routes, extras=fields.extras(GATEWAY_EXTRAS), position=node.position
    )


def _gateway_fields(node: Node) -> Fields:
    return Fields(node, "a gateway", _GATEWAY_FIELDS, unsupported=GATEWAY_UNSUPPORTED)


def _gateway_name(key: Scalar | None, fields: Fields) -> str:
    node = fields.get("name")
    if node is not None:
        return _checked_path(node, "a gateway")
    if key is None:
        fail(fields.node, "a gateway without 'name'")
    return key.text.partition("/")[0] if _PORT_KEY.fullmatch(key.text) else _checked_path(key, "a gateway")


def _port(key: Scalar | None, fields: Fields) -> tuple[int | None, Protocol]:
    node = fields.get("port")
    if node is None and key is not None and _PORT_KEY.fullmatch(key.text):
        node = key
    if node is None:
        return None, Protocol.HTTP
    number, protocol = parsed(node, "port", parse_port)
    return number or None, protocol


def _sticky(fields: Fields, protocol: Protocol) -> Sticky:
    node = fields.get("sticky")
    if node is None:
        return Sticky.NONE
    sticky = choice_of(node, "kind of stickiness", _STICKY)
    if sticky is not Sticky.NONE and protocol is Protocol.TCP:
        fail(node, "a tcp gateway cannot be sticky", "an http port, or none")
    return sticky


def _listed_routes(node: Node) -> Iterable[Route]:
    if isinstance(node, MappingNode):
        return [_route(key, item) for key, item in node.entries]
    if isinstance(node, Sequence):
        fail(node, "a list within a list of routes", "a path")
    return [_route(node, Scalar("", None, node.position))]


def _unique(routes: list[Route]) -> tuple[Route, ...]:
    seen: set[str] = set()
    for route in routes:
        if route.path in seen:
            fail(Scalar("", None, route.position), f"a second route to {route.path!r}")
        seen.add(route.path)
    return tuple(routes)


def _route(key: Scalar, node: Node) -> Route:
    fields = Fields(node, "a route", _ROUTE_FIELDS, unsupported=ROUTE_UNSUPPORTED)
    asked = _asked(fields)
    return Route(
        path=_checked_path(key, "a route"),
        weight=_percentage(fields, "weight"),
        condition=asked.condition,
        condition_strength=_strength(fields),
        condition_reference=asked.reference,
        extras=fields.extras(ROUTE_EXTRAS),
        position=key.position,
    )


def _asked(fields: Fields) -> Asked:
    condition, filters = fields.get("condition"), fields.get("filters")
    if condition is not None and filters is not None:
        fail(filters, "both 'condition' and 'filters', its old name")
    return read_filters(filters) if condition is None else read_condition_node(condition)


def read_filters(node: Node | None) -> Asked:
    """Vamp's old `filters`: a list of conditions, any of which counts."""
    asked = [read_condition_node(item) for item in items_of(node)]
    wanted = [item for item in asked if item != Asked()]
    if len(wanted) < 2:
        return wanted[0] if wanted else Asked()
    conditions = tuple(dict.fromkeys(item.condition for item in wanted if item.condition is not None))
    if any(item.reference is not None for item in wanted):
        assert node is not None
        fail(node, "a filter by name among others", "filters written out")
    return Asked(conditions[0] if len(conditions) == 1 else Or(conditions))


def _strength(fields: Fields) -> int:
    if "condition_strength" in fields and "filter_strength" in fields:
        fail(fields.node, "both 'condition_strength' and 'filter_strength', its old name")
    strength = _percentage(fields, "condition_strength")
    if strength is None:
        strength = _percentage(fields, "filter_strength")
    return 100 if strength is None else strength


def _percentage(fields: Fields, name: str) -> int | None:
    node = fields.get(name)
    return None if node is None else parsed(node, name.replace("_", " "), parse_percentage)


def _long_condition(node: MappingNode) -> Asked:
    known = ("condition", "ref", "name", "kind", "metadata", "lookup_name")
    fields = Fields(node, "a condition", known, {"reference": "ref"})
    inline = fields.get("condition")
    if inline is not None:
        return Asked() if not text_of(inline, "a condition").strip() else Asked(parse_condition(inline))
    reference = fields.get("ref") or fields.get("name")
    if reference is None:
        return Asked()
    return Asked(reference=Reference("conditions", name_of(reference, "a condition"), reference.position))


def _is_condition_name(text: str) -> bool:
    constants = ("true", "t", "1", "false", "f", "0")
    return _CONDITION_NAME.fullmatch(text) is not None and text.lower() not in constants


def _checked_path(node: Node, what: str) -> str:
    path = text_of(node, what)
    external = _EXTERNAL.fullmatch(path)
    if external is not None and 0 < int(external["port"]) < 65536:
        return path
    if _PATH.fullmatch(path) is None or not path.isprintable() or len(path) > 800:
        fail(node, f"{path[:80]!r} is no path of {what}", "up to four names joined by '/', or [host:port]")
    return path


def _word(text: str, at: Node) -> Scalar:
    return Scalar(text, text, at.position)
