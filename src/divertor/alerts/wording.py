"""What messages have in common whatever the service: title, text within a size, colour, and the id by which a
service knows the alarm again. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from divertor.alerts.filling import cut
from divertor.alerts.text import Escape, as_is, body, subject
from divertor.rules.document import lookup
from divertor.rules.notification import Notification
from divertor.rules.rule import Status

#: What replaces the last characters of a text that is too long for a service.
_CROPPED = "\n(cut: too long for this service)"

_SPECIAL = str.maketrans({char: f"\\{char}" for char in "\\`*_~[]()<>|#!"})


def resolved(notification: Notification) -> bool:
    """Whether it says that an alarm is over."""
    return notification.status is Status.RESOLVED


def title(notification: Notification, escape: Escape = as_is, limit: int = 2048) -> str:
    """One line; says when an alarm is over."""
    line = " ".join(subject(notification, escape).split("\n"))
    return cut(f"Resolved: {line}" if resolved(notification) else line, limit)


def text(notification: Notification, escape: Escape = as_is, limit: int = 64 * 1024) -> str:
    """The whole text, at most `limit` characters."""
    return cut(body(notification, escape), limit, _CROPPED)


def text_in_bytes(notification: Notification, limit: int, escape: Escape = as_is) -> str:
    """The whole text, at most `limit` bytes of UTF-8."""
    written = body(notification, escape).encode("utf-8", "replace")
    if len(written) <= limit:
        return written.decode()
    return written[: limit - len(_CROPPED)].decode("utf-8", "ignore") + _CROPPED


def incident(notification: Notification) -> str:
    """The same for all messages about one alarm."""
    return notification.alarm or notification.id


def colour(notification: Notification, firing: Any, over: Any) -> Any:
    """`firing`, or `over` when the alarm is over."""
    return over if resolved(notification) else firing


def markdown(value: str) -> str:
    """A value that markdown shows as it is, and that mentions nobody."""
    return value.translate(_SPECIAL).replace("@", "@\u200b")


def first_value(notification: Notification, field: str, default: Any = None) -> Any:
    """The value of a field in the first match."""
    found = lookup(notification.first.document, field)
    return default if found is None else found


def escaped_within(value: Any, escape: Callable[[str], str], depth: int = 0) -> Any:
    """A value with all texts in it escaped; what is nested too deeply is left out."""
    if isinstance(value, str):
        return escape(value)
    if depth > 20:
        return None
    if isinstance(value, list | tuple):
        return [escaped_within(inner, escape, depth + 1) for inner in value]
    if isinstance(value, dict):
        return {escape(str(key)): escaped_within(inner, escape, depth + 1) for key, inner in value.items()}
    return value
