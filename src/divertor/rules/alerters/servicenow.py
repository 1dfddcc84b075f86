"""`servicenow`: incidents of ServiceNow."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, scalar, transport
from divertor.rules.reading.options import Option, mapping, text, urls

DECLARATION = AlerterDeclaration(
    "servicenow",
    (
        Option("username", text, required=True),
        Option("password", text, required=True),
        Option("servicenow_rest_url", urls, required=True),
        Option("short_description", text, required=True),
        Option("comments", text, required=True),
        Option("assignment_group", text, required=True),
        Option("category", text, required=True),
        Option("subcategory", text, required=True),
        Option("cmdb_ci", text, required=True),
        Option("caller_id", text, required=True),
        Option("servicenow_impact", scalar),
        Option("servicenow_urgency", scalar),
        Option("service_now_additional_fields", mapping, default={}),
        *transport("servicenow"),
    ),
    resolved="a work note at the incident that was opened, which is set to resolved",
)
