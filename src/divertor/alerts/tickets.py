"""The ticket that `jira` makes for an alarm, for the messages that link to it. Pure."""

from __future__ import annotations

from divertor.alerts.contract import Delivery, DeliveryError

#: The alerter whose receipt is a ticket.
JIRA = "jira"

#: Attempts after which a message goes out without the ticket: Jira may be down, and people are to be told.
PATIENCE = 3


def ticket(delivery: Delivery) -> str:
    """Its address; empty when there is none.

    :raises DeliveryError: it is still to come; try again soon.
    """
    link = delivery.others.get(JIRA, {}).get("url")
    if isinstance(link, str) and link:
        return link
    if delivery.attempts < PATIENCE and is_expected(delivery):
        raise DeliveryError("waits for the ticket of jira", again=True, after=1.0)
    return ""


def is_expected(delivery: Delivery) -> bool:
    """Whether the rule makes tickets."""
    return any(alert.name == JIRA for alert in delivery.notification.rule.alerts)
