"""The options that say when a hit becomes an alert. What they do is `alarms.py`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from divertor.rules.options import Given, Option, OptionGroup, span, text
from divertor.rules.rule import AlarmOptions


def _read(_given: Given, values: Mapping[str, Any]) -> AlarmOptions:
    return AlarmOptions(realert=values["realert"], realert_key=values["realert_key"] or values["name"])


GROUP = OptionGroup(
    "alarm",
    (
        Option("realert", span(zero=True), default=timedelta(minutes=1)),
        Option("realert_key", text),
    ),
    _read,
)
