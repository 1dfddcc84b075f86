"""`ms_teams`: the old connectors of Microsoft Teams."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, defaults, discover, entries, transport
from divertor.rules.reading.options import Option, boolean, urls

DECLARATION = AlerterDeclaration(
    "ms_teams",
    (
        Option("ms_teams_webhook_url", urls, required=True),
        *defaults("ms_teams_alert_summary", "ms_teams_theme_color"),
        Option("ms_teams_alert_fixed_width", boolean, default=False),
        Option("ms_teams_alert_facts", entries("name", "value"), default=()),
        *discover("ms_teams"),
        *transport("ms_teams"),
    ),
    resolved="a green card",
)
