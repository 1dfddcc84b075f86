"""`victorops`: incidents of Splunk On-Call."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, choice, defaults, path_part, transport
from divertor.rules.reading.options import Option

DECLARATION = AlerterDeclaration(
    "victorops",
    (
        Option("victorops_api_key", path_part, required=True),
        Option("victorops_routing_key", path_part, required=True),
        Option(
            "victorops_message_type",
            choice("INFO", "WARNING", "ACKNOWLEDGEMENT", "CRITICAL", "RECOVERY"),
            required=True,
        ),
        *defaults("victorops_entity_id", "victorops_entity_display_name"),
        *transport("victorops"),
    ),
    resolved="RECOVERY of the same entity",
)
