"""`pagerduty`: events of PagerDuty, version 1 and 2."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, choice, defaults, transport
from divertor.rules.reading.options import Option, boolean, text, text_mapping, texts, urls

DECLARATION = AlerterDeclaration(
    "pagerduty",
    (
        Option("pagerduty_service_key", text, required=True),
        Option("pagerduty_client_name", text, required=True),
        *defaults("pagerduty_incident_key"),
        Option("pagerduty_incident_key_args", texts, default=()),
        Option("pagerduty_event_type", choice("trigger", "resolve", "acknowledge"), default="trigger"),
        Option("pagerduty_api_version", choice("v1", "v2"), default="v1"),
        *defaults("pagerduty_v2_payload_class"),
        Option("pagerduty_v2_payload_class_args", texts, default=()),
        *defaults("pagerduty_v2_payload_component"),
        Option("pagerduty_v2_payload_component_args", texts, default=()),
        *defaults("pagerduty_v2_payload_group"),
        Option("pagerduty_v2_payload_group_args", texts, default=()),
        Option(
            "pagerduty_v2_payload_severity",
            choice("critical", "error", "warning", "info"),
            default="critical",
        ),
        Option("pagerduty_v2_payload_source", text, default="ElastAlert"),
        Option("pagerduty_v2_payload_source_args", texts, default=()),
        Option("pagerduty_v2_payload_custom_details", text_mapping, default={}),
        Option("pagerduty_v2_payload_include_all_info", boolean, default=True),
        Option("pagerduty_url", urls, default=("https://events.pagerduty.com",)),
        *transport("pagerduty"),
    ),
    formats={
        "pagerduty_v2_payload_class": "pagerduty_v2_payload_class_args",
        "pagerduty_v2_payload_component": "pagerduty_v2_payload_component_args",
        "pagerduty_v2_payload_group": "pagerduty_v2_payload_group_args",
        "pagerduty_v2_payload_source": "pagerduty_v2_payload_source_args",
        "pagerduty_incident_key": "pagerduty_incident_key_args",
    },
    resolved="the incident is resolved",
)
