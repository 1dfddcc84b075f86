"""ElastAlert 2's own bookkeeping of silences after alerts, asked with streams of matches.

Runs in the oracle's environment. Standard input is a JSON list of streams `{"realert", "longest", "matches":
[[seconds, query_key's value or null], …]}` (in seconds; `longest`: exponential_realert or null), standard
output the list of their answers: for each match, until which second it silences, or null when it is ignored.
The scheduler and the metrics that ElastAlert imports beside its logic may be missing and have stand-ins.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime, timedelta
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

logging.disable(logging.CRITICAL)


def loaded() -> Any:
    """ElastAlert's main module. Of modules that are not its own, those that are missing get stand-ins."""
    for _ in range(200):
        try:
            return import_module("elastalert.elastalert")
        except ModuleNotFoundError as problem:
            if problem.name is None or problem.name.startswith("elastalert"):
                raise
            sys.modules[problem.name] = MagicMock()
    raise ImportError("too much is missing")


elastalert: Any = loaded()
Real: Any = elastalert.ElastAlerter
START = datetime(2026, 1, 1, tzinfo=UTC)


def answer(stream: dict[str, Any]) -> list[float | None]:
    """What ElastAlert's loop does with each match of a rule, by its own functions."""
    rule: dict[str, Any] = {"realert": timedelta(seconds=stream["realert"])}
    if stream["longest"] is not None:
        rule["exponential_realert"] = timedelta(seconds=stream["longest"])
    alerter = SimpleNamespace(silence_cache={}, debug=True, writeback=lambda *_: None)
    found: list[float | None] = []
    for seconds, key in stream["matches"]:
        now = START + timedelta(seconds=seconds)
        elastalert.ts_now = lambda now=now: now
        name = "r" if key is None else f"r.{key}"
        if Real.is_silenced(alerter, name):
            found.append(None)
            continue
        until, exponent = now, 0
        if rule["realert"]:
            until, exponent = Real.next_alert_time(alerter, rule, name, now)
            Real.set_realert(alerter, name, until, exponent)
        found.append((until - START).total_seconds())
    return found


json.dump([answer(stream) for stream in json.load(sys.stdin)], sys.stdout)
