"""People are paged by whatever a rule alerts with. Over real HTTP on loopback; pauses take no time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from divertor.alerts import Deeds, new_client, standard_alerters
from divertor.control.paging import PAUSES, Paging
from divertor.rules import Match

Matches = Callable[..., Match]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def found(match: Matches, url: str, **more: Any) -> Match:
    options = {"name": "Isolate", "alert": ["slack", "isolate", "debug"], "slack_webhook_url": url}
    return match({"user": "eve"}, **{**options, **more})


async def nothing(*_: Any) -> None:
    """Nobody does anything."""


def page(match: Match, pauses: list[float] | None = None) -> None:
    async def sleep(seconds: float) -> None:
        (pauses if pauses is not None else []).append(seconds)

    async def main() -> None:
        async with new_client() as client:
            deeds = Deeds(nothing, nothing, nothing, lambda: NOW)
            alerters = standard_alerters(client, deeds, logging.getLogger("divertor.alerts"))
            paging = Paging(lambda: alerters, sleep)
            paging.page(match, "it isolates nobody any more")
            await paging.sent()

    asyncio.run(main())


def test_everybody_a_rule_alerts_is_told_just_this(match: Matches, webhook: Any) -> None:
    page(found(match, webhook.url, alert_text="{0}", alert_text_args=["user"], alert_subject="Attack"))
    (payload,) = webhook.payloads
    (attachment,) = payload["attachments"]
    assert attachment["title"] == "Isolate: needs a person"
    assert attachment["text"].strip() == "it isolates nobody any more"


def test_who_does_not_answer_is_tried_again(match: Matches, webhook: Any) -> None:
    pauses: list[float] = []
    webhook.answers = [503, 500, 200]
    page(found(match, webhook.url), pauses)
    assert len(webhook.payloads) == 3 and set(pauses) == set(PAUSES[:3])


def test_a_refusal_is_not_repeated_and_keeps_the_address_out_of_the_log(
    match: Matches, webhook: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    webhook.answers = [403]
    page(found(match, f"{webhook.url}/secret"))
    assert len(webhook.payloads) == 1
    assert "nobody was paged by slack" in caplog.text and "/secret" not in caplog.text


def test_what_a_rule_does_is_not_done_again(
    match: Matches, webhook: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "divertor.alerts")
    page(found(match, webhook.url, alert=["isolate", "debug"]))
    assert webhook.payloads == [] and "needs a person" in caplog.text
