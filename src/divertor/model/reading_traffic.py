"""Nodes to how requests are treated: patience, retries, header edits, copies, and what one version may take.

What Envoy would refuse, or what would take the ground from under the gateway (its own headers, the host, the
framing of a message), is refused here, where the place is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from divertor.model.documents import MappingNode, Node, Scalar
from divertor.model.fields import Fields, entries_of, fail, items_of, parsed, suggestion, text_of
from divertor.model.paths import checked_path
from divertor.model.quantities import parse_percentage, parse_seconds, whole_number
from divertor.model.traffic import (
    CircuitBreaker,
    HeaderEdits,
    Mirror,
    OutlierDetection,
    Retries,
    Traffic,
)

#: What `read_traffic` reads, of a gateway or of a route.
TRAFFIC_FIELDS = ("timeout", "idle_timeout", "retries", "headers", "mirror")
#: Envoy's words that need no further settings.
RETRIABLE = (
    "5xx",
    "cancelled",
    "connect-failure",
    "deadline-exceeded",
    "gateway-error",
    "internal",
    "refused-stream",
    "reset",
    "reset-before-request",
    "resource-exhausted",
    "retriable-4xx",
    "unavailable",
)
SHORTEST, LONGEST = 0.001, 7 * 86400
MAX_RETRIES = 10
MAX_MIRRORS = 8
MAX_EDITS = 64
MAX_VALUE = 4096
MANY = 1_000_000_000

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_OWN = ("x-divertor-", "x-envoy-")
#: They say how the message is sent, not what it says (RFC 9110, section 7.6.1); Envoy keeps them.
_FRAMING = frozenset(
    ("connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding")
    + ("upgrade",)
)


def read_traffic(fields: Fields) -> Traffic:
    """What a gateway or a route says of `TRAFFIC_FIELDS`.

    :raises InputError: a value that is none, or an edit of a header that is not the user's to change.
    """
    request, response = _headers(fields.get("headers"))
    return Traffic(
        timeout=_seconds(fields, "timeout"),
        idle=_seconds(fields, "idle_timeout"),
        retries=_retries(fields.get("retries")),
        request_headers=request,
        response_headers=response,
        mirrors=_mirrors(fields.get("mirror")),
    )


def read_outlier_detection(fields: Fields) -> OutlierDetection | None:
    """`outlier_detection: {errors, interval, ejection, maximum}`; `true` for the usual ones."""
    node = fields.get("outlier_detection")
    if node is None:
        return None
    default = OutlierDetection()
    if _is_true(node):
        return default
    inner = Fields(node, "outlier detection", ("errors", "interval", "ejection", "maximum"))
    errors, maximum = inner.get("errors"), inner.get("maximum")
    return OutlierDetection(
        errors=default.errors
        if errors is None
        else parsed(errors, "number of errors", whole_number(1, 1000)),
        interval=_period(inner, "interval", default.interval),
        ejection=_period(inner, "ejection", default.ejection),
        maximum=default.maximum if maximum is None else parsed(maximum, "share", parse_percentage),
    )


def read_circuit_breaker(fields: Fields) -> CircuitBreaker | None:
    """`circuit_breaker: {connections, pending, requests, retries}`, each a whole number."""
    node = fields.get("circuit_breaker")
    if node is None:
        return None
    default = CircuitBreaker()
    inner = Fields(node, "a circuit breaker", ("connections", "pending", "requests", "retries"))

    def limit(name: str, otherwise: int, least: int) -> int:
        found = inner.get(name)
        return otherwise if found is None else parsed(found, "limit", whole_number(least, MANY))

    return CircuitBreaker(
        connections=limit("connections", default.connections, 1),
        pending=limit("pending", default.pending, 0),
        requests=limit("requests", default.requests, 1),
        retries=limit("retries", default.retries, 0),
    )


def _is_true(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is True


def _seconds(fields: Fields, name: str) -> float | None:
    """A duration, or nothing at all: 0."""
    node = fields.get(name)
    if node is None or parsed(node, "duration", parse_seconds) == 0:
        return None if node is None else 0.0
    return _time(node)


def _period(fields: Fields, name: str, default: float) -> float:
    node = fields.get(name)
    return default if node is None else _time(node)


def _time(node: Node) -> float:
    """A duration that Envoy can count: it knows whole milliseconds."""
    seconds = parsed(node, "duration", parse_seconds)
    if not SHORTEST <= seconds <= LONGEST:
        fail(node, f"{text_of(node, 'a duration')[:40]!r} is too short or too long", "1ms to 7d")
    return seconds


def _retries(node: Node | None) -> Retries | None:
    """`{attempts, on, per_try}`, or the number of attempts alone."""
    if node is None:
        return None
    default, attempts = Retries(), whole_number(0, MAX_RETRIES)
    if not isinstance(node, MappingNode):
        return Retries(parsed(node, "number of retries", attempts))
    fields = Fields(node, "retries", ("attempts", "on", "per_try"))
    count, on = fields.get("attempts"), fields.get("on")
    return Retries(
        attempts=default.attempts if count is None else parsed(count, "number of retries", attempts),
        on=default.on if on is None else _occasions(on),
        per_try=None if fields.get("per_try") is None else _period(fields, "per_try", 0.0),
    )


def _occasions(node: Node) -> tuple[str, ...]:
    found: list[str] = []
    for item in items_of(node):
        for word in re.split(r"[\s,]+", text_of(item, "an occasion to retry").strip().lower()):
            if word not in RETRIABLE:
                fail(item, f"{word[:80]!r} is no occasion to retry", suggestion(word, RETRIABLE))
            found.append(word)
    if not found:
        fail(node, "retries on no occasion", ", ".join(RETRIABLE))
    return tuple(dict.fromkeys(found))


def _headers(node: Node | None) -> tuple[HeaderEdits, HeaderEdits]:
    if node is None:
        return HeaderEdits(), HeaderEdits()
    fields = Fields(node, "headers", ("request", "response"))
    return (
        _edits(fields.get("request"), frozenset((*_FRAMING, "host"))),
        _edits(fields.get("response"), _FRAMING),
    )


def _edits(node: Node | None, refused: frozenset[str]) -> HeaderEdits:
    if node is None:
        return HeaderEdits()
    fields = Fields(node, "header edits", ("set", "add", "remove"))
    changed = tuple(_settings(fields.get("set"), refused))
    names = [name for name, _ in changed]
    if len(set(names)) < len(names):
        fail(node, "a header that is set twice", "each once, whatever its case")
    edits = HeaderEdits(
        set=changed,
        add=tuple(_additions(fields.get("add"), refused)),
        remove=tuple(_header_name(item, refused) for item in items_of(fields.get("remove"))),
    )
    if len(edits.set) + len(edits.add) + len(edits.remove) > MAX_EDITS:
        fail(node, "too many header edits", f"at most {MAX_EDITS}")
    return edits


def _settings(node: Node | None, refused: frozenset[str]) -> Iterator[tuple[str, str]]:
    for key, item in entries_of(node, "headers to set"):
        yield _header_name(key, refused), _header_value(item)


def _additions(node: Node | None, refused: frozenset[str]) -> Iterator[tuple[str, str]]:
    """A header may be added several times: a list of values."""
    for key, item in entries_of(node, "headers to add"):
        name = _header_name(key, refused)
        for value in items_of(item):
            yield name, _header_value(value)


def _header_name(node: Node, refused: frozenset[str]) -> str:
    name = text_of(node, "a header's name").lower()
    if not _NAME.fullmatch(name):
        fail(node, f"{name[:80]!r} cannot be a header's name", "letters, digits and '-'")
    if name.startswith(_OWN) or name in refused:
        own = "the gateway's own" if name.startswith(_OWN) else "not a gateway's to edit"
        fail(node, f"the header {name!r} is {own}", "another header")
    return name


def _header_value(node: Node) -> str:
    value = text_of(node, "a header's value").strip(" \t")
    if not value:
        fail(node, "an empty value of a header", "a value, or the header among those to remove")
    if not value.replace("\t", " ").isprintable() or len(value) > MAX_VALUE:
        fail(node, "no value a header can have", f"up to {MAX_VALUE} visible characters, in one line")
    return value


def _mirrors(node: Node | None) -> tuple[Mirror, ...]:
    """`service`, `{service: 10%}`, or a list of these."""
    mirrors = tuple(mirror for item in items_of(node) for mirror in _listed_mirrors(item))
    if node is not None and len({mirror.to for mirror in mirrors}) < len(mirrors):
        fail(node, "a second copy to the same place", "each place once")
    if node is not None and len(mirrors) > MAX_MIRRORS:
        fail(node, f"{len(mirrors)} copies of each request", f"at most {MAX_MIRRORS}")
    return mirrors


def _listed_mirrors(node: Node) -> Iterator[Mirror]:
    if not isinstance(node, MappingNode):
        yield Mirror(checked_path(node, "a mirror"))
        return
    for key, item in node.entries:
        yield Mirror(checked_path(key, "a mirror"), parsed(item, "share", parse_percentage))
