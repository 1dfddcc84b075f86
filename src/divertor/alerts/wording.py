"""What messages have in common whatever the service: title, text within a size, colour, and the id by which a
service knows the alarm again. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from divertor.alerts.filling import cut
from divertor.alerts.links import Link, links
from divertor.alerts.text import Escape, as_is, body, subject
from divertor.rules.document import lookup
from divertor.rules.notification import Notification
from divertor.rules.rule import Status
from divertor.rules.wording.discover import discover_url

#: What replaces the last characters of a text that is too long for a service.
_CROPPED = "\n(cut: too long for this service)"

#: Characters of all links together.
_MAX_LINKS = 2000

_SPECIAL = str.maketrans({char: f"\\{char}" for char in "\\`*_~[]()<>|#!"})


def resolved(notification: Notification) -> bool:
    """Whether it says that an alarm is over."""
    return notification.status is Status.RESOLVED


def title(notification: Notification, escape: Escape = as_is, limit: int = 2048) -> str:
    """One line; says when an alarm is over."""
    line = " ".join(subject(notification, escape).split("\n"))
    return cut(f"Resolved: {line}" if resolved(notification) else line, limit)


def text(
    notification: Notification,
    escape: Escape = as_is,
    limit: int = 64 * 1024,
    *,
    width: int = 80,
    fence: str = "",
    discover: bool = True,
) -> str:
    """The whole text and where it leads, at most `limit` characters; a text that is too long is cut, not its
    links. `width` and `fence` are for tables; `discover`: links to Discover are among the links.
    """
    tail = _links(notification, discover)
    said = body(notification, escape, width=width, fence=fence)
    return cut(said, max(0, limit - len(tail)), _CROPPED) + tail


def text_in_bytes(notification: Notification, limit: int, escape: Escape = as_is) -> str:
    """The whole text and where it leads, at most `limit` bytes of UTF-8."""
    tail = _links(notification, True).encode()
    written = body(notification, escape).encode("utf-8", "replace")
    room = max(0, limit - len(tail))
    if len(written) > room:
        written = (
            written[: max(0, room - len(_CROPPED))].decode("utf-8", "ignore").encode() + _CROPPED.encode()
        )
    return (written + tail).decode()


def _links(notification: Notification, discover: bool) -> str:
    """Title and address of each link in a line of its own; what would be too much is left out."""
    found = message_links(notification, discover)
    lines = "".join(f"{link.title}: {link.url}\n" for link in found)
    return f"\n{lines}" if lines and len(lines) <= _MAX_LINKS else ""


def message_links(notification: Notification, discover: bool = True) -> list[Link]:
    """Where a message leads: to the event, the rule's own links, Discover."""
    own = {discover_address(notification, product) for product in ("kibana", "opensearch")}
    found = links(notification, notification.base)
    return [link for link in found if web_address(link.url) and (discover or link.url not in own)]


def discover_address(notification: Notification, product: str) -> str:
    """The link to Discover of `kibana` or `opensearch`: the one the rule describes, else the match's, which
    an enhancement made, or whoever chose the event's fields.
    """
    named = web_address(first_value(notification, f"{product}_discover_url"))
    made = [
        discover_url(notification.first, one)
        for one in notification.rule.links.discover
        if one.product == product
    ]
    return next(iter(made), "") or named


def web_address(value: Any) -> str:
    """The value, if it is an http(s) address: a match must not bring links of another kind."""
    if not isinstance(value, str) or len(value) > 8192 or not value.isprintable():
        return ""
    try:
        parts = urlsplit(value)
    except ValueError:
        return ""
    return value if parts.scheme in ("http", "https") and parts.hostname else ""


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
