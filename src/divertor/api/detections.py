"""A detection, told in the order in which one reads it. Pure.

The event it is made from may have been sent by anybody with an ingest token, so nothing about its body is
taken for granted: what is missing or of another kind is empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from divertor.model.events import Event

_MAX_FRAMES = 200
_OWN = (
    *("type", "cwe", "owasp", "signal", "outcome", "simulated"),
    *("source", "parameter", "payload", "sink", "statement"),
)


def detection_to_json(event: Event) -> dict[str, Any]:
    """The detection, and under `event` the whole event."""
    body = event.body
    own = {name: _text(body, f"divertor.detection.{name}") for name in _OWN}
    return {
        "id": event.id,
        "timestamp": event.to_json()["timestamp"],
        **own,
        "service": _text(body, "service.name"),
        "version": _text(body, "service.version"),
        "message": _text(body, "message"),
        "request": {
            "method": _text(body, "http.request.method"),
            "path": _text(body, "url.path"),
            "address": _text(body, "client.address"),
            "user_agent": _text(body, "user_agent.original"),
            "session": _text(body, "session.id"),
            "session_cookie": _text(body, "divertor.session.cookie"),
            "id": _text(body, "http.request.id"),
        },
        "frames": _frames(body),
        "event": event.to_json(),
    }


def _frames(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = _at(body, "divertor.detection.frames")
    if not isinstance(found, list):
        return []
    return [_frame(item) for item in found[:_MAX_FRAMES] if isinstance(item, Mapping)]


def _frame(item: Mapping[str, Any]) -> dict[str, Any]:
    line = item.get("line")
    return {
        "file": _text(item, "file"),
        "line": line if isinstance(line, int) else 0,
        "function": _text(item, "function"),
        "source": _text(item, "source"),
    }


def _text(body: Mapping[str, Any], path: str) -> str:
    found = _at(body, path)
    return found if isinstance(found, str) else ""


def _at(body: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(body, Mapping):
            return None
        body = body.get(part)
    return body
