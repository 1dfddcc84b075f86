"""`alert: victorops`: Splunk On-Call's REST endpoint; the entity is the alarm, RECOVERY closes it."""

from __future__ import annotations

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Request
from divertor.alerts.wording import colour, incident, text, title

_ADDRESS = "https://alert.victorops.com/integrations/generic/20131114/alert/"


def request(delivery: Delivery) -> Request:
    notification, options = delivery.notification, delivery.options
    # Fields of the match come first: they must not decide what kind of message it is, or about what.
    payload = {
        **notification.first.document,
        "message_type": colour(notification, options["victorops_message_type"], "RECOVERY"),
        "entity_display_name": options["victorops_entity_display_name"] or title(notification),
        "entity_id": options["victorops_entity_id"] or incident(notification),
        "monitoring_tool": "ElastAlert",
        "state_message": text(notification, limit=20_000),
    }
    return Request(f"{_ADDRESS}{options['victorops_api_key']}/{options['victorops_routing_key']}", payload)


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "victorops", request)
