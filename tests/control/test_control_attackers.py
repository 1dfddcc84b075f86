"""Which keys an event carries, whose sessions are whose, and what becomes of a rule's wish to isolate."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from divertor.control import users
from divertor.control.attackers import Attacker, attackers_of
from divertor.control.users import SESSIONS_EACH, Users
from divertor.model.artifacts import IsolationPolicy
from divertor.model.events import Event
from divertor.model.isolation import KeyKind, KeySelector

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SESSION, BEARER = KeySelector(KeyKind.COOKIE, "session"), KeySelector(KeyKind.BEARER)
PREFIX, ADDRESS = KeySelector(KeyKind.PREFIX, "24/64"), KeySelector(KeyKind.ADDRESS)
JA3, USER = KeySelector(KeyKind.JA3), KeySelector(KeyKind.USER)
POLICIES = {"shop/web": IsolationPolicy("web", "web:1", (SESSION, BEARER, PREFIX, ADDRESS, JA3))}
BODY: dict[str, Any] = {
    "service": {"instance": {"id": "shop/web/web:2/0"}},
    "client": {"address": "192.0.2.1"},
    "session": {"id": "abc"},
    "http": {"request": {"header": {"authorization": ["Bearer t1"]}}},
    "tls": {"client": {"ja3": "e7"}},
    "user": {"id": "alice"},
}


def event(body: dict[str, Any], **more: Any) -> Event:
    return Event("e1", "detection", NOW, NOW, (), (), None, {**body, **more})


def found(event: Event, *wanted: KeySelector, every: bool = True) -> list[tuple[KeySelector, str]]:
    return [(each.selector, each.value) for each in attackers_of(event, POLICIES, wanted, every)]


def test_every_key_that_an_event_carries_is_found() -> None:
    assert found(event(BODY)) == [
        *((SESSION, "abc"), (BEARER, "Bearer t1"), (PREFIX, "192.0.2.1"), (ADDRESS, "192.0.2.1"), (JA3, "e7"))
    ]


def test_only_the_first_counts_by_default() -> None:
    assert attackers_of(event(BODY), POLICIES) == (Attacker("shop/web", SESSION, "abc"),)


def test_a_rule_may_mean_the_user() -> None:
    assert found(event(BODY), USER) == [(USER, "alice")]


def test_another_scheme_is_no_bearer_token() -> None:
    basic = {"request": {"header": {"authorization": "Basic xyz"}}}
    assert (BEARER, "Basic xyz") not in found(event(BODY, http=basic))


def test_what_others_may_share_is_left_alone_when_the_gateway_has_diverted() -> None:
    diverted = {"detection": {"outcome": "diverted"}}
    assert found(event(BODY, divertor=diverted)) == [(SESSION, "abc"), (BEARER, "Bearer t1")]
    assert found(event(BODY, divertor=diverted), PREFIX, ADDRESS, JA3) == []


class Followed(list[tuple[str, str, list[tuple[KeySelector, str]]]]):
    async def __call__(self, scope: str, user: str, keys: Any) -> None:
        self.append((scope, user, list(keys)))


def book() -> tuple[Users, Followed]:
    followed = Followed()
    return Users(lambda: POLICIES, followed), followed


def report(user: str, session: str) -> Event:
    body = {"service": BODY["service"], "session": {"id": session}, "user": {"id": user}}
    return event(body, event={"name": users.SESSION})


@pytest.mark.anyio
async def test_reported_sessions_are_kept_followed_and_told_nobody() -> None:
    made, followed = book()
    detection = event(BODY)
    assert await made.take([report("bob", "s1"), detection]) == [detection]
    assert made.sessions("shop/web", "bob") == [(SESSION, "s1")]
    assert made.sessions("shop/web", "alice") == [(SESSION, "abc"), (BEARER, "Bearer t1")]
    assert followed[0] == ("shop/web", "bob", [(SESSION, "s1")])


@pytest.mark.anyio
async def test_of_one_user_the_newest_sessions_are_kept() -> None:
    made, _ = book()
    for number in range(SESSIONS_EACH + 1):
        await made.take([report("bob", f"s{number}")])
    await made.take([report("bob", "s1"), report("bob", "new")])
    kept = [value for _, value in made.sessions("shop/web", "bob")]
    assert len(kept) == SESSIONS_EACH and kept[-2:] == ["s1", "new"] and "s0" not in kept and "s2" not in kept


@pytest.mark.anyio
async def test_what_is_kept_of_all_users_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "ROOM", 100)
    made, _ = book()
    for number in range(30):
        await made.take([report(f"u{number}", "x" * 10)])
    assert made._size <= 100 and made.sessions("shop/web", "u0") == [] and made.sessions("shop/web", "u29")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "change", [{"service": {}}, {"user": {"id": "x" * 300}}, {"session": {"id": "y" * 5000}}]
)
async def test_a_report_that_makes_no_sense_is_left_out(change: dict[str, Any]) -> None:
    policies = {**POLICIES, "shop/api": IsolationPolicy("api", "api:1", (SESSION,))}
    followed = Followed()
    made = Users(lambda: policies, followed)
    bad = event({**report("bob", "s1").body, **change})
    assert await made.take([bad]) == [] and not followed and not made._users
