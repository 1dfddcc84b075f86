"""`jira`: tickets of Jira (REST API, version 2)."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, defaults, transport
from divertor.rules.reading.options import Option, boolean, integer, mapping, number, text, texts, urls

DECLARATION = AlerterDeclaration(
    "jira",
    (
        Option("jira_server", urls, required=True),
        Option("jira_account_file", text, required=True),
        Option("jira_project", text, required=True),
        Option("jira_issuetype", text, required=True),
        *defaults(
            "jira_assignee",
            "jira_description",
            "jira_ignore_in_title",
            "jira_parent",
            "jira_transition_to",
            "jira_resolve_transition",
        ),
        Option("jira_component", texts, default=()),
        Option("jira_components", texts, default=()),
        Option("jira_label", texts, default=()),
        Option("jira_labels", texts, default=()),
        Option("jira_watchers", texts, default=()),
        Option("jira_bump_in_statuses", texts, default=()),
        Option("jira_bump_not_in_statuses", texts, default=()),
        Option("jira_priority", integer(0, 100)),
        Option("jira_max_age", integer(1, 3650), default=30),
        Option("jira_bump_tickets", boolean, default=False),
        Option("jira_bump_only", boolean, default=False),
        Option("jira_bump_after_inactivity", number(0, 3650), default=0.0),
        Option("jira_fields", mapping, default={}),
        *transport("jira"),
    ),
    others="jira_",
    resolved="a comment at the ticket, and `jira_resolve_transition` if it is given",
)
