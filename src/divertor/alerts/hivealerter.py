"""`alert: hivealerter`: an alert of TheHive with observables; the alarm's end marks it as read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from divertor.alerts.contract import Alerter, Delivery, Receipt
from divertor.alerts.filling import formatted
from divertor.alerts.hook import Tools
from divertor.alerts.http import Request, Transport, WebClient, send
from divertor.alerts.wording import markdown, resolved, text, title
from divertor.rules.document import lookup
from divertor.rules.rule import Match

#: Observables and tags of one alert: an attacker decides how many values a field has.
MAX_OBSERVABLES = 500
_OF_OBSERVABLES = frozenset({"tlp", "message", "tags"})
_FORMATTED = ("title", "description", "type", "source")


def alert(delivery: Delivery, now: datetime) -> dict[str, Any]:
    """`hive_alert_config` over what is always there; values that name a field are taken from the match."""
    notification, given = delivery.notification, delivery.options["hive_alert_config"]
    match = notification.first
    config: dict[str, Any] = {
        "description": text(notification, markdown),
        "title": title(notification),
        "date": int(now.timestamp()) * 1000,
        # The same for each attempt, so that TheHive refuses a repetition.
        "sourceRef": delivery.key[:64] or notification.id[:64],
        "type": "external",
        "source": "ElastAlert",
        **{name: value for name, value in given.items() if not name.endswith(("_args", "_missing_value"))},
    }
    for name in _FORMATTED:
        config[name] = formatted(str(config[name]), map(str, given.get(f"{name}_args", ())), match)
    config["customFields"] = _custom_fields(given.get("customFields") or [], match)
    tags = [tag for one in notification.matches for tag in _tags(given.get("tags") or [], one)]
    config["tags"] = list(dict.fromkeys(tags))[:MAX_OBSERVABLES]
    wanted = delivery.options["hive_observable_data_mapping"] or ()
    observables = [made for one in notification.matches for made in _observables(wanted, one)]
    config["artifacts"] = observables[:MAX_OBSERVABLES]
    return config


def _value(name: Any, match: Match) -> Any:
    """The field of this name, else the rule's option of this name, else None."""
    found = lookup(match.document, str(name))
    return match.rule.properties.get(str(name)) if found is None else found


def _observables(wanted: Any, match: Match) -> list[dict[str, Any]]:
    out = []
    for entry in wanted:
        kind = next((name for name in entry if name not in _OF_OBSERVABLES), None)
        found = None if kind is None else _value(entry[kind], match)
        if found not in (None, ""):
            own = {name: entry[name] for name in _OF_OBSERVABLES if entry.get(name) is not None}
            data = str(found)[:4096]
            out.append({"tlp": 2, "tags": [], "message": None, "dataType": kind, "data": data, **own})
    return out


def _custom_fields(wanted: Any, match: Match) -> Mapping[str, Any]:
    if isinstance(wanted, dict):
        return wanted
    out = {}
    for order, entry in enumerate(wanted):
        value = entry.get("value")
        found = _value(value, match) if isinstance(value, str) else value
        out[entry["name"]] = {"order": order, entry["type"]: value if found is None else found}
    return out


def _tags(wanted: Any, match: Match) -> list[str]:
    out: list[str] = []
    for tag in wanted:
        found = _value(tag, match)
        values = found if isinstance(found, list) else [tag if found is None else found]
        out += [str(value)[:128] for value in values]
    return out


class TheHive:
    """Posts to the API; `hive_connection` says where it is."""

    def __init__(self, client: WebClient, wall: Callable[[], datetime]) -> None:
        self._client = client
        self._wall = wall

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [options]

    async def deliver(self, delivery: Delivery) -> Receipt | None:
        """:raises DeliveryError: TheHive did not take it."""
        connection = delivery.options["hive_connection"]
        headers = {"authorization": f"Bearer {connection.get('hive_apikey', '')}"}
        base = (
            f"{connection.get('hive_host', 'http://localhost')}:{connection.get('hive_port', 9000)}/api/alert"
        )
        way = _way(connection)
        if resolved(delivery.notification):
            known = (delivery.receipt or {}).get("id")
            if known:
                url = f"{base}/{quote(str(known), safe='')}/markAsRead"
                await send(self._client, Request(url, {}, headers=headers), way)
            return delivery.receipt
        answer = await send(self._client, Request(base, alert(delivery, self._wall()), headers=headers), way)
        made = answer.get("id") or answer.get("_id")
        return {"id": made} if isinstance(made, str) else delivery.receipt


def _way(connection: Mapping[str, Any]) -> Transport:
    proxies = connection.get("hive_proxies") or {}
    verify = connection.get("hive_verify", False)
    return Transport(
        proxy=str(proxies.get("https") or proxies.get("http") or ""),
        ca=verify if isinstance(verify, str) else "",
        verify=bool(verify),
        timeout=30.0,
    )


def make(tools: Tools) -> Alerter:
    return TheHive(tools.client, tools.wall)
