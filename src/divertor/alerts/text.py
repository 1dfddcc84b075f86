"""Matches in words: the subject and the body of an alert, as ElastAlert words them.

Pure. What fills a template comes from an attacker: it is inserted as it is, never read as a template, and an
alerter whose medium has markup passes `escape`, which is applied to values and not to the rule author's text.
A template that cannot be filled does not cost an alert: the fields take its place, and the text says why.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from divertor.alerts.tables import summary_table
from divertor.rules.document import lookup
from divertor.rules.notification import Notification
from divertor.rules.reading.timing import pretty
from divertor.rules.rule import Match, Rule, Status
from divertor.rules.running.counts import COUNTS
from divertor.rules.wording.jinja import JinjaTemplate, RenderError
from divertor.rules.wording.template import Hole, Template

#: Makes a value harmless in a medium with markup.
Escape: TypeAlias = Callable[[str], str]

#: A body longer than this is cut: an attacker decides how long a payload is.
MAX_BODY = 64 * 1024

#: Between the texts of matches that are told together.
SEPARATOR = "\n----------------------------------------\n"


def as_is(text: str) -> str:
    """No markup, nothing to escape."""
    return text


def subject(notification: Notification, escape: Escape = as_is) -> str:
    """The one-line title: `alert_subject` filled in, or the rule's name; cut to `alert_subject_max_len`."""
    match, rule = notification.first, notification.rule
    words = rule.words
    try:
        if words.jinja_subject is not None:
            text = words.jinja_subject.render(_values(rule, match), escape)
        else:
            text = _fill(words.subject, rule, match, escape)
    except RenderError:
        text = rule.name
    return text[: words.subject_max_length] if words.subject_max_length > 0 else text


def body(notification: Notification, escape: Escape = as_is, *, width: int = 80, fence: str = "") -> str:
    """The text of the alert, by `alert_text` and `alert_text_type`; it ends with an empty line or a field
    list. Matches that are told together follow each other below their table.

    `width`: characters of a line of an ascii table; `fence`: what stands before and after a table where the
    medium would otherwise wrap it.
    """
    words = notification.rule.words
    table = summary_table(notification, escape, width)
    text = f"{fence}\n{table}{fence}\n" if table and fence else table
    if notification.status is Status.RESOLVED:
        text += f"Resolved at {pretty(notification.first.time, notification.rule.clock)}\n\n"
    if words.kind == "aggregation_summary_only":
        return text[:MAX_BODY]
    if words.kind != "alert_text_only":
        text += _suppressed(notification)
    several = len(notification.matches) > 1
    for match in notification.matches:
        text += _one(notification.rule, match, escape) + (SEPARATOR if several else "")
        if len(text) > MAX_BODY:
            break
    return text[:MAX_BODY]


def value_text(match: Match, field: str) -> str:
    """A field of the match as text, else the rule's own property of that name, else `alert_missing_value`."""
    return _value_text(match.rule, match, field)


def _value_text(rule: Rule, match: Match, field: str) -> str:
    value = _value(rule, match, field)
    return rule.words.missing if value is None else str(value)


def _value(rule: Rule, match: Match, field: str) -> Any:
    value = lookup(match.document, field)
    return rule.properties.get(field) if value is None else value


def _one(rule: Rule, match: Match, escape: Escape) -> str:
    """What is said of one match."""
    words = rule.words
    head = f"{rule.name}\n\n" if words.headed else ""
    if words.jinja is not None:
        return _close(head + _rendered(words.jinja, rule, match, escape))
    text = _close(head + ("" if words.text is None else _fill(words.text, rule, match, escape)))
    if words.kind == "alert_text_only":
        return text
    shown = match.time.astimezone() if rule.clock.local else match.time
    if match.status is Status.FIRING:  # what was found then is not found now
        text = _close(text + rule.behaviour.summary(match.document, shown))
    counts = {name: match.document[name] for name in _counted(rule) if name in match.document}
    text += _top_counts(counts, escape)
    if words.kind == "exclude_fields":
        return text
    others = {name: value for name, value in match.document.items() if name not in counts}
    return text + _field_list(others, escape)


def _suppressed(notification: Notification) -> str:
    """How much nobody was told of since the last alert, if anything."""
    count = sum(match.suppressed for match in notification.matches)
    if not count:
        return ""
    return f"{count} more {'match was' if count == 1 else 'matches were'} suppressed since the last alert\n\n"


def _counted(rule: Rule) -> list[str]:
    return [f"{COUNTS}{field}" for field in rule.enrich.counted]


def _rendered(template: JinjaTemplate, rule: Rule, match: Match, escape: Escape) -> str:
    try:
        return template.render(_values(rule, match), escape)
    except RenderError as problem:
        return (
            f"(alert_text cannot be filled: {escape(str(problem))})\n\n{_field_list(match.document, escape)}"
        )


def _values(rule: Rule, match: Match) -> dict[str, Any]:
    """The match's fields over the rule's properties."""
    return {**rule.properties, **match.document}


def _fill(template: Template, rule: Rule, match: Match, escape: Escape) -> str:
    missing = rule.words.missing

    def value_of(field: str) -> str:
        text = _value_text(rule, match, field)
        return text if text == missing else escape(text)

    def formatted(hole: Hole) -> str:
        value = _value(rule, match, hole.field)
        return missing if value is None else escape(hole.formatted(value))

    return template.render(value_of, formatted)


def _close(text: str) -> str:
    """With an empty line at the end, and none of more."""
    return text if text.endswith("\n\n") else text + "\n" * (1 if text.endswith("\n") else 2)


def _top_counts(document: Mapping[str, Any], escape: Escape) -> str:
    return "".join(
        _counts(name.removeprefix(COUNTS), counts, escape)
        for name, counts in document.items()
        if isinstance(counts, dict)
    )


def _counts(name: str, counts: Mapping[str, Any], escape: Escape) -> str:
    lines = [f"{escape(term)}: {count}\n" for term, count in _by_count(counts)] or ["No events found.\n"]
    return f"{escape(name)}:\n{''.join(lines)}\n"


def _by_count(counts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    known = [(str(term), count) for term, count in counts.items() if isinstance(count, int)]
    return sorted(known, key=lambda one: -one[1])


def _field_list(document: Mapping[str, Any], escape: Escape) -> str:
    return "".join(f"{escape(name)}: {escape(_shown(document[name]))}\n" for name in sorted(document))


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return json.dumps(value, sort_keys=True, indent=4, ensure_ascii=False, default=str)
    return str(value)
