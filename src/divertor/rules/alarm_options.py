"""The options that say when a hit becomes an alert. What they do is `alarms.py`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from divertor.rules.options import Given, Option, OptionGroup, span, text
from divertor.rules.rule import AlarmOptions


def _read(_given: Given, values: Mapping[str, Any]) -> AlarmOptions:
    return AlarmOptions(realert=_realert(values), realert_key=values["realert_key"] or values["name"])


def _realert(values: Mapping[str, Any]) -> timedelta:
    """A rule that gathers its matches is to gather them all, unless it says otherwise."""
    given: timedelta | None = values["realert"]
    if given is not None:
        return given
    return timedelta(0) if values["aggregation"] else timedelta(minutes=1)


GROUP = OptionGroup(
    "alarm",
    (
        Option("realert", span(zero=True)),
        Option("realert_key", text),
    ),
    _read,
)
