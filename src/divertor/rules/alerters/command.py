"""`command`: a program of the user's. No value of a match becomes code: values are arguments, standard input
or environment variables (`shell.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from divertor.model.documents import Node
from divertor.model.fields import fail
from divertor.rules.alerters.declaration import AlerterDeclaration
from divertor.rules.alerters.shell import MAILERS, check_arguments, with_variables
from divertor.rules.reading.options import Option, boolean, command, number

_OLD_PLACEHOLDER = re.compile(r"%\([^()]*\)")
_NEW_PLACEHOLDER = re.compile(r"(?<![${])\{[A-Za-z_@][\w.@\-\[\]]*\}(?!\})")
_FORMATTED = re.compile(r"%\([^()]+\)(?!s)|(?<![${])\{[A-Za-z_@][\w.@\-\[\]]*(?:![rsa])?(?::[^{}]*)?\}(?!\})")

#: Read their arguments as commands or code.
_EVALUATORS = frozenset(
    """ssh su xargs parallel watch sed awk gawk mawk psql mysql mariadb sqlite3 mongo mongosh ansible
    clickhouse-client ansible-playbook salt salt-call""".split()
)

_MIGRATION = (
    "a list (command: [program, '%(field)s']), pipe_match_json: true, or a script of simple commands with"
    " %(field)s unquoted or in double quotes"
)


def _safe_command(node: Node, what: str) -> str | list[str]:
    """A command into which no value of a match can bring code or choose the program."""
    given = command(node, what)
    if isinstance(given, str):
        return _safe_script(given, node, what)
    if not given[0] or is_filled(given[0]):
        fail(node, "the program to run is empty or chosen by the match", "a fixed program as first element")
    _check_arguments(given, node)
    return given


def _safe_script(script: str, node: Node, what: str) -> str:
    if not script.strip():
        fail(node, f"{what} is empty", "a shell script, or a list of a program and its arguments")
    if _OLD_PLACEHOLDER.search(script):
        try:
            with_variables(script)
        except ValueError as problem:
            fail(
                node,
                "it is not certain that a value of a match, which an attacker chooses, cannot become code in"
                f" this script: {problem}",
                _MIGRATION,
            )
    return script


def _check_arguments(given: list[str], node: Node) -> None:
    """A list's arguments are data, unless the program reads them as code: `[sh, -c, "echo %(field)s"]`."""
    for place, element in enumerate(given):
        name = element.rpartition("/")[2]
        if name in _EVALUATORS and any(map(is_filled, given[place + 1 :])):
            fail(node, f"{name} reads a value of the match as a command or code", "pipe_match_json: true")
    try:
        check_arguments([(element, is_filled(element)) for element in given])
    except ValueError as problem:
        fail(
            node,
            str(problem),
            "fixed code that takes it as an argument: [sh, -c, 'echo \"$1\"', sh, '%(x)s']",
        )


def is_filled(element: str) -> bool:
    """Whether a value of a match is put into it."""
    return bool(_OLD_PLACEHOLDER.search(element) or _NEW_PLACEHOLDER.search(element))


def _warnings(options: Mapping[str, Any]) -> list[str]:
    given = options["command"]
    elements = [given] if isinstance(given, str) else given
    out = []
    if isinstance(given, str) and (found := _NEW_PLACEHOLDER.search(given)):
        out.append(
            f"{found[0]} in a command that is one text is given to the shell as it is, not replaced: write"
            " %(field)s, or a list"
        )
    elif any(_FORMATTED.search(element) and not is_filled(element) for element in elements):
        out.append("conversions and formats in a command are left as they are: write %(field)s or {field}")
    if options["pipe_alert_text"] and not options["pipe_match_json"] and (mailer := _mailer(elements)):
        out.append(
            f"{mailer} may run a command for a line of the text that begins with ~!, and attackers write"
            " such lines: use the alerter email"
        )
    if isinstance(given, str) and _OLD_PLACEHOLDER.search(given):
        out.append(
            "values reach this script as variables, not as text: better write a list of the program and its"
            " arguments"
        )
    return out


def _mailer(elements: list[str]) -> str:
    """The first name of a mail program among the words, if there is one."""
    names = (word.rpartition("/")[2] for element in elements for word in element.split())
    return next((name for name in names if name in MAILERS), "")


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
