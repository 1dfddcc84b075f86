"""Events as lines for a person at a terminal: what is diverted, and why. Pure.

Everything an attacker wrote is shown as data: control characters are made visible, lengths are bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from divertor.model.events import Event

WIDTH = 100
#: Watched requests that are told each second.
WATCHED = 5

_STYLES = {
    "attack": "1;31",
    "divert": "1;33",
    "isolate": "1;35",
    "alert": "36",
    "routing": "32",
    "quiet": "2",
}


def narrate(event: Event, color: bool) -> str | None:
    """A line for `event`, without its line break; None for one that is not worth a person's attention."""
    tell = _TELLERS.get(event.type)
    told = None if tell is None else tell(event)
    if told is None:
        return None
    style, word, text = told
    time = event.timestamp.astimezone().strftime("%H:%M:%S.%f")[:-3]
    label = f"{word:<9}"
    if color:
        return f"\x1b[2m{time}\x1b[0m \x1b[{_STYLES[style]}m{label}\x1b[0m {text}"
    return f"{time} {label} {text}"


class Narrator:
    """The live log: a line for each event that deserves one. Of watched requests, which an attacker can send
    by the thousand, only the first few of each second are told, then how many more there were.
    """

    def __init__(self, color: bool) -> None:
        self._color = color
        self._second = 0
        self._watched = 0

    def lines(self, event: Event) -> list[str]:
        told = narrate(event, self._color)
        if told is None:
            return []
        second = int(event.received.timestamp())
        if second != self._second:
            missed, self._second, self._watched = self._watched - WATCHED, second, 0
            before = [f"             watched   … and {missed} more requests"] if missed > 0 else []
            return [*before, *self.lines(event)]
        if "request:isolated" in event.tags:
            self._watched += 1
            if self._watched > WATCHED:
                return []
        return [told]


def visible(value: Any, width: int = WIDTH) -> str:
    """Any value as one bounded line that cannot steer a terminal."""
    text = "" if value is None else str(value)
    shown = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text[:width]
    )
    return f"{shown}…" if len(text) > width else shown


def _detection(event: Event) -> tuple[str, str, str] | None:
    kind = visible(event.get("detections.type") or "attack")
    parameter = visible(event.get("divertor.detection.parameter"), 40)
    payload = visible(event.get("divertor.detection.payload"), 60)
    place = f"{visible(event.get('code.file.path'), 60)}:{visible(event.get('code.line.number'), 10)}"
    function = visible(event.get("code.function.name"), 40)
    request = f"{visible(event.get('http.request.method'), 10)} {visible(event.get('url.path'), 50)}"
    outcome = visible(event.get("divertor.detection.outcome"), 20)
    simulated = visible(event.get("divertor.detection.simulated"), 20)
    by = visible(event.get("client.address"), 45)
    text = f"{kind} in {parameter!r} of {request} by {by}: {payload!r} at {place} in {function}; {outcome}"
    text = f"{text}, simulated: it would have been {simulated}" if simulated else text
    style, word = ("attack", "ATTACK") if outcome != "reported" else ("quiet", "detected")
    return style, word, text


def _probe(event: Event) -> tuple[str, str, str]:
    kind = visible(event.get("detections.type") or "probe")
    by = visible(event.get("client.address"), 45)
    payload = visible(event.get("divertor.detection.payload"), 60)
    if event.get("divertor.detection.type") == "attack_wave":
        return "alert", "WAVE", f"{by} is trying attacks: {payload}"
    request = f"{visible(event.get('http.request.method'), 10)} {visible(event.get('url.path'), 50)}"
    return "quiet", "probe", f"{kind} tried at {request} by {by}: {payload!r}; it reached nothing"


def _error(event: Event) -> tuple[str, str, str]:
    place = f"{visible(event.get('code.file.path'), 60)}:{visible(event.get('code.line.number'), 10)}"
    return "quiet", "error", f"{visible(event.body.get('message'), 120)} at {place}"


def _request(event: Event) -> tuple[str, str, str] | None:
    if "request:failed" in event.tags or "request:sampled" in event.tags:
        return None  # customers' requests, by the thousand: `divertor metrics` is for them
    request = f"{visible(event.get('http.request.method'), 10)} {visible(event.get('url.path'), 60)}"
    status = visible(event.get("http.response.status_code"), 10)
    served = visible(event.get("divertor.served_by"), 40)
    if "request:diverted" in event.tags:
        return "divert", "DIVERTED", f"{request} answered {status} by {served} instead, in the same request"
    if "request:refused" in event.tags:
        return "divert", "REFUSED", f"{request} answered {status}: it could not be replayed"
    return "quiet", "watched", f"{request} answered {status} by {served}"


def _message(style: str, word: str) -> Callable[[Event], tuple[str, str, str]]:
    return lambda event: (style, word, visible(event.body.get("message"), 240))


def _alert(event: Event) -> tuple[str, str, str] | None:
    if event.get("alert.alerter") == "isolate" and event.get("alert.ok"):
        return None  # the isolation itself is told
    return "alert", "ALERT", visible(event.body.get("message"), 240)


_TELLERS: dict[str, Callable[[Event], tuple[str, str, str] | None]] = {
    "detection": _detection,
    "probe": _probe,
    "error": _error,
    "request": _request,
    "isolation": _message("isolate", "ISOLATION"),
    "alert": _alert,
    "routing": _message("routing", "ROUTING"),
    "synchronization": _message("routing", "DEPLOY"),
    "trouble": _message("attack", "TROUBLE"),
}
