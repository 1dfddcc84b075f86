"""Where a message leads: the rule's own links, the event behind the match, and Discover.

Pure. Addresses are the rule author's and the installation's; values of events are quoted within them and can
choose neither host nor path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from divertor.alerts.text import value_text
from divertor.rules.notification import Notification
from divertor.rules.rule import Match
from divertor.rules.wording.discover import discover_url

#: Characters of a value within an address.
MAX_VALUE = 1024

_PRODUCTS: Mapping[str, str] = {"kibana": "Discover in Kibana", "opensearch": "Discover in OpenSearch"}


@dataclass(frozen=True, slots=True)
class Link:
    """A title and an http(s) address."""

    title: str
    url: str


def links(notification: Notification, base: str = "") -> list[Link]:
    """The links of a message, by its first match: the event behind it under `base` (the address at which
    people reach this installation; none when it is empty), then the rule's `dashboard_url` and `links`, then
    Discover.
    """
    match, options = notification.first, notification.rule.links
    found = [Link("Event", event_url(match, base))] if base and match.event_id else []
    for title, address in options.links:
        found.append(Link(title, address.render(lambda field: _quoted(match, field))))
    found += [Link(_PRODUCTS[one.product], discover_url(match, one)) for one in options.discover]
    return found


def event_url(match: Match, base: str) -> str:
    """Where the event behind a match is shown."""
    return f"{base.rstrip('/')}/events/{quote(match.event_id, safe='')}"


def _quoted(match: Match, field: str) -> str:
    return quote(value_text(match, field)[:MAX_VALUE], safe="")
