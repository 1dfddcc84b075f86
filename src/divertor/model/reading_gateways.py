"""Positioned nodes to gateways, routes and conditions, with all of Vamp's short forms.

Knows one gateway at a time: whether its routes lead anywhere is `checks`, which sees the whole blueprint.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from divertor.conditions import Condition, Or, parse
from divertor.errors import Position
from divertor.model.artifacts import Gateway, Protocol, Reference, Rewrite, Route, Sticky
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
from divertor.model.paths import checked_path
from divertor.model.quantities import parse_gateway_port, parse_percentage
from divertor.model.reading_listeners import (
    LISTENER_FIELDS,
    read_flag,
    read_rate_limits,
    read_tls,
    read_trusted_proxies,
    read_virtual_hosts,
)
from divertor.model.reading_selectors import parse_selector
from divertor.model.reading_traffic import TRAFFIC_FIELDS, read_traffic
from divertor.model.selectors import Selector

GATEWAY_EXTRAS = ("metadata",)
ROUTE_EXTRAS = ("balance", "metadata")
#: What only a running gateway has: printed by a GET, accepted and ignored on the way back.
GATEWAY_RUNTIME = ("service", "deployed", "lookup_name", "internal", "kind")
ROUTE_RUNTIME = ("targets", "lookup_name", "deployed", "name", "kind")
_OF_GATEWAY = ("routes", "sticky", "virtual_hosts", "selector", *TRAFFIC_FIELDS, *LISTENER_FIELDS)
_GATEWAY_FIELDS = ("name", "port", *_OF_GATEWAY, *GATEWAY_EXTRAS, *GATEWAY_RUNTIME)
#: What a cluster's gateway cannot have: it has no listener, and its routes are the cluster's services.
_NOT_INTERNAL = ("selector", *LISTENER_FIELDS)
_ROUTE_FIELDS = (
    "weight",
    "condition",
    "condition_strength",
    "filters",
    "filter_strength",
    "rewrites",
    "selector",
    *TRAFFIC_FIELDS,
    *ROUTE_EXTRAS,
    *ROUTE_RUNTIME,
)
_STICKY = {word.value: word for word in Sticky}
_PORT_KEY = re.compile(r"[0-9]{1,5}(?:/(?:http|tcp))?", re.IGNORECASE)
_REWRITE = re.compile(r"(?P<path>\S+)\s+if\s+(?P<condition>.+)", re.IGNORECASE | re.DOTALL)
#: Of the characters RFC 3986 allows in a path, and percent-encoded ones; `%[path]` is the path as it came.
_NEW_PATH = re.compile(r"(?:/|%\[path\])(?:[0-9A-Za-z/._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2}|%\[path\])*")
MAX_NEW_PATH = 2000
MAX_REWRITES = 50
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
    return Gateway(
        _gateway_name(key, fields),
        port,
        protocol,
        _sticky(fields, protocol),
        read_routes(fields.get("routes")),
        virtual_hosts=read_virtual_hosts(fields.get("virtual_hosts")),
        selector=_selector(fields),
        traffic=read_traffic(fields),
        rate_limits=read_rate_limits(fields.get("rate_limits")),
        tls=read_tls(fields.get("tls")),
        proxy_protocol=read_flag(fields, "proxy_protocol"),
        trusted_proxies=read_trusted_proxies(fields.get("trusted_proxies")),
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
    if any(_says_gateway(key, item) for key, item in entries):
        return (_internal_gateway("", node),)
    return tuple(_internal_gateway(name_of(key, "a port", strict=True), item) for key, item in entries)


def _says_gateway(key: Scalar, node: Node) -> bool:
    """Whether an entry under a cluster's `gateways` is one of a lone gateway's, not a port's gateway: a port
    may be called `tls`."""
    of_port = isinstance(node, MappingNode) and any(
        inner.text in ("routes", "sticky", "port") for inner, _ in node.entries
    )
    return key.text in _OF_GATEWAY and (key.text in ("routes", "sticky") or not of_port)


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
    text, at = text_of(node, "a condition"), _inside(node)
    return parse(text, at.source, at.line, at.column)


def _internal_gateway(name: str, node: Node) -> Gateway:
    if not isinstance(node, MappingNode):
        node = MappingNode(((_word("routes", node), node),), node.position)
    fields = _gateway_fields(node)
    port, protocol = _port(None, fields)
    for unfit in _NOT_INTERNAL:
        refused = fields.get(unfit)
        if refused is not None:
            fail(
                refused, f"{unfit!r} of a cluster's gateway", f"{unfit!r} of a gateway with a port of its own"
            )
    return Gateway(
        name,
        port,
        protocol,
        _sticky(fields, protocol),
        _service_routes(fields.get("routes")),
        virtual_hosts=read_virtual_hosts(fields.get("virtual_hosts")),
        traffic=read_traffic(fields),
        extras=fields.extras(GATEWAY_EXTRAS),
        position=node.position,
    )


def _service_routes(node: Node | None) -> tuple[Route, ...]:
    """Routes to services, which nothing selects."""
    routes = read_routes(node)
    for route in routes:
        if route.selector is not None:
            place = Scalar("", None, route.position)
            fail(place, f"a selector of the route to the service {route.path!r}", "a gateway's own route")
    return routes


def _gateway_fields(node: Node) -> Fields:
    return Fields(node, "a gateway", _GATEWAY_FIELDS)


def _gateway_name(key: Scalar | None, fields: Fields) -> str:
    node = fields.get("name")
    if node is not None:
        return checked_path(node, "a gateway")
    if key is None:
        fail(fields.node, "a gateway without 'name'")
    return key.text.partition("/")[0] if _PORT_KEY.fullmatch(key.text) else checked_path(key, "a gateway")


def _port(key: Scalar | None, fields: Fields) -> tuple[int | None, Protocol]:
    node = fields.get("port")
    if node is None and key is not None and _PORT_KEY.fullmatch(key.text):
        node = key
    if node is None:
        return None, Protocol.HTTP
    number, protocol = parsed(node, "port", parse_gateway_port)
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
    fields = Fields(node, "a route", _ROUTE_FIELDS)
    asked = _asked(fields)
    return Route(
        path=checked_path(key, "a route"),
        weight=_percentage(fields, "weight"),
        condition=asked.condition,
        condition_strength=_strength(fields),
        condition_reference=asked.reference,
        rewrites=_rewrites(fields.get("rewrites")),
        selector=_selector(fields),
        traffic=read_traffic(fields),
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


def _selector(fields: Fields) -> Selector | None:
    node = fields.get("selector")
    if node is None:
        return None
    text, at = text_of(node, "a selector"), _inside(node)
    return parse_selector(text, at.source, at.line, at.column) if text.strip() else None


def _rewrites(node: Node | None) -> tuple[Rewrite, ...]:
    """`NEW if CONDITION`, `{path: NEW if CONDITION}`, or a list of these; the last that matches counts."""
    rewrites = tuple(_rewrite(item) for item in items_of(node))
    if node is not None and len(rewrites) > MAX_REWRITES:
        fail(node, f"{len(rewrites)} rewrites", f"at most {MAX_REWRITES}")
    return rewrites


def _rewrite(node: Node) -> Rewrite:
    if isinstance(node, MappingNode):
        node = Fields(node, "a rewrite", ("path",)).require("path")
    text, at = text_of(node, "a rewrite"), _inside(node)
    lead = len(text) - len(text.lstrip())
    found = _REWRITE.fullmatch(text.strip())
    if found is None:
        fail(node, f"{text[:80]!r} is no rewrite", "NEW_PATH if CONDITION")
    path = found["path"]
    if not _NEW_PATH.fullmatch(path) or len(path) > MAX_NEW_PATH:
        fail(node, f"{path[:80]!r} is no path", "a path without query such as /new or /v1%[path]")
    offset = lead + found.start("condition")
    return Rewrite(path, parse(found["condition"], at.source, at.line, at.column + offset))


def _inside(node: Node) -> Position:
    """Where a scalar's text begins: behind its quote, if it has one."""
    quote = 1 if isinstance(node, Scalar) and node.quoted and node.position.line else 0
    at = node.position
    return Position(at.source, at.line, at.column + quote)


def _word(text: str, at: Node) -> Scalar:
    return Scalar(text, text, at.position)
