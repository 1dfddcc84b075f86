"""From a rule's match to an isolation: who caused it, in which application. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from divertor.errors import InputError, Position
from divertor.model.artifacts import IsolationPolicy
from divertor.model.isolation import KeyKind, KeySelector
from divertor.rules import Match
from divertor.rules.document import lookup


class Record(Protocol):
    """Something that may tell who it was: an event, or a match."""

    @property
    def id(self) -> str: ...

    @property
    def type(self) -> str: ...

    def get(self, path: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class Told:
    """What a match tells: its event, and beyond that its own document (a key, a count)."""

    id: str
    type: str
    event: Record | None
    document: Mapping[str, Any]

    @classmethod
    def of(cls, match: Match) -> Told:
        if match.event is None:
            return cls(match.id, match.rule.type, None, match.document)
        return cls(match.event.id, match.event.type, match.event, match.document)

    def get(self, path: str) -> Any:
        """The value at a dotted path, or None."""
        found = self.event.get(path) if self.event is not None else None
        return lookup(self.document, path) if found is None else found


@dataclass(frozen=True, slots=True)
class Attacker:
    """A key that tells who it was."""

    scope: str
    selector: KeySelector
    value: str


def scope_of(event: Record, policies: Mapping[str, IsolationPolicy]) -> str:
    """The scope (`deployment/cluster`) an event is about: that of the instance that reported it, or the only
    one there is.

    :raises InputError: it cannot be told.
    """
    instance = str(event.get("service.instance.id") or "")
    scope = "/".join(instance.split("/")[:2])
    if scope in policies:
        return scope
    told = str(event.get("divertor.scope") or "")
    if told in policies:
        return told
    if len(policies) == 1:
        return next(iter(policies))
    raise InputError(
        f"event {event.id} does not tell which application it is about", Position("isolate"), "a scope"
    )


def attackers_of(
    event: Record,
    policies: Mapping[str, IsolationPolicy],
    wanted: tuple[KeySelector, ...] = (),
    every: bool = False,
    fields: Mapping[KeySelector, str] | None = None,
) -> tuple[Attacker, ...]:
    """The first of the policy's keys (or of `wanted`) that the event carries, or `every` one of them; none
    when the gateway has taken care of it. `fields` says where a key's value is, when it is elsewhere.

    A request the gateway diverted and that had no session was isolated there by the session it was handed in
    the answer: its address, or whatever else others may share, is left alone.

    :raises InputError: no application, or nothing in the event tells who it was.
    """
    scope = scope_of(event, policies)
    diverted = event.get("divertor.detection.outcome") == "diverted"
    found = []
    for selector in wanted or policies[scope].keys:
        path = (fields or {}).get(selector)
        value = value_of(event, selector) if path is None else _text(event, path)
        if not value or (diverted and selector.kind in _SHARED):
            continue
        found.append(Attacker(scope, selector, value))
        if not every:
            break
    if not found and not diverted:
        raise InputError(
            f"event {event.id} does not tell who it was", Position("isolate"), "one of the policy's keys"
        )
    return tuple(found)


def attacker_of(
    event: Record, policies: Mapping[str, IsolationPolicy], wanted: tuple[KeySelector, ...] = ()
) -> Attacker | None:
    """The first that `attackers_of` finds, or None."""
    return next(iter(attackers_of(event, policies, wanted)), None)


def reason_of(event: Record) -> str:
    """Why, in words: what was found where."""
    kind = event.get("detections.type") or event.type
    parameter, line = event.get("divertor.detection.parameter"), event.get("code.line.number")
    text = f"{str(kind)[:100]} in {str(parameter)[:60]!r}" if parameter else str(kind)[:100]
    return f"{text} at {event.get('code.file.path')}:{line}" if line else text


def value_of(event: Record, selector: KeySelector) -> str:
    """What an event says of a key; "" when it says nothing."""
    match selector.kind:
        case KeyKind.COOKIE:
            named = event.get("divertor.session.cookie")
            return _text(event, "session.id") if named in (None, selector.name) else ""
        case KeyKind.HEADER:
            return _text(event, f"http.request.header.{selector.name.lower()}")
        case KeyKind.BEARER:
            given = _text(event, "http.request.header.authorization")
            return given if given[:7].lower() == "bearer " else ""
        case KeyKind.ADDRESS | KeyKind.PREFIX:
            return _text(event, "client.address")
        case KeyKind.JA3 | KeyKind.JA4:
            return _text(event, f"tls.client.{selector.kind}")
        case KeyKind.USER:
            return _text(event, "user.id")


#: Keys that several clients may have in common.
_SHARED = frozenset({KeyKind.ADDRESS, KeyKind.PREFIX, KeyKind.JA3, KeyKind.JA4})


def _text(event: Record, path: str) -> str:
    """A header comes as a list of its values."""
    found = event.get(path)
    if isinstance(found, list):
        found = found[0] if found else None
    return str(found) if isinstance(found, str | int) else ""
