"""A directory's `config.yaml`: options that its rules have unless they say otherwise.

ElastAlert's own configuration can be used as it is: what it says about ElastAlert itself, or about polling,
is accepted without effect. An option of rules that makes no sense for all of them is refused.
"""

from __future__ import annotations

from dataclasses import replace

from divertor.errors import InputError
from divertor.model.fields import fail
from divertor.rules.alerters import alert_option_names
from divertor.rules.reading.importing import parse_one
from divertor.rules.reading.load import COMMON, Report, nearest, renamed
from divertor.rules.reading.options import Given, refuse
from divertor.rules.reading.vocabulary import (
    CONFIG_WITHOUT_EFFECT,
    DEFAULTABLE,
    REFUSED,
    WITHOUT_EFFECT,
    WITHOUT_EFFECT_PREFIXES,
)


def read_defaults(text: str, source: str, report: Report = refuse) -> Given:
    """The defaults in a text; what is wrong with it goes to `report`.

    :raises InputError: it is no mapping.
    """
    given = renamed(Given.of(parse_one(text, source), "a configuration"), report)
    known = defaults_known()
    entries = {}
    for name, (key, item) in given.entries.items():
        try:
            if _is_default(name, known):
                entries[name] = (key, item)
            elif not _is_without_effect(name):
                _refuse(name, given, known)
        except InputError as problem:
            report(problem)
    return replace(given, entries=entries)


def defaults_known() -> frozenset[str]:
    """Every option that a `config.yaml` may set for rules."""
    return (DEFAULTABLE & COMMON.keys()) | DEFAULTABLE & {"alert"} | alert_option_names()


def _is_default(name: str, known: frozenset[str]) -> bool:
    return name in known and name not in WITHOUT_EFFECT


def _is_without_effect(name: str) -> bool:
    return name in CONFIG_WITHOUT_EFFECT or name in WITHOUT_EFFECT or name.startswith(WITHOUT_EFFECT_PREFIXES)


def _refuse(name: str, given: Given, known: frozenset[str]) -> None:
    key, _item = given.entries[name]
    if name in REFUSED:
        fail(key, f"the option {name!r} is refused: {REFUSED[name].why}", REFUSED[name].instead)
    if name in COMMON:
        fail(key, f"{name!r} belongs into a rule, not into its defaults")
    fail(key, f"unknown option {name[:80]!r}", nearest(name, known | CONFIG_WITHOUT_EFFECT))
