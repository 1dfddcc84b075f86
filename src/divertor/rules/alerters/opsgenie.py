"""`opsgenie`: alerts of Opsgenie."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, defaults, header_text, transport
from divertor.rules.reading.options import Option, mapping, text, text_mapping, texts

DECLARATION = AlerterDeclaration(
    "opsgenie",
    (
        Option("opsgenie_key", header_text, required=True),
        *defaults("opsgenie_account"),
        Option("opsgenie_addr", text, default="https://api.opsgenie.com/v2/alerts"),
        Option("opsgenie_recipients", texts, default=()),
        Option("opsgenie_teams", texts, default=()),
        Option("opsgenie_default_recipients", texts, default=()),
        Option("opsgenie_default_receipients", texts, default=()),
        Option("opsgenie_default_teams", texts, default=()),
        Option("opsgenie_tags", texts, default=()),
        Option("opsgenie_subject_args", texts, default=()),
        Option("opsgenie_recipients_args", text_mapping, default={}),
        Option("opsgenie_teams_args", text_mapping, default={}),
        *defaults(
            "opsgenie_description",
            "opsgenie_message",
            "opsgenie_subject",
            "opsgenie_alias",
            "opsgenie_priority",
            "opsgenie_entity",
        ),
        Option("opsgenie_source", text, default="ElastAlert"),
        Option("opsgenie_details", mapping, default={}),
        *transport("opsgenie"),
    ),
    formats={"opsgenie_subject": "opsgenie_subject_args"},
    resolved="the alert is closed",
)
