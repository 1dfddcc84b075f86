"""A message that links to the ticket which another alerter makes, through the outbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.alerts.conftest import Rerouted
from tests.alerts.desk import DOWN, Scripted, desk

from divertor.alerts import WebClient
from divertor.alerts.slack import Slack
from divertor.rules import Match

pytestmark = pytest.mark.anyio
Matches = Callable[..., Match]

ALERTS: dict[str, Any] = {
    "alert": ["slack", "jira"],
    "slack_webhook_url": "http://h/",
    "slack_attach_jira_ticket_url": True,
    "jira_server": "http://j",
    "jira_account_file": "a",
    "jira_project": "P",
    "jira_issuetype": "T",
}


async def titles(broker: Any, match: Matches, webhook: Any, jira: Scripted) -> list[str]:
    """The links of the one message that Slack gets."""
    async with WebClient(transport=Rerouted(webhook.url)) as client:
        async with desk(broker, {"slack": Slack(client), "jira": jira}) as here:
            await here.dispatch([match({}, **ALERTS)])
            await here.drain()
    (payload,) = webhook.payloads
    return [one["title_link"] for one in payload["attachments"] if "title_link" in one]


async def test_a_message_links_to_the_ticket_of_its_alarm(broker: Any, match: Matches, webhook: Any) -> None:
    jira = Scripted(DOWN)
    jira.answer = {"key": "P-1", "url": "http://j/browse/P-1"}
    assert await titles(broker, match, webhook, jira) == ["http://j/browse/P-1"]


async def test_a_message_goes_out_without_a_ticket_that_never_comes(
    broker: Any, match: Matches, webhook: Any
) -> None:
    assert await titles(broker, match, webhook, Scripted(*[DOWN] * 8)) == []
