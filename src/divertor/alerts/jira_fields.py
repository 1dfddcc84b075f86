"""A ticket's fields from a rule's options, and the search for a ticket that is there already. Pure.

What kind of value a field takes is Jira's to say: its list of fields is given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from divertor.alerts.contract import Delivery, DeliveryError
from divertor.alerts.text import subject
from divertor.alerts.wording import first_value
from divertor.rules.document import lookup
from divertor.rules.rule import Match

#: Kinds of custom fields that are called texts and are choices.
_CHOICES = ("multicheckboxes", "multiselect", "radiobuttons", "select")
_TEXTS = frozenset({"string", "date", "datetime", "any"})


def fixed_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """Project, kind, parent, components and labels."""
    fields: dict[str, Any] = {
        "project": {"key": options["jira_project"]},
        "issuetype": {"name": options["jira_issuetype"]},
    }
    if options["jira_parent"]:
        fields["parent"] = {"key": options["jira_parent"]}
    components = options["jira_components"] or options["jira_component"]
    if components:
        fields["components"] = [{"name": name} for name in components]
    labels = options["jira_labels"] or options["jira_label"]
    if labels:
        fields["labels"] = [re.sub(r"\s+", "_", label) for label in labels]
    return fields


def custom_fields(
    known: Sequence[Mapping[str, Any]], wanted: Mapping[str, Any], match: Match
) -> dict[str, Any]:
    """`jira_my_field: value` as Jira wants it; `#path` is that field of the match.

    :raises DeliveryError: Jira has no such field.
    """
    out = {}
    for option, written in wanted.items():
        field = _field(known, option.removeprefix("jira_"))
        value = written
        if isinstance(written, str) and written.startswith("#"):
            value = lookup(match.document, written[1:])
        if value is not None:
            out[str(field["id"])] = _value(field.get("schema") or {}, value)
    return out


def _field(known: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    plain = name.replace("_", " ").lower()
    for key in ("name", "id"):
        for field in known:
            if str(field.get(key, "")).replace("_", " ").lower() == plain:
                return field
    raise DeliveryError(f"Jira has no field {name[:80]!r}", again=False)


def _value(schema: Mapping[str, Any], value: Any) -> Any:
    kind = schema.get("type")
    is_choice = str(schema.get("custom", "")).rpartition(":")[2] in _CHOICES
    if kind == "array":
        values = value if isinstance(value, list) else [value]
        return [_one(str(schema.get("items")), is_choice, one) for one in values]
    return _one(str(kind), is_choice, value)


def _one(kind: str, is_choice: bool, value: Any) -> Any:
    if kind == "number":
        try:
            return int(value)
        except (TypeError, ValueError):
            return None
    if kind == "option" or is_choice:
        return {"value": value}
    return value if kind in _TEXTS else {"name": value}


def ticket_search(delivery: Delivery, since: datetime) -> str:
    """JQL for tickets with this title. The title holds values of a match: quotes and what means something to
    the search are taken out, so that it stays one phrase.
    """
    options, notification = delivery.options, delivery.notification
    title = subject(notification)
    ignored = options["jira_ignore_in_title"]
    if ignored:
        title = title.replace(str(first_value(notification, ignored, "")), "")
    words = " ".join(re.sub(r"[^\w.@:/]+", " ", title).split())[:250]
    project = _quoted(options["jira_project"])
    query = f'project = {project} AND summary ~ "{words}" AND created >= "{since.strftime("%Y-%m-%d")}"'
    for name, operator in (("jira_bump_in_statuses", "in"), ("jira_bump_not_in_statuses", "not in")):
        if options[name]:
            query += f" AND status {operator} ({', '.join(map(_quoted, options[name]))})"
    return query


def _quoted(word: str) -> str:
    plain = word.replace("\\", "").replace('"', "")
    return f'"{plain}"'
