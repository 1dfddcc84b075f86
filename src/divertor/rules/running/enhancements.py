"""Enhancements: what may change a match, or drop it, before it is told.

An enhancement is a class with `process(match)`, which changes the dict it is given, or raises
`DropMatchException`; it is made once for a rule, with the rule's options. ElastAlert's own classes of users
work as they are. Each works on a copy, and one that fails is told and changes nothing: an alert is never lost
to it. Importing a class by its path is the edge's (`plugins.py`), which hands it in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

from divertor.model.events import parse_time
from divertor.rules.document import lookup
from divertor.rules.reading.timing import pretty
from divertor.rules.rule import Clock, Match, Rule
from divertor.rules.running.projection import plain


class DropMatchException(Exception):
    """Raised by an enhancement: the match is not to be told."""


class BaseEnhancement:
    """What users' classes derive from."""

    def __init__(self, rule: Mapping[str, Any]) -> None:
        self.rule = rule

    def process(self, match: dict[str, Any]) -> None:
        """Change the match in place.

        :raises DropMatchException: it is not to be told.
        """
        raise NotImplementedError


class Enhancement(Protocol):
    """An enhancement, made for a rule."""

    def process(self, match: dict[str, Any]) -> None: ...


#: Makes an enhancement of a rule's options.
Maker: TypeAlias = Callable[[Mapping[str, Any]], Enhancement]


class TimeEnhancement(BaseEnhancement):
    """`@timestamp` for people, by `use_local_time` and `custom_pretty_ts_format`."""

    def process(self, match: dict[str, Any]) -> None:
        clock = Clock(
            local=bool(self.rule.get("use_local_time", True)),
            shown_as=str(self.rule.get("custom_pretty_ts_format") or Clock().shown_as),
        )
        match["@timestamp"] = pretty(parse_time(match["@timestamp"]), clock)


class CopyFields(BaseEnhancement):
    """`copy_fields: {new: old}`: fields under further names; what is not there is not copied."""

    def process(self, match: dict[str, Any]) -> None:
        for new, old in self.rule.get("copy_fields", {}).items():
            value = lookup(match, str(old))
            if value is not None:
                match[str(new)] = value


class RemoveFields(BaseEnhancement):
    """`remove_fields: [a.b, c]`: fields that nobody is told."""

    def process(self, match: dict[str, Any]) -> None:
        for field in self.rule.get("remove_fields", ()):
            _remove(match, str(field))


def _remove(mapping: dict[str, Any], path: str) -> None:
    if path in mapping:
        del mapping[path]
        return
    head, dot, rest = path.partition(".")
    inner = mapping.get(head)
    if dot and isinstance(inner, dict):
        _remove(inner, rest)


#: Enhancements that are there, by name.
BUILT_IN: Mapping[str, Maker] = {
    "TimeEnhancement": TimeEnhancement,
    "CopyFields": CopyFields,
    "RemoveFields": RemoveFields,
}


@dataclass(frozen=True, slots=True)
class Enhanced:
    """A match after its enhancements (None: dropped), and what went wrong on the way, in sentences."""

    match: Match | None
    problems: tuple[str, ...] = ()


class Enhancer:
    """Applies the enhancements of rules. `load` finds the class of a dotted path, or raises `ValueError`."""

    def __init__(self, load: Callable[[str], Maker]) -> None:
        self._load = load
        self._made: dict[tuple[str, str], tuple[Rule, Enhancement]] = {}

    def process(self, match: Match) -> Enhanced:
        """The match as its rule's enhancements leave it."""
        problems: list[str] = []
        document: dict[str, Any] = dict(match.document)
        for name in match.rule.enrich.enhancements:
            attempt = deepcopy(document)
            try:
                self._made_for(match.rule, name).process(attempt)
            except DropMatchException:
                return Enhanced(None, tuple(problems))
            except Exception as problem:  # a boundary: users' code, which must not cost an alert
                if type(problem).__name__ == "DropMatchException":
                    return Enhanced(None, tuple(problems))
                problems.append(f"enhancement {name}: {type(problem).__name__}: {problem}"[:500])
                continue
            document = attempt
        return Enhanced(replace(match, document=plain(document)), tuple(problems))

    def _made_for(self, rule: Rule, name: str) -> Enhancement:
        known = self._made.get((rule.name, name))
        if known is not None and known[0] is rule:
            return known[1]
        maker = BUILT_IN.get(name) or self._load(name)
        made = maker(deepcopy(dict(rule.properties)))
        self._made[(rule.name, name)] = (rule, made)
        return made
