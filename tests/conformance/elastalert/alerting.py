"""ElastAlert 2's own Slack and command alerters: the other side of the conformance test of deliveries.

Runs in the oracle's environment. Standard input is a JSON list of `{"alerter", "options", "matches",
"others"}`; standard output, for each, what was posted (address, JSON, how it travels) or the standard input
and the arguments that a real program got, or the name of what was raised.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from importlib import import_module
from typing import Any

logging.disable(logging.CRITICAL)
slack: Any = import_module("elastalert.alerters.slack")
command: Any = import_module("elastalert.alerters.command")


class Type:
    """In the place of a rule type: says nothing."""

    def get_match_str(self, _match: Any) -> str:
        return ""


class Accepted:
    """An answer that is fine."""

    def raise_for_status(self) -> None:
        """It is."""


def posted(rule: dict[str, Any], case: dict[str, Any]) -> Any:
    requests: list[Any] = []

    def post(url: str, **how: Any) -> Accepted:
        said = json.loads(how["data"])
        travels = [how["proxies"], how["verify"], how["timeout"], how["headers"]]
        requests.append([url, json.dumps(said, sort_keys=True, separators=(",", ":")), travels])
        return Accepted()

    slack.requests.post = post
    alerter = slack.SlackAlerter(rule)
    alerter.pipeline = case["others"]
    alerter.alert(case["matches"])
    return requests


def ran(rule: dict[str, Any], case: dict[str, Any]) -> Any:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(case["out"])
    alerter = command.CommandAlerter(rule)
    alerter.alert(case["matches"])
    with open(case["out"], encoding="utf-8") as file:
        return json.load(file)


def answer(case: dict[str, Any]) -> Any:
    rule = {"name": "A rule", **case["options"], "type": Type()}
    if rule.pop("gathered", False):
        rule["aggregation"] = 0
    try:
        return (posted if case["alerter"] == "slack" else ran)(rule, case)
    except Exception as problem:
        return type(problem).__name__


json.dump([answer(case) for case in json.load(sys.stdin)], sys.stdout)
