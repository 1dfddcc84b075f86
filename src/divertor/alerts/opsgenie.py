"""`alert: opsgenie`: alerts of Opsgenie; the alias is the alarm, by which its end closes them."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.filling import cut, filled, formatted, plain_text
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Request
from divertor.alerts.wording import incident, resolved, text, title
from divertor.rules.document import lookup
from divertor.rules.notification import Notification
from divertor.rules.rule import Match


def payload(notification: Notification, options: Mapping[str, Any]) -> dict[str, Any]:
    """The alert. Texts may hold `{field}`."""
    match = notification.first
    priority = filled(options["opsgenie_priority"], match)
    made = {
        "message": cut(_message(notification, options), 130),
        "user": options["opsgenie_account"],
        "responders": _responders(match, options, "recipients", "user", "username")
        if options["opsgenie_recipients"]
        else None,
        "teams": _responders(match, options, "teams", "team", "name") if options["opsgenie_teams"] else None,
        "description": cut(filled(options["opsgenie_description"], match), 15_000)
        or text(notification, _no_html, 15_000),
        "entity": cut(filled(options["opsgenie_entity"], match), 512),
        "source": cut(filled(options["opsgenie_source"], match), 100),
        "tags": [cut(filled(tag, match), 50) for tag in _tags(notification, options)],
        "priority": priority if priority in ("P1", "P2", "P3", "P4", "P5") else None,
        "alias": alias(notification, options),
        "details": _details(match, options["opsgenie_details"]),
    }
    return {name: value for name, value in made.items() if value}


def _no_html(value: str) -> str:
    """Descriptions are shown as HTML."""
    return html.escape(value, quote=False)


def alias(notification: Notification, options: Mapping[str, Any]) -> str:
    """What makes two alerts the same one."""
    written = filled(options["opsgenie_alias"], notification.first) or incident(notification)
    return cut(written, 512)


def _message(notification: Notification, options: Mapping[str, Any]) -> str:
    match = notification.first
    if options["opsgenie_message"]:
        return filled(options["opsgenie_message"], match)
    if options["opsgenie_subject"]:
        return formatted(options["opsgenie_subject"], options["opsgenie_subject_args"], match)
    return title(notification)


def _tags(notification: Notification, options: Mapping[str, Any]) -> list[str]:
    return [
        *options["opsgenie_tags"],
        "ElastAlert",
        notification.rule.name.replace("{", "{{").replace("}", "}}"),
    ]


def _responders(
    match: Match, options: Mapping[str, Any], name: str, kind: str, key: str
) -> list[dict[str, str]]:
    """With `<name>_args` filled in; those for whom a field is missing are replaced by the default ones."""
    fields = options[f"opsgenie_{name}_args"]
    values = {hole: lookup(match.document, field) for hole, field in fields.items()}
    known = {hole: str(value)[:200] for hole, value in values.items() if value}
    wanted = [_with(one, known) for one in options[f"opsgenie_{name}"]]
    found = [one for one in wanted if one is not None]
    fallback = options[f"opsgenie_default_{name}"] or options.get("opsgenie_default_receipients", ())
    return [{key: one, "type": kind} for one in found or fallback or options[f"opsgenie_{name}"]]


def _with(written: str, values: Mapping[str, str]) -> str | None:
    """`{name}` filled in; None when there is no value."""
    parts, rest = [], written
    while "{" in rest:
        before, _, rest = rest.partition("{")
        hole, closed, rest = rest.partition("}")
        if not closed or hole not in values:
            return None
        parts += [before, values[hole]]
    return "".join([*parts, rest])


def _details(match: Match, wanted: Mapping[str, Any]) -> dict[str, str]:
    details = {}
    for name, value in wanted.items():
        found = lookup(match.document, str(value.get("field"))) if isinstance(value, dict) else value
        if found is not None:
            details[name] = cut(plain_text(found), 4000)
    return details


def request(delivery: Delivery) -> Request:
    notification, options = delivery.notification, delivery.options
    headers = {"authorization": f"GenieKey {options['opsgenie_key']}"}
    url = options["opsgenie_addr"]
    if resolved(notification):
        url = f"{url.rstrip('/')}/{quote(alias(notification, options), safe='')}/close?identifierType=alias"
        note = {"source": "Divertor", "note": text(notification, limit=20_000)}
        return Request(url, note, headers=headers)
    return Request(url, payload(notification, options), headers=headers)


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "opsgenie", request)
