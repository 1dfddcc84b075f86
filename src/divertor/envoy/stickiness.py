"""Earlier draws, kept in cookies: which route, and which instance, a customer stays with. Pure."""

from __future__ import annotations

from hashlib import blake2b

from divertor.envoy.names import Resource, header_input
from divertor.envoy.plan import Gate, Route


def cookie_name(gate: Gate) -> str:
    return f"dvt-{blake2b(gate.name.encode(), digest_size=4).hexdigest()}"


def pin(gate: Gate, route: Route) -> tuple[Resource, ...]:
    """The headers that make a client stay with what it drew: a cookie, which no cache may hand to others."""
    value = f"{cookie_name(gate)}={_mark_of(route)}; Path=/; HttpOnly; SameSite=Lax"
    return _added("set-cookie", value), _added("cache-control", "private")


def pinned_by(gate: Gate, route: Route) -> Resource:
    """A predicate: the request carries the cookie of `pin`."""
    return {
        "single_predicate": {
            "input": header_input("cookie"),
            # Matchers of xDS name the engine; where Envoy's own are meant, it is deprecated to do so.
            "value_match": {"safe_regex": {"google_re2": {}, "regex": pinned_pattern(gate, route)}},
        }
    }


def pinned_pattern(gate: Gate, route: Route) -> str:
    """The cookie of `pin` in the header of all cookies."""
    return rf"(?:\C*;)?\s*{cookie_name(gate)}={_mark_of(route)}\s*(?:;\C*)?"


def instance_hash(gate: Gate) -> Resource:
    """How an instance is chosen, so that a client comes back to it."""
    return {
        "cookie": {
            "name": f"{cookie_name(gate)}i",
            "ttl": "0s",
            "path": "/",
            "attributes": [{"name": "HttpOnly"}],
        }
    }


def _added(name: str, value: str) -> Resource:
    return {"header": {"key": name, "value": value}, "append_action": "APPEND_IF_EXISTS_OR_ADD"}


def _mark_of(route: Route) -> str:
    """What stands for a route in the cookie: names of versions are nobody's business."""
    return blake2b(route.name.encode(), digest_size=6).hexdigest()
