"""`alert: alertmanager`: alerts of a Prometheus Alertmanager, which knows one again by its labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.filling import texts_of
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Request
from divertor.alerts.text import subject
from divertor.alerts.wording import resolved, text
from divertor.rules.rule import Match
from divertor.rules.wording.jinja import RenderError, parse_jinja


def alert(delivery: Delivery, now: datetime) -> dict[str, Any]:
    """The alert. Labels hold no count, time or status: they are what makes it the same alert."""
    notification, options = delivery.notification, delivery.options
    match, rule = notification.first, notification.rule.name
    labels = {
        **_rendered(options["alertmanager_labels"], match),
        **texts_of(options["alertmanager_fields"], match),
        "alertname": options["alertmanager_alertname"] or rule,
        "elastalert_rule": rule,
    }
    annotations = {
        **_rendered(options["alertmanager_annotations"], match),
        options["alertmanager_alert_subject_labelname"]: subject(notification),
        options["alertmanager_alert_text_labelname"]: text(notification),
    }
    made: dict[str, Any] = {"annotations": annotations, "labels": labels}
    if resolved(notification):
        made["endsAt"] = now.isoformat()
    elif options["alertmanager_resolve_time"] is not None:
        made["endsAt"] = (now + options["alertmanager_resolve_time"]).isoformat()
    return made


def _rendered(templates: Mapping[str, str], match: Match) -> dict[str, str]:
    """Jinja, as far as there is any; what cannot be filled in is left as it is written."""
    return {name: _rendered_one(template, match) for name, template in templates.items()}


def _rendered_one(template: str, match: Match) -> str:
    if "{" not in template:
        return template
    try:
        return parse_jinja(template).render(match.document)
    except (RenderError, ValueError):
        return template


def _requests(wall: Callable[[], datetime]) -> Callable[[Delivery], Request]:
    def request(delivery: Delivery) -> Request:
        options = delivery.options
        login = options["alertmanager_basic_auth_login"]
        host, version = options["alertmanager_hosts"].rstrip("/"), options["alertmanager_api_version"]
        return Request(
            f"{host}/api/{version}/alerts",
            [alert(delivery, wall())],
            auth=(login, options["alertmanager_basic_auth_password"]) if login else None,
        )

    return request


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "alertmanager", _requests(tools.wall), spread=("alertmanager_hosts",))
