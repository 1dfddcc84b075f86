"""From a rule's match to an isolation: who caused it, in which application. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from divertor.errors import InputError, Position
from divertor.model.artifacts import IsolationPolicy
from divertor.model.events import Event
from divertor.model.isolation import KeyKind, KeySelector


@dataclass(frozen=True, slots=True)
class Attacker:
    """A key that tells who it was."""

    scope: str
    selector: KeySelector
    value: str


def scope_of(event: Event, policies: Mapping[str, IsolationPolicy]) -> str:
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


def attacker_of(
    event: Event, policies: Mapping[str, IsolationPolicy], wanted: tuple[KeySelector, ...] = ()
) -> Attacker | None:
    """The first of the policy's keys that the event carries; None when the gateway has taken care of it.

    A request the gateway diverted and that had no session was isolated there by the session it was handed in
    the answer: its address, which others may share, is left alone.

    :raises InputError: no application, or nothing in the event tells who it was.
    """
    scope = scope_of(event, policies)
    for selector in wanted or policies[scope].keys:
        value = _value(event, selector)
        if not value:
            continue
        if selector.kind is KeyKind.ADDRESS and event.get("divertor.detection.outcome") == "diverted":
            return None
        return Attacker(scope, selector, value)
    if event.get("divertor.detection.outcome") == "diverted":
        return None
    raise InputError(
        f"event {event.id} does not tell who it was", Position("isolate"), "one of the policy's keys"
    )


def reason_of(event: Event) -> str:
    """Why, in words: what was found where."""
    kind = event.get("detections.type") or event.type
    parameter, line = event.get("divertor.detection.parameter"), event.get("code.line.number")
    text = f"{kind} in {str(parameter)[:60]!r}" if parameter else str(kind)
    return f"{text} at {event.get('code.file.path')}:{line}" if line else text


def _value(event: Event, selector: KeySelector) -> str:
    match selector.kind:
        case KeyKind.COOKIE:
            named = event.get("divertor.session.cookie")
            return str(event.get("session.id") or "") if named in (None, selector.name) else ""
        case KeyKind.HEADER:
            return str(event.get(f"http.request.header.{selector.name.lower()}") or "")
        case KeyKind.ADDRESS:
            return str(event.get("client.address") or "")
    return ""
