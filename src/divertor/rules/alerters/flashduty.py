"""`flashduty`: events of Flashduty."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, choice, defaults, path_part, transport
from divertor.rules.reading.options import Option, text

DECLARATION = AlerterDeclaration(
    "flashduty",
    (
        Option("flashduty_integration_key", path_part, required=True),
        Option("flashduty_title", text, default="ElastAlert Alert"),
        *defaults("flashduty_alert_key", "flashduty_description"),
        Option("flashduty_event_status", choice("Info", "Warning", "Critical", "Ok"), default="Info"),
        *defaults(
            "flashduty_check",
            "flashduty_service",
            "flashduty_cluster",
            "flashduty_resource",
            "flashduty_metric",
            "flashduty_group",
            "flashduty_env",
            "flashduty_app",
        ),
        *transport("flashduty"),
    ),
    resolved="the status `Ok` under the same key",
)
