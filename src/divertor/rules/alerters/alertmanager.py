"""`alertmanager`: alerts of a Prometheus Alertmanager."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, choice, defaults, transport
from divertor.rules.reading.options import Option, span, text, text_mapping, urls

DECLARATION = AlerterDeclaration(
    "alertmanager",
    (
        Option("alertmanager_hosts", urls, required=True),
        Option("alertmanager_api_version", choice("v1", "v2"), default="v2"),
        *defaults("alertmanager_alertname"),
        Option("alertmanager_labels", text_mapping, default={}),
        Option("alertmanager_annotations", text_mapping, default={}),
        Option("alertmanager_fields", text_mapping, default={}),
        Option("alertmanager_alert_subject_labelname", text, default="summary"),
        Option("alertmanager_alert_text_labelname", text, default="description"),
        Option("alertmanager_resolve_time", span()),
        *defaults("alertmanager_basic_auth_login", "alertmanager_basic_auth_password"),
        *transport("alertmanager"),
    ),
    resolved="the same alert with `endsAt`, which resolves it",
)
