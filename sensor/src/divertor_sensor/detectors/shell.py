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
from bisect import bisect_right
from collections.abc import Sequence

from divertor_sensor.detectors import UNTOUCHED, Candidate, Detector, Finding, Judgement, worst
from divertor_sensor.inputs import derived_values

_MAX_OCCURRENCES = 256
#: Characters of occurrences judged per input, so that many overlapping long ones cannot cost quadratic time.
_MAX_JUDGED = 64 * 1024
_SAFE = re.compile(r"[\w@%+:,./=^-]*")
_PLAIN = re.compile(r"[\w.]*")
_ATTACK = re.compile(r"[;&|<>\n`]|\$[({]")
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
    for _ in range(min(_MAX_OCCURRENCES, 1 + _MAX_JUDGED // len(candidate.text))):
        if at < 0:
            break
        severity = _severity(statement, segments, at, at + len(candidate.text))
        if severity is not None:
            finding = worst(finding, Finding(candidate.origin, severity))
        at = statement.find(candidate.text, at + 1)
    return finding


def _severity(statement: str, segments: list[tuple[int, int, str]], start: int, end: int) -> bool | None:
    """None: within its word. False: out of it, to no effect. True: the shell acts on it."""
    crosses = True
    first = bisect_right(segments, start, key=_start) - 1
    for opened, closed, kind in segments[max(first, 0) :]:
        if opened >= end:
            break
        part = statement[max(start, opened) : min(end, closed)]
        if _acts(kind, part):
            return True
        if _is_inside(kind, statement, opened, closed, start, end):
            crosses = kind == "double" and _ACTIVE_IN_DOUBLE.search(part) is not None
    return False if crosses else None


def _start(segment: tuple[int, int, str]) -> int:
    return segment[0]


def _acts(kind: str, part: str) -> bool:
    if kind == "bare":
        return _ATTACK.search(part) is not None
    return kind == "double" and _ATTACK_IN_DOUBLE.search(part) is not None


def _is_inside(kind: str, statement: str, opened: int, closed: int, start: int, end: int) -> bool:
    """Whether the input stays in this segment: between its quotes, or an innocent part of a bare word."""
    if kind in {"single", "double"}:
        ends_quoted = closed - opened > 1 and statement[closed - 1] == statement[opened]
        return opened < start and end <= closed - (1 if ends_quoted else 0)
    return opened <= start and end <= closed and _SAFE.fullmatch(statement[start:end]) is not None


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
