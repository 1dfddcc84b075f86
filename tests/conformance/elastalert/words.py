"""ElastAlert 2's own words for matches: the other side of the conformance test of texts.

Runs in the oracle's environment. Standard input is a JSON list of `{"options", "matches", "summary"}`,
standard output the list of `[subject, body]`, or of what was raised.
"""

from __future__ import annotations

import json
import logging
import sys
from importlib import import_module
from typing import Any

logging.disable(logging.CRITICAL)
alerts: Any = import_module("elastalert.alerts")
jinja2: Any = import_module("jinja2")


class Type:
    """In the place of a rule type: says what it is told to say."""

    def __init__(self, summary: str) -> None:
        self._summary = summary

    def get_match_str(self, _match: Any) -> str:
        return self._summary


def answer(case: dict[str, Any]) -> list[str]:
    rule = {"jinja_root_name": "_data", **case["options"], "type": Type(case["summary"])}
    rule.setdefault("aggregation", 0)
    if rule.get("alert_text_type") == "alert_text_jinja":
        rule["jinja_template"] = jinja2.Template(str(rule.get("alert_text", "")))  # as its loader does
    alerter = alerts.Alerter(rule)
    try:
        return [alerter.create_title(case["matches"]), alerter.create_alert_body(case["matches"])]
    except Exception as problem:
        return [type(problem).__name__, ""]


json.dump([answer(case) for case in json.load(sys.stdin)], sys.stdout)
