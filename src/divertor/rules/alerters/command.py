"""`command`: a program of the user's. No value of a match becomes code: values are arguments, standard input
or environment variables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from divertor.model.documents import Node
from divertor.model.fields import fail
from divertor.rules.alerters.declaration import AlerterDeclaration
from divertor.rules.options import Option, boolean, command, number

_OLD_PLACEHOLDER = re.compile(r"%\([^()]*\)")
_NEW_PLACEHOLDER = re.compile(r"(?<!\$)\{[A-Za-z_@][\w.@\-\[\]]*\}")


def _safe_command(node: Node, what: str) -> str | list[str]:
    """A command into which no value of a match can bring code or choose the program."""
    given = command(node, what)
    if isinstance(given, str):
        if not given.strip():
            fail(node, f"{what} is empty", "a shell script, or a list of a program and its arguments")
        if _OLD_PLACEHOLDER.search(given):
            fail(
                node,
                "values of a match are never put into a shell script: whoever attacks chooses them",
                "a list (command: [program, '%(field)s']), or pipe_match_json: true",
            )
        return given
    if not given[0] or _OLD_PLACEHOLDER.search(given[0]) or _NEW_PLACEHOLDER.search(given[0]):
        fail(node, "the program to run is empty or chosen by the match", "a fixed program as first element")
    return given


def _warnings(options: Mapping[str, Any]) -> list[str]:
    given = options["command"]
    found = _NEW_PLACEHOLDER.search(given) if isinstance(given, str) else None
    if found is None:
        return []
    return [f"{found[0]} in a command that is one text is given to the shell as it is, not replaced"]


DECLARATION = AlerterDeclaration(
    "command",
    (
        Option("command", _safe_command, required=True),
        Option("pipe_match_json", boolean, default=False),
        Option("pipe_alert_text", boolean, default=False),
        Option("fail_on_non_zero_exit", boolean, default=False),
        Option("command_timeout", number(0.1, 3600), default=60.0),
    ),
    warnings=_warnings,
    resolved="the command is run once more; `divertor.status` is in the JSON",
)
