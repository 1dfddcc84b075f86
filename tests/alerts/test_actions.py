"""The actions: signed webhooks, events about matches, releases taken back. Over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from divertor.alerts import Deeds, DeliveryError, new_client, standard_alerters
from divertor.alerts.contract import Delivery
from divertor.alerts.event import MAX_DEPTH, SayEvent, event_of
from divertor.alerts.isolate import Isolate
from divertor.alerts.release import Release
from divertor.alerts.webhook import Webhook, signature
from divertor.errors import ConflictError, InputError, LimitError, Position, UnavailableError
from divertor.model.events import Event
from divertor.rules import Match, Notification
from divertor.rules.reading.actions import EventOptions, ReleaseOptions
from divertor.rules.rule import IsolateOptions, Status

Matches = Callable[..., Match]
NOW = datetime(2026, 1, 1, 13, tzinfo=UTC)


def delivery(match: Match) -> Delivery:
    return Delivery(Notification.of(match), match.rule.alerts[0].options, "the-key")


def send(match: Match) -> None:
    async def main() -> None:
        async with new_client() as client:
            await Webhook(client, lambda: NOW).deliver(delivery(match))

    asyncio.run(main())


async def nothing(*_: Any) -> None:
    """Nobody who would do it."""


def hook(url: str, **more: Any) -> dict[str, Any]:
    return {"webhook": {"url": url, **more}}


def test_a_webhook_gets_everything_known_of_a_match(match: Matches, webhook: Any) -> None:
    send(match({"user": "eve"}, name="Too many", alert=[hook(f"{webhook.url}/hook")]))
    (payload,) = webhook.payloads
    assert payload["rule"] == "Too many" and payload["status"] == "firing"
    assert payload["matches"][0]["document"]["user"] == "eve" and payload["matches"][0]["event"] == "e1"


def test_a_webhook_leads_to_the_event_and_the_rules_own_places(match: Matches, webhook: Any) -> None:
    async def main(found: Match) -> None:
        async with new_client() as client:
            deeds = Deeds(nothing, nothing, nothing, lambda: NOW)
            alerters = standard_alerters(client, deeds, logging.getLogger(), "https://divertor.example")
            await alerters["webhook"].deliver(delivery(found))

    asyncio.run(main(match(alert=[hook(webhook.url)], dashboard_url="https://grafana.example/d")))
    (payload,) = webhook.payloads
    assert payload["links"].pop("Event") == "https://divertor.example/events/e1"
    assert list(payload["links"].values()) == ["https://grafana.example/d"]


def test_a_webhook_can_tell_a_repetition(match: Matches, webhook: Any) -> None:
    found = match(alert=[hook(webhook.url)])
    send(found)
    send(found)
    assert {headers["idempotency-key"] for _path, headers, _body in webhook.requests} == {"the-key"}
    assert len({payload["id"] for payload in webhook.payloads}) == 1


def test_the_signature_is_of_the_time_and_the_bytes_that_came(match: Matches, webhook: Any) -> None:
    send(match({"text": "ü'\"<>\ud800"}, alert=[hook(webhook.url, secret="s3cret")]))
    ((_path, headers, _payload),), (content,) = webhook.requests, webhook.contents
    time, _, given = headers["x-divertor-signature"].removeprefix("t=").partition(",v1=")
    assert given == hmac.new(b"s3cret", f"{time}.".encode() + content, hashlib.sha256).hexdigest()
    assert time == str(int(NOW.timestamp()))


def test_what_json_does_not_know_is_signed_as_it_is_sent(match: Matches, webhook: Any) -> None:
    found = match(alert=[hook(webhook.url, secret="s3cret")])
    send(replace(found, document={**found.document, "when": NOW}))
    ((_path, headers, payload),), (content,) = webhook.requests, webhook.contents
    assert headers["x-divertor-signature"] == signature("s3cret", str(int(NOW.timestamp())), content)
    assert payload["matches"][0]["document"]["when"] == NOW.isoformat()


def test_a_header_of_the_rule_takes_the_place_of_ours_but_for_the_key(match: Matches, webhook: Any) -> None:
    given = {"Content-Type": "application/hook+json", "Idempotency-Key": "mine"}
    send(match(alert=[hook(webhook.url, headers=given)]))
    _path, headers, _payload = webhook.requests[0]
    assert (headers["content-type"], headers["idempotency-key"]) == ("application/hook+json", "the-key")


def test_without_a_secret_nothing_is_signed(match: Matches, webhook: Any) -> None:
    send(match(alert=[hook(webhook.url)]))
    assert "x-divertor-signature" not in webhook.requests[0][1]


def test_the_signature_is_what_openssl_computes() -> None:
    # printf '1767272400.{"a": 1}' | openssl dgst -sha256 -hmac s3cret
    digest = "af77d458a4c1dcc06bf8a7ca5bc3edcf77f8a78d1d56d384dc8480d02f4168b4"
    assert signature("s3cret", "1767272400", b'{"a": 1}') == f"t=1767272400,v1={digest}"


def test_a_match_is_said_as_an_event(match: Matches) -> None:
    said: list[Event] = []

    async def publish(events: list[Event]) -> None:
        said.extend(events)

    options = {"type": "fraud", "fields": {"who": "user.id"}, "body": {"severity": 3}, "tags": ["shop"]}
    found = match({"user": {"id": "eve"}}, alert=[{"event": options}])
    asyncio.run(SayEvent(publish, lambda: NOW).deliver(delivery(found)))
    (event,) = said
    assert (event.id, event.type, event.indices) == ("the-key", "fraud", ("divertor-fraud",))
    assert event.get("who") == "eve" and event.get("severity") == 3 and event.get("cause") == "e1"
    assert event.tags == ("rules:r", "shop") and event.timestamp == found.time and event.received == NOW


def test_an_event_does_not_happen_after_it_was_said(match: Matches) -> None:
    found = match()
    early = found.time - timedelta(hours=1)
    assert event_of(Notification.of(found), EventOptions("next"), "x", early).timestamp == early


def test_an_event_that_the_broker_does_not_take_is_said_again(match: Matches) -> None:
    async def publish(_events: list[Event]) -> None:
        raise UnavailableError("no broker")

    with pytest.raises(DeliveryError) as refused:
        asyncio.run(SayEvent(publish, lambda: NOW).deliver(delivery(match(alert=[{"event": {"type": "t"}}]))))
    assert refused.value.again


def test_all_matches_of_a_notification_isolate(match: Matches) -> None:
    isolated: list[str] = []

    async def isolate(found: Match, _options: IsolateOptions) -> None:
        isolated.append(found.id)

    found = match(alert=["isolate"])
    both = (found, replace(found, id="other"))
    asyncio.run(
        Isolate(isolate).deliver(
            Delivery(Notification("n", found.rule, both), found.rule.alerts[0].options, "k")
        )
    )
    assert isolated == [found.id, "other"]


def test_the_end_of_an_alarm_isolates_nobody_and_takes_nothing_back(match: Matches) -> None:
    async def never(*_: Any) -> None:
        raise AssertionError("nothing was to be done")

    over = replace(match(alert=["isolate", {"release": "a/b/c"}]), status=Status.RESOLVED)
    asyncio.run(Isolate(never).deliver(delivery(over)))
    asyncio.run(Release(never).deliver(Delivery(Notification.of(over), over.rule.alerts[1].options, "k")))


def test_a_webhook_waits_as_long_as_the_rule_says(match: Matches) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and says nothing
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(DeliveryError, match=r"within 0\.1 s") as refused:
            send(match(alert=[hook(address, timeout=0.1)]))
    assert refused.value.again


def test_rules_that_feed_each_other_stop(match: Matches) -> None:
    found = match({"divertor": {"depth": MAX_DEPTH}})
    with pytest.raises(DeliveryError, match="feed each other") as refused:
        event_of(Notification.of(found), EventOptions("loop"), "x", NOW)
    assert not refused.value.again


def test_an_event_counts_the_rules_behind_it(match: Matches) -> None:
    found = match({"divertor": {"depth": 2}})
    assert event_of(Notification.of(found), EventOptions("next"), "x", NOW).get("divertor.depth") == 3


NO_KEY = InputError("nobody", Position("isolate"))


@pytest.mark.parametrize(
    ("problem", "again"), [(UnavailableError("no"), True), (NO_KEY, False), (LimitError("no"), False)]
)
def test_an_isolation_is_tried_again_only_when_that_can_help(
    match: Matches, problem: Exception, again: bool
) -> None:
    async def fail(_match: Match, _options: IsolateOptions) -> None:
        raise problem

    with pytest.raises(DeliveryError, match="not isolated") as refused:
        asyncio.run(Isolate(fail).deliver(delivery(match(alert=["isolate"]))))
    assert refused.value.again is again


@pytest.mark.parametrize(("problem", "again"), [(UnavailableError("no"), True), (ConflictError("no"), False)])
def test_a_release_is_tried_again_only_when_that_can_help(
    match: Matches, problem: Exception, again: bool
) -> None:
    async def fail(_match: Match, _options: ReleaseOptions) -> None:
        raise problem

    with pytest.raises(DeliveryError) as refused:
        asyncio.run(Release(fail).deliver(delivery(match(alert=[{"release": "a/b/c"}]))))
    assert refused.value.again is again
