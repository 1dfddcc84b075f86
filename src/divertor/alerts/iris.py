"""`alert: iris`: an alert or a case of DFIR-IRIS; the end of an alarm closes its alert."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from divertor.alerts.contract import Alerter, Delivery, DeliveryError, Receipt
from divertor.alerts.filling import plain_text
from divertor.alerts.hook import Tools
from divertor.alerts.http import Answer, Request, Transport, WebClient, send
from divertor.alerts.wording import incident, resolved, text, title
from divertor.rules.document import lookup
from divertor.rules.rule import Match

_CLOSED = 6


def alert(delivery: Delivery, now: datetime) -> dict[str, Any]:
    """The alert, with its context and indicators from the first match."""
    notification, options = delivery.notification, delivery.options
    match = notification.first
    time = match.time if options["iris_overwrite_timestamp"] else now
    made: dict[str, Any] = {
        "alert_title": title(notification),
        "alert_description": options["iris_description"] or text(notification),
        "alert_source": options["iris_alert_source"],
        "alert_source_ref": incident(notification),
        "alert_severity_id": options["iris_alert_severity_id"],
        "alert_status_id": options["iris_alert_status_id"],
        "alert_source_event_time": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "alert_note": options["iris_alert_note"] or None,
        "alert_tags": options["iris_alert_tags"] or None,
        "alert_customer_id": options["iris_customer_id"],
    }
    if options["iris_alert_source_link"]:
        made["alert_source_link"] = options["iris_alert_source_link"]
    if options["iris_iocs"]:
        made["alert_iocs"] = indicators(match, options)
    if options["iris_alert_context"]:
        wanted = options["iris_alert_context"].items()
        made["alert_context"] = {name: _context(match, field) for name, field in wanted}
    return made


def indicators(match: Match, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those whose field the match has."""
    found = [
        {**entry, "ioc_value": lookup(match.document, str(entry["ioc_value"]))}
        for entry in options["iris_iocs"]
    ]
    return [
        {**entry, "ioc_value": plain_text(entry["ioc_value"])[:4096]}
        for entry in found
        if entry["ioc_value"] is not None
    ]


def _context(match: Match, field: str) -> str:
    found = lookup(match.document, field)
    return plain_text(match.rule.properties.get(field, "") if found is None else found)


def case(delivery: Delivery) -> dict[str, Any]:
    """The case; its number is the alarm's."""
    notification, options = delivery.notification, delivery.options
    made = {
        "case_soc_id": f"SOC_{incident(notification)[:6]}",
        "case_customer": options["iris_customer_id"],
        "case_name": title(notification),
        "case_description": options["iris_description"] or text(notification),
    }
    template = options["iris_case_template_id"]
    return made if template is None else {**made, "case_template_id": template}


class Iris:
    """Posts to the API."""

    def __init__(self, client: WebClient, wall: Callable[[], datetime]) -> None:
        self._client = client
        self._wall = wall

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [options]

    async def deliver(self, delivery: Delivery) -> Receipt | None:
        """:raises DeliveryError: IRIS did not take it."""
        options, receipt = delivery.options, delivery.receipt or {}
        if resolved(delivery.notification):
            if "alert" in receipt:
                await self._post(
                    options, f"/alerts/update/{int(receipt['alert'])}", {"alert_status_id": _CLOSED}
                )
            return delivery.receipt
        if options["iris_type"] == "alert":
            answer = await self._post(options, "/alerts/add", alert(delivery, self._wall()))
            return {"alert": _number(answer, "alert_id")}
        number = _number(await self._post(options, "/manage/cases/add", case(delivery)), "case_id")
        for entry in indicators(delivery.notification.first, options):
            try:
                await self._post(options, "/case/ioc/add", {**entry, "cid": number})
            except DeliveryError as problem:
                # The case is there: another attempt would open a second one.
                raise DeliveryError(
                    f"case {number} without all its indicators: {problem}", again=False
                ) from None
        return {"case": number}

    async def _post(self, options: Mapping[str, Any], path: str, payload: Any) -> Answer:
        headers = {"authorization": f"Bearer {options['iris_api_token']}"}
        request = Request(f"https://{options['iris_host']}{path}", payload, headers=headers)
        ca = options["iris_ca_certs"] or options["iris_ca_cert"]
        return await send(self._client, request, Transport.of({**options, "iris_ca_certs": ca}, "iris"))


def _number(answer: Answer, name: str) -> int:
    found = answer.get("data", name)
    return found if isinstance(found, int) else 0


def make(tools: Tools) -> Alerter:
    return Iris(tools.client, tools.wall)
