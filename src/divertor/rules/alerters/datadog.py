"""`datadog`: events of Datadog."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, header_text, transport
from divertor.rules.reading.options import Option, urls

DECLARATION = AlerterDeclaration(
    "datadog",
    (
        Option("datadog_api_key", header_text, required=True),
        Option("datadog_app_key", header_text, required=True),
        Option("datadog_api_url", urls, default=("https://api.datadoghq.com/api/v1/events",)),
        *transport("datadog"),
    ),
    resolved="an event of type success with the same aggregation key",
)
