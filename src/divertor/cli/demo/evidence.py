"""What the stack can show after the play: detections, isolations, alerts, and the shop's statement log.

Only gathering; `claims` judges. What is reported travels off the request path, so it is waited for.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from divertor.cli.client import Api
from divertor.cli.demo.own_stack import OwnStack

#: Seconds that reports and alerts may take to arrive, and between two looks.
PATIENCE = 15.0
LOOK = 0.1


@dataclass
class Evidence:
    """Detections, isolations and alert events as the API tells them; what Slack and the command received;
    the statements that each version's database executed.
    """

    detections: list[dict[str, Any]] = field(default_factory=list)
    isolations: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    slack: list[dict[str, Any]] = field(default_factory=list)
    command: list[Any] = field(default_factory=list)
    statements_new: str = ""
    statements_audited: str = ""


def gather(stack: OwnStack, attacks: int) -> Evidence:
    """Everything there is to see, once `attacks` attacks were reported and alerted, or after `PATIENCE`."""
    with stack.api() as api:
        _wait(lambda: _is_complete(_look(stack, api), attacks))
        return _look(stack, api)


def _is_complete(found: Evidence, attacks: int) -> bool:
    unions = sum("union" in json.dumps(each).lower() for each in found.detections)
    enough = len(found.detections) >= attacks and len(found.isolations) >= attacks
    return enough and len(found.slack) >= unions > 0 and len(found.command) >= unions


def _look(stack: OwnStack, api: Api) -> Evidence:
    data = stack.layout.data
    services = data / "hackable" / "hackable"
    return Evidence(
        detections=api.get_all("/detections"),
        isolations=api.get_all("/isolations"),
        alerts=api.get_all("/events", {"type": "alert"}),
        slack=_json_lines(stack.messages),
        command=_json_lines(data / "alerts.jsonl"),
        statements_new=_text(services / "hackable:1.1.0" / "statements.log"),
        statements_audited=_text(services / "hackable:1.0.0" / "statements.log"),
    )


def _wait(is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_done() and time.monotonic() < deadline:
        time.sleep(LOOK)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _json_lines(path: Path) -> list[Any]:
    """The complete lines of a file that may be being written."""
    found = []
    for line in _text(path).splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            found.append(line)
    return found
