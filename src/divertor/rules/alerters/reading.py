"""The `alert` of a rule file → the alerters it names, each with its options, or a refusal with its place.

The options of an alerter stand beside the rule's own or in a mapping under its name, which goes before. A
value that is exactly `$name$` is the rule's option of that name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from divertor.model.documents import MappingNode, Node, Scalar, Sequence, to_value
from divertor.model.fields import fail, is_null, items_of, suggestion, text_of
from divertor.rules.alerters.declaration import AlerterDeclaration
from divertor.rules.alerters.table import ACTIONS, ALERTERS
from divertor.rules.reading.alarm_options import split_when
from divertor.rules.reading.options import Given
from divertor.rules.reading.words import split_words
from divertor.rules.rule import AlertSpec
from divertor.rules.wording.template import parse_template

_REFERENCE = re.compile(r"\$([^$\s]+)\$")
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", re.ASCII)

#: As alike as this, an option that an alerter would take for a name of the user's own is a misspelt one.
_TOO_ALIKE = 0.88

#: Who makes a ticket goes first, so that the others can link to it.
_FIRST = ("jira",)


def read_alerts(node: Node, rule: Given) -> tuple[AlertSpec, ...]:
    """The entries of `alert`: names, or mappings of a name to options that override the rule's.

    :raises InputError: an unknown alerter, a missing or unknown option.
    """
    alerts = [spec for item in items_of(node) for spec in _entry(item, rule)]
    if not alerts:
        fail(node, "no alert", f"one of {', '.join(sorted(ALERTERS))}")
    return tuple(sorted(alerts, key=lambda spec: spec.name not in _FIRST))


def alert_warnings(alert: AlertSpec) -> list[str]:
    """What the author of a rule may want to know about an alert that is valid."""
    declaration = ALERTERS.get(alert.name)
    if declaration is None:
        return []
    unresolved = [
        f"{name} is {value}, and the rule has no option {value.strip('$')!r}: it is taken as it is"
        for name, value in alert.options.items()
        if isinstance(value, str) and _REFERENCE.fullmatch(value)
    ]
    return [*declaration.warnings(alert.options), *unresolved]


def alerter_names(node: Node | None) -> Iterator[tuple[str, Node]]:
    """The names in `alert`, each with its place."""
    for item in items_of(node):
        if isinstance(item, MappingNode):
            yield from ((key.text, key) for key, _options in item.entries)
        else:
            yield text_of(item, "alert"), item


def find_alerter(name: str, node: Node) -> AlerterDeclaration:
    """The declaration; for a dotted path, that of an alerter of the user's own.

    :raises InputError: there is none of this name.
    """
    if _DOTTED.fullmatch(name):
        return AlerterDeclaration(name, ())
    declaration = ALERTERS.get(name)
    if declaration is None:
        fail(node, f"unknown alerter {name[:80]!r}", suggestion(name, ALERTERS))
    return declaration


def alert_option_names() -> frozenset[str]:
    """Every option that some alerter declares."""
    return frozenset(option.name for declared in ALERTERS.values() for option in declared.options)


def is_users_option(name: str, alert: Node | None) -> bool:
    """Whether an option that nobody declares belongs to an alerter in `alert` that takes names of the user's
    own: a field of a ticket, or anything with an alerter by dotted path. What is nearly a declared name does
    not.
    """
    for alerter, _node in alerter_names(alert):
        others = "" if "." in alerter else _others(alerter)
        if others is not None and name.startswith(others):
            return not _misspelt(name)
    return False


def _others(alerter: str) -> str | None:
    declaration = ALERTERS.get(alerter)
    return declaration.others or None if declaration is not None else None


def _misspelt(name: str) -> bool:
    return bool(difflib.get_close_matches(name, alert_option_names(), n=1, cutoff=_TOO_ALIKE))


def _entry(node: Node, rule: Given) -> list[AlertSpec]:
    if not isinstance(node, MappingNode):
        name = text_of(node, "alert")
        return [_spec(name, node, rule)]
    return [_routed(key, item, rule) for key, item in node.entries]


def _routed(key: Scalar, node: Node, rule: Given) -> AlertSpec:
    options, route = split_when(node)
    options, words = (options, None) if key.text in ACTIONS else split_words(options, rule)
    return replace(_spec(key.text, key, _nested(key, options, rule)), when=route, words=words)


def _nested(key: Scalar, node: Node, rule: Given) -> Given:
    """A nested entry's options over the rule's; what an action holds is the value of its one option."""
    if is_null(node):
        return rule
    if key.text in ACTIONS:
        return Given({**rule.entries, key.text: (key, node)}, node.position)
    given = Given.of(node, f"the options of {key.text}")
    _check_names(given, find_alerter(key.text, key))
    return given.over(rule)


def _check_names(given: Given, declaration: AlerterDeclaration) -> None:
    if "." in declaration.name:
        return
    for name, (key, _item) in given.entries.items():
        own = declaration.others and name.startswith(declaration.others) and not _misspelt(name)
        if name not in declaration.names and not own:
            fail(
                key, f"unknown option {name[:80]!r} of {declaration.name}", _nearest(name, declaration.names)
            )


def _nearest(name: str, known: frozenset[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return repr(near[0]) if near else suggestion(name, known)


def _spec(name: str, node: Node, given: Given) -> AlertSpec:
    declaration = find_alerter(name, node)
    given = _dereferenced(given, declaration)
    if "." in name:
        return AlertSpec(name, {key: to_value(item) for key, (_key, item) in given.entries.items()})
    options = given.read_all(declaration.options, f"alert {name}")
    if declaration.others:
        options[declaration.others] = _collected(given, declaration)
    _check_formats(options, given, declaration)
    declaration.check(options, given)
    return AlertSpec(name, options)


def _collected(given: Given, declaration: AlerterDeclaration) -> dict[str, Any]:
    return {
        name: to_value(item)
        for name, (_key, item) in given.entries.items()
        if name.startswith(declaration.others) and name not in declaration.names
    }


def _check_formats(options: Mapping[str, Any], given: Given, declaration: AlerterDeclaration) -> None:
    """A text that is filled in has an argument for every hole; without arguments it is taken as it is."""
    for name, arguments in declaration.formats.items():
        node, fields = given.node(name), options[arguments]
        if node is None or not fields:
            continue
        try:
            parse_template(options[name], tuple(fields))
        except ValueError as problem:
            fail(node, f"{name}: {problem}", f"a field in {arguments} for every {{}}")


def _dereferenced(given: Given, declaration: AlerterDeclaration) -> Given:
    """With what `$name$` stands for, wherever it is within the alerter's own options."""

    def resolved(node: Node) -> Node:
        if isinstance(node, MappingNode):
            return replace(node, entries=tuple((key, resolved(item)) for key, item in node.entries))
        if isinstance(node, Sequence):
            return replace(node, items=tuple(resolved(item) for item in node.items))
        found = _REFERENCE.fullmatch(node.text)
        target = given.entries.get(found[1]) if found and isinstance(node.value, str) else None
        return node if target is None else target[1]

    def is_own(name: str) -> bool:
        others = declaration.others
        return (
            "." in declaration.name or name in declaration.names or bool(others and name.startswith(others))
        )

    entries = {
        name: (key, resolved(item) if is_own(name) else item) for name, (key, item) in given.entries.items()
    }
    return Given(entries, given.position, given.report)
