"""Isolation policies as people write them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from divertor.conditions import parse
from divertor.errors import InputError
from divertor.model.artifacts import FailPolicy, IsolationPolicy, Mode, Recording
from divertor.model.isolation import KeyKind, KeySelector
from divertor.model.reading import read_blueprint

SHOP = """name: x
clusters: {c: {breed: {name: b, deployable: i, ports: {p: 80}}}}
isolation:
  c: {to: b, %s}"""
KEYS = "keys: cookie s"


def policy(fields: str) -> IsolationPolicy:
    return read_blueprint(SHOP % fields, "x.yaml").isolation[0]


ACCEPTED: list[tuple[str, str, Any]] = [
    (KEYS, "keys", (KeySelector(KeyKind.COOKIE, "s"),)),
    (
        "keys: [bearer token, client address/24, tls ja4, user id]",
        "keys",
        (
            KeySelector(KeyKind.BEARER),
            KeySelector(KeyKind.PREFIX, "24/64"),
            KeySelector(KeyKind.JA4),
            KeySelector(KeyKind.USER),
        ),
    ),
    (KEYS, "duration", None),
    (f"{KEYS}, for: 24h", "duration", timedelta(days=1)),
    (KEYS, "fail", FailPolicy.CLOSED),
    (f"{KEYS}, fail: Open", "fail", FailPolicy.OPEN),
    (KEYS, "mode", Mode.DIVERT),
    (f"{KEYS}, mode: simulate", "mode", Mode.SIMULATE),
    (KEYS, "allow", None),
    (f"{KEYS}, allow: ''", "allow", None),
    (
        f"{KEYS}, allow: 'client address in 10.0.0.0/8 or has header x-test'",
        "allow",
        parse("client address in 10.0.0.0/8 or has header x-test"),
    ),
    (KEYS, "record", Recording()),
    (f"{KEYS}, record: none", "record", None),
    (f"{KEYS}, record: {{}}", "record", Recording()),
    (f"{KEYS}, record: {{body: 0, limit: 1GB}}", "record", Recording(0, 1024**3)),
    (
        f"{KEYS}, record: {{body: 64KB, limit: 8MB, redact: [Header A, cookie S, field p, field P]}}",
        "record",
        Recording(65536, 8 * 1024**2, ("header a", "cookie s", "field p")),
    ),
]


@pytest.mark.parametrize(("fields", "name", "value"), ACCEPTED)
def test_a_policy_says_how_attackers_are_kept(fields: str, name: str, value: Any) -> None:
    assert getattr(policy(fields), name) == value


REFUSED: list[tuple[str, int, str]] = [
    ("keys: []", 20, "no keys; expected cookie NAME"),
    ("keys: [cookie s, cookie s]", 20, "a key given twice"),
    ("keys: [" + ", ".join(f"cookie c{n}" for n in range(9)) + "]", 20, "9 keys; expected at most 8"),
    ("keys: user id", 20, "no key that a request carries"),
    ("keys: client address/99", 20, "a network of 8 to 32 bits"),
    (f"{KEYS}, mode: simulated", 36, "'simulated' is no mode of isolation; expected 'simulate'"),
    (f"{KEYS}, allow: hots is a", 37, "unexpected 'hots'"),
    (f"{KEYS}, allow: 'hots is a'", 38, "unexpected 'hots'"),
    (f"{KEYS}, record: all", 38, "'all' is no recording"),
    (f"{KEYS}, record: [none]", 38, "a recording is a list; expected a mapping"),
    (f"{KEYS}, record: {{body: 2MB}}", 45, "too much of a body; expected at most 1MB"),
    (f"{KEYS}, record: {{limit: 2GB}}", 46, "too much of a limit; expected at most 1GB"),
    (f"{KEYS}, record: {{redact: password}}", 47, "'password' is no part of a request; expected header NAME"),
    (f"{KEYS}, record: {{redct: a}}", 39, "unknown key 'redct' in a recording; expected 'redact'"),
    (f"{KEYS}, allowed: a", 30, "unknown key 'allowed' in an isolation policy; expected 'allow'"),
]


@pytest.mark.parametrize(("fields", "column", "message"), REFUSED)
def test_what_is_no_policy_is_refused_at_its_place(fields: str, column: int, message: str) -> None:
    with pytest.raises(InputError) as refused:
        policy(fields)
    position = refused.value.position
    assert (message in str(refused.value), position.line, position.column) == (True, 4, column)


def test_no_case_is_missing() -> None:
    assert (len(ACCEPTED), len(REFUSED)) == (16, 15)
