"""`alert: servicenow`: an incident in a table of ServiceNow; its end is noted there and resolves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from divertor.alerts.contract import Alerter, Delivery, Receipt
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Answer, Request
from divertor.alerts.wording import incident, resolved, text, title

_NAMES = "short_description comments assignment_group category subcategory cmdb_ci caller_id".split()
_RESOLVED = "6"


def _fields(delivery: Delivery) -> dict[str, Any]:
    options = delivery.options
    made: dict[str, Any] = {
        "description": text(delivery.notification, limit=4000),
        **{name: options[name] for name in _NAMES},
        "correlation_id": incident(delivery.notification)[:100],
    }
    for name in ("impact", "urgency"):
        if options[f"servicenow_{name}"] is not None:
            made[name] = options[f"servicenow_{name}"]
    return {**made, **options["service_now_additional_fields"]}


def _no_code(value: str) -> str:
    """Without tags: what stands within `[code]` in a journal is shown as HTML."""
    return value.replace("[", "[\u200b")


def request(delivery: Delivery) -> Request | None:
    options: Mapping[str, Any] = delivery.options
    url, ticket = options["servicenow_rest_url"], (delivery.receipt or {}).get("sys_id")
    way: dict[str, Any] = {
        "auth": (options["username"], options["password"]),
        "headers": {"accept": "application/json;charset=utf-8"},
    }
    if not resolved(delivery.notification):
        return Request(url, _fields(delivery), **way)
    if not ticket:
        return None
    note = {
        "work_notes": text(delivery.notification, _no_code, 4000),
        "state": _RESOLVED,
        "close_code": "Resolved by request",
        "close_notes": title(delivery.notification, _no_code, 1000),
    }
    return Request(f"{url.rstrip('/')}/{quote(str(ticket), safe='')}", note, method="PATCH", **way)


def _keep(delivery: Delivery, answer: Answer) -> Receipt | None:
    made = answer.get("result", "sys_id")
    return {"sys_id": made} if isinstance(made, str) and made.isalnum() else delivery.receipt


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "servicenow", request, keep=_keep, spread=("servicenow_rest_url",))
