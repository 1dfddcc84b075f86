"""People are paged by whatever a rule alerts with. Over real HTTP on loopback; pauses take no time."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from divertor.alerts import Deeds, new_client, standard_alerters
from divertor.control.paging import PAUSES, Paging
from divertor.model.events import Event
from divertor.rules import Match, backtest, load_rule

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Webhook:
    """Answers with `answers` in turn, the last one for ever."""

    def __init__(self) -> None:
        self.answers, self.payloads = [200], list[Any]()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                owner.payloads.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(owner.answers.pop(0) if len(owner.answers) > 1 else owner.answers[0])
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()
    thread = threading.Thread(target=hook.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()
    thread.join()


def found(url: str, **more: Any) -> Match:
    options = {"name": "Isolate", "type": "any", "index": "logs", "alert": ["slack", "isolate", "debug"]}
    rule = load_rule(json.dumps({**options, "slack_webhook_url": url, **more}), "r.yaml")
    (match,) = backtest(rule, [Event("e1", "log", NOW, NOW, ("logs",), body={"user": "eve"})])
    return match


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


def test_everybody_a_rule_alerts_is_told_just_this(webhook: Webhook) -> None:
    page(found(webhook.url, alert_text="{0}", alert_text_args=["user"], alert_subject="Attack"))
    (payload,) = webhook.payloads
    (attachment,) = payload["attachments"]
    assert attachment["title"] == "Isolate: needs a person"
    assert attachment["text"].strip() == "it isolates nobody any more"


def test_who_does_not_answer_is_tried_again(webhook: Webhook) -> None:
    pauses: list[float] = []
    webhook.answers = [503, 500, 200]
    page(found(webhook.url), pauses)
    assert len(webhook.payloads) == 3 and set(pauses) == set(PAUSES[:3])


def test_a_refusal_is_not_repeated_and_keeps_the_address_out_of_the_log(
    webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    webhook.answers = [403]
    page(found(f"{webhook.url}/secret"))
    assert len(webhook.payloads) == 1
    assert "nobody was paged by slack" in caplog.text and "/secret" not in caplog.text


def test_what_a_rule_does_is_not_done_again(webhook: Webhook, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "divertor.alerts")
    page(found(webhook.url, alert=["isolate", "debug"]))
    assert webhook.payloads == [] and "needs a person" in caplog.text
