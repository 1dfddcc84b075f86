"""`ms_power_automate`: adaptive cards by way of a Power Automate workflow (Microsoft Teams)."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, defaults, discover, entries, transport
from divertor.rules.reading.options import Option, boolean, text, urls

DECLARATION = AlerterDeclaration(
    "ms_power_automate",
    (
        Option("ms_power_automate_webhook_url", urls, required=True),
        *defaults("ms_power_automate_webhook_url_from_field", "ms_power_automate_alert_summary"),
        Option("ms_power_automate_summary_text_size", text, default="large"),
        *defaults("ms_power_automate_body_text_size"),
        Option("ms_power_automate_alert_facts", entries("name", "value"), default=()),
        *discover("ms_power_automate", attach="ms_power_automate_{}_discover_attach_url", color="default"),
        Option("ms_power_automate_teams_card_width_full", boolean, default=False),
        *transport("ms_power_automate"),
    ),
    resolved="a card that says so",
)
