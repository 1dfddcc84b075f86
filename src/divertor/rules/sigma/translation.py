"""Sigma rules as rule files: text in, the options of ordinary rules out.

A Sigma rule becomes `type: any` with its detection as the filter; a correlation becomes the type that does
what it says (`frequency`, `cardinality`, `correlation`, `sequence`, `metric_aggregation`, …) over the
detections of the rules it names, in whatever file of the directory they are. How to alert is not Sigma's
business: a `divertor:` block in the rule says it, or the `defaults` of a `sigma.yaml` beside the rules or
above them. Pure; what comes out is read by `load` like any rule.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeAlias

from divertor.errors import InputError, Position
from divertor.model.documents import MappingNode, Node, parse_documents, to_value
from divertor.model.fields import fail
from divertor.rules.reading.options import refuse
from divertor.rules.sigma.correlations import correlation_options
from divertor.rules.sigma.detection import Query, UnsupportedError, detection_queries
from divertor.rules.sigma.settings import SETTINGS, Logsource, SigmaSettings, read_settings

Report: TypeAlias = Callable[[InputError], None]

#: Names a document among those read together, through what pySigma keeps of unknown keys.
_NUMBER = "x-divertor-number"

_SEVERITIES = {
    "informational": "info",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "critical": "critical",
}
_LOOKS = re.compile(r"^(?:detection|correlation|logsource)[ \t]*:", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Translation:
    """A Sigma rule as the text of an ordinary rule; `place` is where what it says about alerting stands."""

    source: str
    text: str
    place: Position
    warnings: tuple[str, ...] = ()


def looks_like_sigma(text: str) -> bool:
    """Whether a text is a Sigma rule, or several: others have no detection, logsource or correlation."""
    return _LOOKS.search(text) is not None


def is_settings(path: str) -> bool:
    """Whether a file says how the Sigma rules beside and below it alert."""
    return PurePath(path).name in SETTINGS


def translate_one(text: str, source: str) -> Translation:
    """The one alerting rule of a file that stands for itself.

    :raises InputError: it is not understood, or holds several rules that alert.
    """
    found = translate({source: text})
    if len(found) != 1:
        raise InputError(
            f"{len(found)} Sigma rules that alert",
            Position(source, 1, 1),
            "one, perhaps a correlation of others",
        )
    return found[0]


def translate(files: Mapping[str, str], report: Report = refuse) -> list[Translation]:
    """Sigma rules and their settings, by path, as ordinary rules, in the order of the files.

    Rules that a correlation names do not alert by themselves unless it says `generate: true`. What is not
    understood, or names a rule that is not there, goes to `report`; the rest goes on without it.

    :raises InputError: what `report` raises.
    """
    settings: dict[str, SigmaSettings] = {}
    documents: list[_Document] = []
    for path in sorted(files, key=lambda one: not is_settings(one)):
        try:
            if is_settings(path):
                settings[str(PurePath(path).parent)] = read_settings(files[path], path)
            else:
                nearest = _settings_for(path, settings)
                nodes = parse_documents(files[path], path)
                documents += [
                    _Document(len(documents) + at, path, node, nearest) for at, node in enumerate(nodes)
                ]
        except InputError as problem:
            report(problem)
    found: list[Translation] = []
    for document, rule in _alerting(documents, report):
        try:
            found.append(_translation(document, rule))
        except InputError as problem:
            report(problem)
    return found


@dataclass(frozen=True, slots=True)
class _Document:
    """One Sigma document: where it is and which settings are for it."""

    number: int
    path: str
    node: Node
    settings: SigmaSettings

    def entry(self, name: str) -> Node | None:
        entries = self.node.entries if isinstance(self.node, MappingNode) else ()
        return next((item for key, item in entries if key.text == name), None)

    def place(self, *names: str) -> Position:
        found = next((item for name in names if (item := self.entry(name)) is not None), self.node)
        return found.position


def _settings_for(path: str, known: Mapping[str, SigmaSettings]) -> SigmaSettings:
    """Those of the nearest directory that has some."""
    parents = map(str, PurePath(path).parents)
    return next((known[parent] for parent in parents if parent in known), SigmaSettings())


def _alerting(documents: Sequence[_Document], report: Report) -> list[tuple[_Document, Any]]:
    """The rules that alert, as pySigma has them: references resolved, Sigma filters applied."""
    from sigma.collection import SigmaCollection
    from sigma.correlations import SigmaCorrelationRule
    from sigma.exceptions import SigmaError

    parsed = [one for document in documents if (one := _reported(document, report)) is not None]
    plain = [one for one in parsed if not isinstance(one, SigmaCorrelationRule)]
    try:
        rules = list(SigmaCollection(plain).rules)
    except SigmaError as problem:
        report(InputError(f"Sigma: {_said(problem)}", documents[0].place(), "rules that fit together"))
        return []
    correlations = [one for one in parsed if isinstance(one, SigmaCorrelationRule)]
    everything = SigmaCollection([*rules, *correlations], resolve_references=False)
    referenced: set[int] = set()
    for correlation in correlations:
        try:
            correlation.resolve_rule_references(everything)
        except SigmaError as problem:
            place = documents[_number(correlation)].place("correlation")
            report(InputError(f"Sigma: {_said(problem)}", place, "a rule of this directory"))
            continue
        rules.append(correlation)
        if not correlation.generate:
            named = [*(correlation.rules or ()), *correlation.referenced_rules]
            referenced |= {id(reference.rule) for reference in named}
    found = [(documents[_number(rule)], rule) for rule in rules if id(rule) not in referenced]
    return sorted(found, key=lambda pair: pair[0].number)


def _reported(document: _Document, report: Report) -> Any:
    """What pySigma makes of a document; None when it is refused."""
    try:
        return _parsed(document)
    except InputError as problem:
        report(problem)
        return None


def _parsed(document: _Document) -> Any:
    from sigma.correlations import SigmaCorrelationRule
    from sigma.exceptions import SigmaError
    from sigma.filters import SigmaFilter
    from sigma.rule import SigmaRule

    if not isinstance(document.node, MappingNode):
        fail(document.node, "not a Sigma rule", "a mapping with title, logsource and detection")
    value = to_value(document.node)
    if "action" in value:
        fail(document.node, "the collection action of old Sigma is not supported", "whole rules")
    value[_NUMBER] = document.number
    kind: Any = SigmaRule
    if "correlation" in value:
        kind = SigmaCorrelationRule
    elif "filter" in value:
        kind = SigmaFilter
    try:
        return kind.from_dict(value)
    except (SigmaError, ValueError, TypeError, KeyError, AttributeError) as problem:
        place = document.place("correlation" if "correlation" in value else "detection")
        raise InputError(
            f"Sigma: {_said(problem)}", place, "a rule as the Sigma specification has it"
        ) from None


def _said(problem: BaseException) -> str:
    return " ".join(str(problem).split())[:300]


def _number(rule: Any) -> int:
    number: int = rule.custom_attributes[_NUMBER]
    return number


def _translation(document: _Document, rule: Any) -> Translation:
    from sigma.exceptions import SigmaError

    warnings: list[str] = []
    try:
        options = _options(document, rule, warnings)
    except (UnsupportedError, SigmaError) as problem:
        raise InputError(
            f"Sigma: {_said(problem)}", document.place("correlation", "detection"), "another way to say it"
        ) from None
    return Translation(
        source=document.path,
        text=json.dumps(options, ensure_ascii=False, indent=1),
        place=document.place("divertor"),
        warnings=tuple(warnings),
    )


def _options(document: _Document, rule: Any, warnings: list[str]) -> dict[str, Any]:
    from sigma.correlations import SigmaCorrelationRule

    level = rule.level.name.lower() if rule.level is not None else "medium"
    options: dict[str, Any] = {
        "name": _name(rule, document),
        "severity": _SEVERITIES[level],
        "alert": ["debug"],
        "sigma": _about(rule),
        **({"description": rule.description} if rule.description else {}),
        **({"owner": rule.author} if rule.author else {}),
    }
    if isinstance(rule, SigmaCorrelationRule):
        options |= {"filter": []} | correlation_options(
            rule, lambda one: _filter(one, document.settings, warnings, document), document.settings.name_of
        )
        options["index"] = _indices(rule, document.settings)
    else:
        options |= {"type": "any", "filter": _filter(rule, document.settings, warnings, document)}
        options["index"] = list(document.settings.logsource(rule.logsource).index)
    own = document.entry("divertor")
    if own is not None and not isinstance(own, MappingNode):
        fail(own, "divertor is no mapping", "options of a rule")
    for given in (document.settings.defaults, to_value(own) if own is not None else {}):
        more = given.get("filter", [])
        also = [*options["filter"], *(more if isinstance(more, list) else [more])]
        options |= {**given, "filter": also}
    if "alert" not in document.settings.defaults and (own is None or "alert" not in to_value(own)):
        warnings.append(
            f"{document.place()}: it alerts into the log only: neither it nor a {SETTINGS[0]} says how"
        )
    return options


def _name(rule: Any, document: _Document) -> str:
    title = "".join(one if one.isprintable() else " " for one in str(rule.title or "")).strip()
    return title[:200] or PurePath(document.path).stem


def _filter(rule: Any, settings: SigmaSettings, warnings: list[str], document: _Document) -> list[Query]:
    source: Logsource = settings.logsource(rule.logsource)
    if source.is_default:
        warnings.append(
            f"{document.place('logsource', 'correlation')}: no index is known for "
            f"{_logsource_text(rule.logsource)}: it is tried on every event; a {SETTINGS[0]} can name one"
        )
    names = {**settings.fields, **source.fields}
    return [*source.filter, *detection_queries(rule.detection.parsed_condition, names)]


def _logsource_text(logsource: Any) -> str:
    parts = (("category", logsource.category), ("product", logsource.product), ("service", logsource.service))
    return ", ".join(f"{name} {value}" for name, value in parts if value) or "its logsource"


def _indices(correlation: Any, settings: SigmaSettings) -> list[str]:
    rules = [reference.rule for reference in correlation.referenced_rules or correlation.rules or ()]
    found = [index for rule in rules for index in settings.logsource(rule.logsource).index]
    return list(dict.fromkeys(found))


def _about(rule: Any) -> dict[str, Any]:
    """What a rule says about itself, for alert texts: `sigma.id`, `sigma.tags`, `sigma.references`, …"""
    found = {
        "id": str(rule.id) if rule.id else None,
        "title": rule.title,
        "level": rule.level.name.lower() if rule.level is not None else None,
        "status": rule.status.name.lower() if rule.status is not None else None,
        "author": rule.author,
        "tags": [str(tag) for tag in rule.tags],
        "references": [str(one) for one in rule.references],
        "falsepositives": [str(one) for one in rule.falsepositives],
    }
    return {name: value for name, value in found.items() if value}
