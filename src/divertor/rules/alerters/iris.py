"""`iris`: alerts or cases of DFIR-IRIS."""

from __future__ import annotations

from divertor.rules.alerters.declaration import (
    AlerterDeclaration,
    choice,
    defaults,
    entries,
    header_text,
    host,
    transport,
)
from divertor.rules.reading.options import Option, boolean, integer, text, text_mapping

DECLARATION = AlerterDeclaration(
    "iris",
    (
        Option("iris_host", host, required=True),
        Option("iris_api_token", header_text, required=True),
        Option("iris_customer_id", integer(0, 2**31), default=1),
        *defaults("iris_ca_cert", "iris_description"),
        Option("iris_overwrite_timestamp", boolean, default=False),
        Option("iris_type", choice("alert", "case"), default="alert"),
        Option("iris_case_template_id", integer(0, 2**31)),
        *defaults("iris_alert_note", "iris_alert_tags", "iris_alert_source_link"),
        Option("iris_alert_status_id", integer(0, 2**31), default=2),
        Option("iris_alert_severity_id", integer(0, 2**31), default=1),
        Option("iris_alert_source", text, default="ElastAlert2"),
        Option("iris_alert_context", text_mapping, default={}),
        Option(
            "iris_iocs",
            entries("ioc_value", optional=("ioc_description", "ioc_tags", "ioc_tlp_id", "ioc_type_id")),
            default=(),
        ),
        *transport("iris"),
    ),
    resolved="the alert is closed (status 6); a case stays for people to close",
)
