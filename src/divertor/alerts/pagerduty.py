"""`alert: pagerduty`: events, version 1 and 2. Without `pagerduty_incident_key` the incident is the alarm, so
that its messages join it and its end resolves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.filling import formatted
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Request
from divertor.alerts.wording import colour, incident, message_links, text_in_bytes, title
from divertor.model.events import format_time
from divertor.rules.document import lookup
from divertor.rules.notification import Notification

_PATHS = {"v1": "/generic/2010-04-15/create_event.json", "v2": "/v2/enqueue"}

#: PagerDuty takes 512 KiB in all and 1,024 characters of a title.
_MAX_TEXT = 200_000
_MAX_TITLE = 1024


def payload(notification: Notification, options: Mapping[str, Any]) -> dict[str, Any]:
    """The event."""
    kind = colour(notification, options["pagerduty_event_type"], "resolve")
    key = _filled(notification, options, "pagerduty_incident_key") or incident(notification)
    if options["pagerduty_api_version"] == "v2":
        links = [{"href": link.url, "text": link.title} for link in message_links(notification)]
        return {
            "routing_key": options["pagerduty_service_key"],
            "event_action": kind,
            "dedup_key": key[:255],
            "client": options["pagerduty_client_name"],
            "payload": _payload(notification, options),
            **({"links": links} if links else {}),
        }
    return {
        "service_key": options["pagerduty_service_key"],
        "description": title(notification, limit=_MAX_TITLE),
        "event_type": kind,
        "incident_key": key[:255],
        "client": options["pagerduty_client_name"],
        "details": {"information": text_in_bytes(notification, _MAX_TEXT)},
    }


def _payload(notification: Notification, options: Mapping[str, Any]) -> dict[str, Any]:
    parts = {
        name: _filled(notification, options, f"pagerduty_v2_payload_{name}")
        for name in ("class", "component", "group", "source")
    }
    return {
        **parts,
        "severity": options["pagerduty_v2_payload_severity"],
        "summary": title(notification, limit=_MAX_TITLE),
        "custom_details": _details(notification, options),
        "timestamp": format_time(notification.first.time),
    }


def _details(notification: Notification, options: Mapping[str, Any]) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if options["pagerduty_v2_payload_include_all_info"]:
        details["information"] = text_in_bytes(notification, _MAX_TEXT)
    for match in notification.matches:
        for name, field in options["pagerduty_v2_payload_custom_details"].items():
            found = lookup(match.document, field)
            details[name] = field if found is None else found
    return details


def _filled(notification: Notification, options: Mapping[str, Any], name: str) -> str:
    return formatted(options[name], options[f"{name}_args"], notification.first)


def request(delivery: Delivery) -> Request:
    options = delivery.options
    url = options["pagerduty_url"].rstrip("/") + _PATHS[options["pagerduty_api_version"]]
    return Request(url, payload(delivery.notification, options))


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "pagerduty", request, spread=("pagerduty_url",))
