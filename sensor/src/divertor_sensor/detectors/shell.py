"""Shell command injection (CWE-78; OWASP A03:2021 Injection).

Rule: where an input occurs in a command line that a POSIX shell will read, it must stay within one word:
unquoted and free of everything the shell acts on, or inside single quotes without one, or inside double
quotes without what stays active there. A separator, substitution or redirection that comes from the input
is an attack; a mere space, wildcard or stray quote shows that the line is vulnerable. An input that is the
whole command is an attack.

What it does not do: judge the options of a program called without a shell, or know what a called script
does with its arguments.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from divertor_sensor.detectors import UNTOUCHED, Candidate, Detector, Finding, Judgement, worst
from divertor_sensor.inputs import derived_values

_MAX_OCCURRENCES = 256
_SAFE = re.compile(r"[\w@%+:,./=^-]*")
_PLAIN = re.compile(r"[\w.]*")
_ATTACK = re.compile(r"[;&|<>\n`]|\$[({]|\$'|\\\n")
_ATTACK_IN_DOUBLE = re.compile(r"`|\$[({]")
_ACTIVE_IN_DOUBLE = re.compile(r'["$`\\]')
#: What delimits quoting in a POSIX command line, as segments.
_SEGMENTS = re.compile(
    r"""(?P<single>'[^']*+(?:'|\Z))
      |(?P<double>"(?:[^"\\]++|\\.)*+(?:"|\\?\Z))
      |(?P<escape>\\.)
      |(?P<bare>[^'"\\]++|\\\Z)""",
    re.VERBOSE | re.DOTALL,
)
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "busybox"})
_COMMAND_OPTION = re.compile(r"-[A-Za-z]*c[A-Za-z]*")


def select(value: str) -> list[str]:
    """The forms of an input that can matter to a shell; single letters and digits cannot."""
    return [form for form in derived_values(value) if len(form) > 1 or not form.isalnum()]


def judge(statement: str, candidates: Sequence[Candidate]) -> Judgement:
    """Whether a candidate leaves its word in the command line `statement`."""
    segments: list[tuple[int, int, str]] | None = None
    touched = False
    finding: Finding | None = None
    command = statement.strip()
    for candidate in candidates:
        at = statement.find(candidate.text)
        if at < 0:
            continue
        if candidate.text.strip() == command:
            return Judgement(True, Finding(candidate.origin, True))
        if _PLAIN.fullmatch(candidate.text):
            continue
        touched = True
        if segments is None:
            segments = [(*match.span(), match.lastgroup or "") for match in _SEGMENTS.finditer(statement)]
        finding = worst(finding, _worst_occurrence(statement, segments, candidate, at))
        if finding is not None and finding.hostile:
            break
    return Judgement(True, finding) if touched else UNTOUCHED


def _worst_occurrence(
    statement: str, segments: list[tuple[int, int, str]], candidate: Candidate, at: int
) -> Finding | None:
    finding: Finding | None = None
    for _ in range(_MAX_OCCURRENCES):
        if at < 0:
            break
        severity = _severity(statement, segments, at, at + len(candidate.text))
        if severity is not None:
            finding = worst(finding, Finding(candidate.origin, severity))
        at = statement.find(candidate.text, at + 1)
    return finding


def _severity(statement: str, segments: list[tuple[int, int, str]], start: int, end: int) -> bool | None:
    """None: within its word. False: out of it, to no effect. True: the shell acts on it."""
    segment = next((item for item in segments if item[0] <= start < item[1]), None)
    if segment is None:
        return None
    opened, closed, kind = segment
    shielded = kind in {"single", "double"} and opened < start
    if not shielded:
        return _bare_severity(statement[start:end])
    text = statement[start : min(end, closed)]
    if kind == "double" and _ATTACK_IN_DOUBLE.search(text):
        return True
    if end < closed or (end == closed and statement[end - 1] not in "'\""):
        return False if kind == "double" and _ACTIVE_IN_DOUBLE.search(text) else None
    return _ATTACK.search(statement[closed:end]) is not None


def _bare_severity(text: str) -> bool | None:
    if _SAFE.fullmatch(text):
        return None
    return _ATTACK.search(_outside_own_quotes(text)) is not None


def _outside_own_quotes(text: str) -> str:
    """The input without what it quotes itself; an unclosed quote of its own hides nothing."""
    return re.sub(r"'[^']*'", "''", text)


def shell_line(argv: Sequence[object]) -> str | None:
    """The command line inside `["sh", "-c", LINE, …]`, or None when the list starts no shell that reads
    one.
    """
    words = [word if isinstance(word, str) else "" for word in argv[:16]]
    if not words:
        return None
    names = words[0].rpartition("/")[2]
    if names == "env" or names == "busybox":
        return shell_line(words[1:])
    if names not in _SHELLS:
        return None
    for index, word in enumerate(words[1:-1], start=1):
        if _COMMAND_OPTION.fullmatch(word):
            return words[index + 1]
        if not word.startswith("-"):
            return None
    return None


DETECTOR = Detector(type="shell_injection", cwe="CWE-78", owasp="A03:2021", select=select, judge=judge)
