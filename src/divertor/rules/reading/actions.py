"""What a rule may do besides telling people: isolate somebody, take a release back, call a webhook, say an
event. Here are the options as they are written and as values; `divertor.alerts` carries actions out.

```yaml
alert:
- isolate:
    to: "web:1.0.0"
    for: [1h, 24h, forever]               # the first time, the second, from then on
    keys:
    - cookie session                      # what the event says of it
    - client address: request.remote      # a field of the match
    limit: {per_minute: 20, traffic: 5%}
- release: {gateway: shop/web/9000}
- webhook: {url: "https://example.org/hook", secret: "…"}
- event: {type: fraud, fields: {who: user.id}}
```
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from divertor.model.documents import MappingNode, Node, Sequence
from divertor.model.fields import fail, items_of, parsed, suggestion, text_of
from divertor.model.isolation import KeySelector
from divertor.model.quantities import parse_duration, parse_key_selector, parse_percentage
from divertor.rules.reading.options import (
    Given,
    Option,
    boolean,
    integer,
    mapping,
    number,
    text,
    text_mapping,
    texts,
    urls,
)
from divertor.rules.rule import IsolateOptions, Limit

#: Lengths that an isolation may grow by, at most.
MAX_STEPS = 20
_TYPE = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class ReleaseOptions:
    """Whose weights go back to what they were before the last change. `gateway` empty: that of the
    application the event is about.
    """

    gateway: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class EventOptions:
    """The event to say: `fields` are taken from the match, by their names in the event; `body` is as it is
    written.
    """

    type: str
    tags: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """Where a match is sent as JSON. With a `secret` the body is signed (HMAC-SHA256)."""

    url: str
    secret: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 10.0


def read_isolate(node: Node, what: str) -> IsolateOptions:
    """:raises InputError: an unknown key, or a value that is not understood."""
    given = _given(node, what, ("to", "for", "keys", "all", "reason", "limit"))
    durations = [parsed(item, "duration", parse_duration) for item in items_of(given.node("for"))]
    if len(durations) > MAX_STEPS:
        fail(given.node("for") or node, f"{len(durations)} lengths", f"at most {MAX_STEPS}")
    keys = [_key(item) for item in items_of(given.node("keys"))]
    return IsolateOptions(
        to=given.read(Option("to", text), what),
        durations=tuple(durations),
        keys=tuple(selector for selector, _path in keys),
        fields={selector: path for selector, path in keys if path},
        every=given.read(Option("all", boolean, default=False), what),
        reason=given.read(Option("reason", text, default=""), what),
        limit=given.read(Option("limit", _limit, default=Limit()), what),
    )


def read_release(node: Node, what: str) -> ReleaseOptions:
    """A gateway's name, or a mapping.

    :raises InputError: an unknown key, or a value that is not understood.
    """
    if not isinstance(node, MappingNode):
        return ReleaseOptions(text_of(node, what))
    given = _given(node, what, ("gateway", "reason"))
    return ReleaseOptions(
        gateway=given.read(Option("gateway", text, default=""), what),
        reason=given.read(Option("reason", text, default=""), what),
    )


def read_event(node: Node, what: str) -> EventOptions:
    """:raises InputError: an unknown key, or a value that is not understood."""
    given = _given(node, what, ("type", "tags", "fields", "body"))
    return EventOptions(
        type=given.read(Option("type", _event_type, required=True), what),
        tags=given.read(Option("tags", texts, default=()), what),
        fields=given.read(Option("fields", text_mapping, default={}), what),
        body=given.read(Option("body", mapping, default={}), what),
    )


def read_webhook(node: Node, what: str) -> WebhookOptions:
    """:raises InputError: an unknown key, or a value that is not understood."""
    given = _given(node, what, ("url", "secret", "headers", "timeout"))
    (url,) = given.read(Option("url", _one_url, required=True), what)
    return WebhookOptions(
        url=url,
        secret=given.read(Option("secret", text, default=""), what),
        headers=given.read(Option("headers", text_mapping, default={}), what),
        timeout=given.read(Option("timeout", number(0.1, 120), default=10.0), what),
    )


def _given(node: Node, what: str, known: tuple[str, ...]) -> Given:
    if not isinstance(node, MappingNode):
        fail(node, f"{what} is no mapping", f"{', '.join(known[:-1])} and {known[-1]}")
    given = Given.of(node, what)
    for name, (key, _item) in given.entries.items():
        if name not in known:
            fail(key, f"unknown key {name[:80]!r} in {what}", suggestion(name, known))
    return given


def _key(node: Node) -> tuple[KeySelector, str]:
    """A key that the event names, or a key and the field of the match it is in."""
    if not isinstance(node, MappingNode):
        return parsed(node, "key", parse_key_selector), ""
    if len(node.entries) != 1:
        fail(node, f"{len(node.entries)} keys in one entry", "one, such as: cookie session: request.sid")
    ((key, path),) = node.entries
    return parsed(key, "key", parse_key_selector), text_of(path, key.text)


def _limit(node: Node, what: str) -> Limit:
    given = _given(node, what, ("per_minute", "traffic"))
    return Limit(
        per_minute=given.read(Option("per_minute", integer(1, 1_000_000), default=Limit().per_minute), what),
        traffic=given.read(Option("traffic", _percentage), what),
    )


def _percentage(node: Node, what: str) -> int:
    return parsed(node, what, parse_percentage)


def _event_type(node: Node, what: str) -> str:
    kind = text_of(node, what)
    if not _TYPE.fullmatch(kind):
        fail(node, f"{what} is {kind[:40]!r}", "a short word in lower case")
    return kind


def _one_url(node: Node, what: str) -> tuple[str, ...]:
    if isinstance(node, Sequence):
        fail(node, f"{what} is a list", "one address; write a second webhook for another one")
    return urls(node, what)


def durations_text(durations: tuple[timedelta | None, ...]) -> str:
    """How long, the first time and then, for people."""
    return ", then ".join("for ever" if each is None else f"for {each}" for each in durations)
