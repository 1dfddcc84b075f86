"""The `isolation:` section of a blueprint: how attackers are recognised, where they go, what is kept of them.

Whether the target exists is `checks`, which sees the whole blueprint.
"""

from __future__ import annotations

import re

from divertor.conditions import Condition
from divertor.model import quantities as q
from divertor.model.artifacts import FailPolicy, IsolationPolicy, Mode, Recording
from divertor.model.documents import Node, Scalar
from divertor.model.fields import Fields, choice_of, entries_of, fail, items_of, name_of, parsed, text_of
from divertor.model.isolation import KeyKind, KeySelector
from divertor.model.reading_gateways import parse_condition

#: What the gateway looks up for each request (see its limits).
MAX_KEYS = 8
#: Envoy holds a body of that size in memory until it is recorded.
MAX_BODY = 1024 * 1024
MAX_RECORDING = 1024**3
MAX_REDACTED = 100

_FAIL = {word.value: word for word in FailPolicy}
_MODE = {word.value: word for word in Mode}
_REDACTED = re.compile(r"(?P<kind>header|cookie|field)\s+(?P<name>[^\s=;,]{1,200})", re.IGNORECASE)
_FIELDS = ("to", "keys", "for", "fail", "mode", "allow", "record")


def read_isolation(node: Node | None) -> tuple[IsolationPolicy, ...]:
    """The `isolation:` section: a policy for each cluster named."""
    return tuple(_policy(key, item) for key, item in entries_of(node, "isolation"))


def _policy(key: Scalar, node: Node) -> IsolationPolicy:
    fields = Fields(node, "an isolation policy", _FIELDS)
    for_node, fail_node, mode = fields.get("for"), fields.get("fail"), fields.get("mode")
    return IsolationPolicy(
        cluster=name_of(key, "a cluster"),
        to=name_of(fields.require("to"), "a service"),
        keys=_keys(fields.require("keys")),
        duration=None if for_node is None else parsed(for_node, "duration", q.parse_duration),
        fail=FailPolicy.CLOSED if fail_node is None else choice_of(fail_node, "failure policy", _FAIL),
        mode=Mode.DIVERT if mode is None else choice_of(mode, "mode of isolation", _MODE),
        allow=_allowed(fields.get("allow")),
        record=_recording(fields.get("record")),
        position=fields.require("to").position,
    )


def _keys(node: Node) -> tuple[KeySelector, ...]:
    keys = tuple(parsed(item, "key", q.parse_key_selector) for item in items_of(node))
    if not keys or len(set(keys)) < len(keys):
        fail(node, "a key given twice" if keys else "no keys", q.KEYS)
    carried = [key for key in keys if key.kind is not KeyKind.USER]
    if len(carried) > MAX_KEYS:
        fail(node, f"{len(carried)} keys", f"at most {MAX_KEYS}, and the user id")
    if not carried:
        fail(node, "no key that a request carries", "a session's cookie, header or token besides the user id")
    return keys


def _allowed(node: Node | None) -> Condition | None:
    return None if node is None or not text_of(node, "a condition").strip() else parse_condition(node)


def _recording(node: Node | None) -> Recording | None:
    """`none`, or `{body, limit, redact}`."""
    default = Recording()
    if node is None:
        return default
    if isinstance(node, Scalar):
        return choice_of(node, "recording", {"none": None})
    fields = Fields(node, "a recording", ("body", "limit", "redact"))
    return Recording(
        body=_size(fields, "body", default.body, MAX_BODY),
        limit=_size(fields, "limit", default.limit, MAX_RECORDING),
        redact=_redacted(fields.get("redact")),
    )


def _size(fields: Fields, name: str, default: int, most: int) -> int:
    node = fields.get(name)
    if node is None:
        return default
    size = parsed(node, "size", q.parse_memory)
    if size > most:
        fail(node, f"too much of a {name}", f"at most {q.format_memory(most)}")
    return size


def _redacted(node: Node | None) -> tuple[str, ...]:
    found = tuple(parsed(item, "part of a request", _part) for item in items_of(node))
    if node is not None and len(found) > MAX_REDACTED:
        fail(node, f"{len(found)} parts to redact", f"at most {MAX_REDACTED}")
    return tuple(dict.fromkeys(found))


def _part(text: str) -> str:
    found = _REDACTED.fullmatch(text.strip())
    if found is None or not text.isprintable():
        raise ValueError("header NAME, cookie NAME or field NAME")
    return f"{found['kind']} {found['name']}".lower()
