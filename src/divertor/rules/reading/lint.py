"""Everything that is wrong with a rule file, or may be, at once: refusals, warnings and hints, placed.

The same reading as `load.py`, which ends at the first refusal; here it goes on with what is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import Any

from divertor.errors import InputError, Position
from divertor.model.documents import Scalar
from divertor.rules.alerters import alert_option_names
from divertor.rules.reading.importing import ALONE, Drawn, Surroundings, variables_in, whole
from divertor.rules.reading.load import COMMON, read_rule, read_translation, renamed
from divertor.rules.reading.options import Given
from divertor.rules.reading.vocabulary import ALIASES, REMARKS, WITHOUT_EFFECT, WITHOUT_EFFECT_PREFIXES
from divertor.rules.sigma.translation import translate
from divertor.rules.types import TYPES

#: Problems that are told of one file.
MAX_PROBLEMS = 500

_PLACED = re.compile(r"(?P<source>.*?):(?P<line>[0-9]+):(?P<column>[0-9]+): (?P<message>.*)", re.DOTALL)


class Level(StrEnum):
    """`error`: the rule is refused. `warning`: it may not do what its author thinks. `hint`: good to know."""

    ERROR = "error"
    WARNING = "warning"
    HINT = "hint"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, where, and what was expected there."""

    position: Position
    message: str
    expected: str = ""
    severity: Level = Level.ERROR

    @classmethod
    def of(cls, error: InputError) -> Problem:
        return cls(error.position, error.message, error.expected)

    def __str__(self) -> str:
        text = f"{self.position}: {self.severity}: {self.message}"
        return f"{text}; expected {self.expected}" if self.expected else text


def lint_rule(text: str, source: str, around: Surroundings = ALONE) -> list[Problem]:
    """All problems of a rule's text, by their places; an empty list: there is nothing to say about it."""
    found: list[Problem] = []
    warnings: list[str] = []
    read_rule(text, source, around, lambda error: found.append(Problem.of(error)), warnings)
    given = _given(text, source, around)
    place = given.position if given is not None else Position(source, 1, 1)
    found += [_placed(warning, place) for warning in warnings]
    if given is not None:
        found += [*_needless(given), *_unset(given), *_texts(given)]
        found += [*_without_effect(given), *_old_names(given)]
    return _in_order(found)


def lint_sigma(files: Mapping[str, str], around: Surroundings = ALONE) -> list[Problem]:
    """All problems of Sigma rules and their settings, by path; together, as they may name each other."""
    found: list[Problem] = []

    def told(error: InputError) -> None:
        found.append(Problem.of(error))

    for translation in translate(files, told):
        warnings: list[str] = []
        read_translation(translation, around, told, warnings)
        found += [_placed(warning, translation.place) for warning in warnings]
    return _in_order(found)


def _in_order(found: list[Problem]) -> list[Problem]:
    ranks = list(Level)
    unique = list(dict.fromkeys(found))
    unique.sort(key=lambda one: (one.position.source, one.position.line, one.position.column))
    if len(unique) > MAX_PROBLEMS:
        unique.sort(key=lambda one: ranks.index(one.severity))
    return unique[:MAX_PROBLEMS]


def _given(text: str, source: str, around: Surroundings) -> Given | None:
    try:
        return whole(text, source, around, Drawn())
    except InputError:
        return None


def _placed(warning: str, place: Position) -> Problem:
    """A warning with its place, which it may say itself."""
    said = _PLACED.fullmatch(warning)
    if said is None:
        return Problem(place, warning, severity=Level.WARNING)
    where = Position(said["source"], int(said["line"]), int(said["column"]))
    return Problem(where, said["message"], severity=Level.WARNING)


#: Option → what has to be there for it to mean anything.
_NEEDS = {
    "aggregation_key": "aggregation",
    "aggregate_by_match_time": "aggregation",
    "aggregation_alert_time_compared_with_timestamp_field": "aggregation",
    "max_aggregation": "aggregation",
    "summary_table_type": "summary_table_fields",
    "summary_table_max_rows": "summary_table_fields",
    "summary_prefix": "summary_table_fields",
    "summary_suffix": "summary_table_fields",
    "alert_text_args": "alert_text",
    "alert_text_kw": "alert_text",
    "alert_subject_args": "alert_subject",
    "jinja_root_name": "alert_text_type",
    "jinja_template_path": "alert_text_type",
    "run_enhancements_first": "match_enhancements",
    "copy_fields": "match_enhancements",
    "remove_fields": "match_enhancements",
    "top_count_number": "top_count_keys",
    "exponential_realert": "realert",
    "kibana_discover_app_url": "generate_kibana_discover_url",
    "opensearch_discover_app_url": "generate_opensearch_discover_url",
}


def _needless(given: Given) -> Iterator[Problem]:
    for name, needed in _NEEDS.items():
        if name in given.entries and needed not in given.entries:
            key, _item = given.entries[name]
            yield Problem(key.position, f"{name} has no effect without {needed}", severity=Level.WARNING)


def _unset(given: Given) -> Iterator[Problem]:
    for name, node in variables_in(given):
        if name.isupper():
            message = f"${name} stays as it is: there is no variable of this name that rules may use"
            yield Problem(node.position, message, severity=Level.WARNING)


def _texts(given: Given) -> Iterator[Problem]:
    """Holes that nothing fills: without arguments a text is literal."""
    for name, arguments in (("alert_text", ("args", "kw")), ("alert_subject", ("args",))):
        node = given.node(name)
        if not isinstance(node, Scalar) or any(f"{name}_{one}" in given.entries for one in arguments):
            continue
        if re.search(r"\{[0-9]?\}", node.text) and _text_of(given, "alert_text_type") != "alert_text_jinja":
            message = f"{{}} in {name} is shown as it is"
            yield Problem(node.position, message, f"{name}_args", Level.WARNING)


def _text_of(given: Given, name: str) -> str:
    node = given.node(name)
    return node.text if isinstance(node, Scalar) else ""


def _without_effect(given: Given) -> Iterator[Problem]:
    acting = _acting(_text_of(given, "type"))
    for name, (key, _item) in renamed(given, lambda _error: None).entries.items():
        if name in acting or name in REMARKS:
            continue
        reason = WITHOUT_EFFECT.get(name)
        if reason is None and name.startswith(WITHOUT_EFFECT_PREFIXES):
            reason = "it is about Elasticsearch or Kibana alone"
        if reason is not None:
            yield Problem(key.position, f"{name} has no effect: {reason}", severity=Level.HINT)


def _acting(kind: str) -> frozenset[str]:
    """The options that somebody acts upon in a rule of this type."""
    declared: Any = TYPES.get(kind)
    own = {option.name for option in declared.options} if declared is not None else set()
    return frozenset(own | COMMON.keys() | alert_option_names())


def _old_names(given: Given) -> Iterator[Problem]:
    for name in ALIASES.keys() & given.entries.keys():
        key, _item = given.entries[name]
        yield Problem(key.position, f"{name} is now called {ALIASES[name]}", severity=Level.HINT)


def name_of(text: str, source: str, around: Surroundings = ALONE) -> str:
    """What a rule is called, as far as it can be read."""
    given = _given(text, source, around)
    return (_text_of(given, "name") if given is not None else "") or PurePath(source).stem
