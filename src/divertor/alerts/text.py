"""A match in words: the subject and the body of an alert, as ElastAlert words them.

Pure. What fills a template comes from an attacker: it is inserted as it is, never read as a template, and an
alerter whose medium has markup passes `escape`, which is applied to values and not to the rule author's text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from divertor.rules.document import lookup
from divertor.rules.notification import Notification
from divertor.rules.rule import Match
from divertor.rules.template import Template

#: Makes a value harmless in a medium with markup.
Escape: TypeAlias = Callable[[str], str]

#: A body longer than this is cut: an attacker decides how long a payload is.
MAX_BODY = 64 * 1024


def as_is(text: str) -> str:
    """No markup, nothing to escape."""
    return text


def subject(notification: Notification, escape: Escape = as_is) -> str:
    """The one-line title: `alert_subject` filled in, or the rule's name; cut to `alert_subject_max_len`."""
    match = notification.first
    words = match.rule.words
    text = _fill(words.subject, match, escape)
    return text[: words.subject_max_length] if words.subject_max_length > 0 else text


def body(notification: Notification, escape: Escape = as_is) -> str:
    """The text of the alert, by `alert_text` and `alert_text_type`; it ends with an empty line or a field
    list.
    """
    match = notification.first
    words = match.rule.words
    custom = f"{match.rule.name}\n\n" if words.text is None else _fill(words.text, match, escape)
    text = _close(custom)
    if words.kind == "alert_text_only":
        return text[:MAX_BODY]
    text = _close(text + match.rule.behaviour.summary(match.document, match.time))
    if words.kind != "exclude_fields":
        text += _field_list(match.document, escape)
    return text[:MAX_BODY]


def value_text(match: Match, field: str) -> str:
    """A field of the match as text, else the rule's own property of that name, else `alert_missing_value`."""
    value = lookup(match.document, field)
    if value is None:
        value = match.rule.properties.get(field)
    return match.rule.words.missing if value is None else str(value)


def _fill(template: Template, match: Match, escape: Escape) -> str:
    missing = match.rule.words.missing

    def value_of(field: str) -> str:
        text = value_text(match, field)
        return text if text == missing else escape(text)

    return template.render(value_of)


def _close(text: str) -> str:
    return text.rstrip("\n") + "\n\n" if not text.endswith("\n\n") else text


def _field_list(document: Mapping[str, Any], escape: Escape) -> str:
    return "".join(f"{escape(name)}: {escape(_shown(document[name]))}\n" for name in sorted(document))


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return json.dumps(value, sort_keys=True, indent=4, ensure_ascii=False, default=str)
    return str(value)
