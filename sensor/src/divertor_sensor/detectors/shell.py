"""Shell command injection (CWE-78; OWASP A03:2021 Injection; CAPEC-88).

Rule: where an input occurs in a command line that a POSIX shell will read, it must stay within one word:
unquoted and free of everything the shell acts on, or inside single quotes without one, or inside double
quotes without what stays active there. A separator, substitution, redirection, comment, or a new line outside
quotes that comes from the input is an attack, NUL always; a mere space, wildcard or stray quote shows that
the line is vulnerable. An input that is the whole command is an attack.

An app that splits or cuts a value leaves a piece of it: from the first or the last sign that a shell acts on,
a single word with one, and the beginning of a long one.

What it does not do: judge the options of a program called without a shell (`divertor_sensor.detectors.
arguments` does), or know what a called script does with its arguments.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from divertor_sensor.detectors import (
    SEARCH,
    UNTOUCHED,
    Candidate,
    Detector,
    Finding,
    Judgement,
    common_length,
    windows,
    worst,
    worst_occurrence,
)
from divertor_sensor.sources.derived import derived_values
from divertor_sensor.work import Work

_SAFE = re.compile(r"[\w@%+:,./=^-]*")
_PLAIN = re.compile(r"[\w.]*")
_ATTACK = re.compile(r"[;&|<>\n\0`]|\$[({]")
_ATTACK_IN_DOUBLE = re.compile(r"`|\$[({]")
#: Where a piece of an input may begin to act. Redirections are left out: programs have the same ones.
_LEVER = re.compile(r"[;|\n`]|(?<![>&])&(?!\d)|\$[({]")
#: The end of many a line: as a piece of an input it says nothing.
_COMMON = re.compile(
    r"\s*+[\w./-]*+\s*+(?:>{0,2}\s*+(?:/dev/)?null\s*+|\d?>{1,2}\s*+(?:&\d|/dev/null)\s*+)++"
)
_MIN_PIECE = 3
_MAX_PIECES = 4
_LONGEST = 16 * 1024
#: An input cut by the app is recognised by its first characters.
_HEAD = 8
_ACTIVE_IN_DOUBLE = re.compile(r'["$`\\]')
#: What delimits quoting in a POSIX command line, as segments.
_SEGMENTS = re.compile(
    r"""(?P<single>'[^']*+(?:'|\Z))
      |(?P<double>"(?:[^"\\]++|\\.)*+(?:"|\\?\Z))
      |(?P<escape>\\.)
      |(?P<comment>(?:\A|(?<=[\s;&|()<>`]))\#[^\n]*+)
      |(?P<bare>[^'"\\\#]++|\#|\\\Z)""",
    re.VERBOSE | re.DOTALL,
)
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "busybox"})
#: Programs whose arguments name the program that runs in the end.
STARTERS = frozenset(
    "env nice nohup timeout time sudo doas setsid stdbuf ionice chrt taskset xargs parallel flock watch"
    " unshare nsenter chroot strace ltrace docker podman kubectl systemd-run firejail bwrap gosu su-exec tini"
    " dumb-init setpriv faketime eatmydata unbuffer".split()
)
_MAX_WORDS = 32
#: ssh(1)'s options that take the next word.
_SSH_VALUED = frozenset("BbcDEeFIiJLlmOopQRSWw")
_STARTED = _SHELLS | {"ssh"}
_COMMAND_OPTION = re.compile(r"-[A-Za-z]*c[A-Za-z]*")
#: Options of shells that take the next word.
_VALUED_OPTION = re.compile(r"[-+][A-Za-z]*[oO]|--rcfile|--init-file")
#: Programs that give a line to a shell by an option that stands anywhere.
_BY_OPTION = frozenset({"su", "runuser", "script", "sg", "flock"})
_LONG_COMMAND = "--command="


def select(value: str) -> list[str]:
    """The forms of an input that can matter to a shell, and its pieces; single letters and digits cannot."""
    forms = [form for form in derived_values(value) if len(form) > 1 or not form.isalnum()]
    return [form for form in (*forms, *_pieces(value)) if form == value or not _COMMON.fullmatch(form)]


def _pieces(value: str) -> Iterator[str]:
    """What follows the first sign that acts, or the last, and the first and last words with one."""
    if len(value) > _LONGEST:
        return
    levers = [match.start() for match in _LEVER.finditer(value)]
    if not levers:
        return
    words = [word for word in value.split() if len(word) >= _MIN_PIECE and _LEVER.search(word)]
    tails = [value[at:].rstrip() for at in (levers[0], levers[-1])]
    for piece in dict.fromkeys([*tails, *words[:_MAX_PIECES], *words[-_MAX_PIECES:]]):
        if len(piece) >= _MIN_PIECE and piece != value:
            yield piece


def judge(statement: str, candidates: Sequence[Candidate], work: Work) -> Judgement:
    """Whether a candidate leaves its word in the command line `statement`.

    :raises Spent: there is too much to look at.
    """
    lexed: _Lexed | None = None
    finding: Finding | None = None
    command = statement.strip()
    work.spend(len(candidates) * (2 + len(statement) // SEARCH))
    for candidate in candidates:
        at = statement.find(candidate.text)
        if at < 0:
            if len(candidate.text) <= _HEAD or candidate.text[:_HEAD] not in statement:
                continue
            lexed = lexed or _lex(statement, work)
            if _acts_though_cut(lexed, candidate.text, work):
                return Judgement(True, Finding(candidate.origin, True))
            continue
        if candidate.text.strip() == command:
            return Judgement(True, Finding(candidate.origin, True))
        if _PLAIN.fullmatch(candidate.text):
            continue
        if lexed is None:
            lexed = _lex(statement, work)
        severity = partial(_severity, lexed, work=work)
        finding = worst(finding, worst_occurrence(statement, candidate, at, work, severity))
        if finding is not None and finding.hostile:
            break
    return UNTOUCHED if lexed is None else Judgement(True, finding)


def _acts_though_cut(lexed: _Lexed, text: str, work: Work) -> bool:
    """Whether as much of an input's beginning as the line holds does harm."""
    at = lexed.line.find(text[:_HEAD])
    work.spend(len(text) + len(lexed.line) // SEARCH)
    end = at + common_length(text, lexed.line[at : at + len(text)])
    return _severity(lexed, at, end, work) is True


class _Lexed(NamedTuple):
    """A command line and its segments, in order: where each starts and ends, and its kind."""

    line: str
    segments: list[tuple[int, int, str]]


def _lex(line: str, work: Work) -> _Lexed:
    work.spend(len(line))
    return _Lexed(line, [(*match.span(), _kind(match)) for match in _SEGMENTS.finditer(line)])


def _kind(match: re.Match[str]) -> str:
    """The segment's kind. Double quotes around a substitution quote nothing for sure: there is another
    command inside, with quotes of its own.
    """
    kind = match.lastgroup or ""
    return "nested" if kind == "double" and _ATTACK_IN_DOUBLE.search(match[0]) else kind


def _severity(lexed: _Lexed, start: int, end: int, work: Work) -> bool | None:
    """None: within its word. False: out of it, to no effect. True: the shell acts on it."""
    crosses = True
    first = bisect_right(lexed.segments, start, key=_start) - 1
    for index in range(max(first, 0), len(lexed.segments)):
        opened, closed, kind = lexed.segments[index]
        if opened >= end:
            break
        work.spend(8 + min(end, closed) - max(start, opened))
        part = lexed.line[max(start, opened) : min(end, closed)]
        if _acts(kind, part, begins=opened >= start):
            return True
        if _is_inside(kind, lexed.line, opened, closed, start, end):
            crosses = kind == "double" and _ACTIVE_IN_DOUBLE.search(part) is not None
    return False if crosses else None


def _start(segment: tuple[int, int, str]) -> int:
    return segment[0]


def _acts(kind: str, part: str, begins: bool) -> bool:
    """Whether the shell acts on an input's `part` of a segment; it `begins` the segment or comes later in
    it.
    """
    if "\0" in part:
        return True
    if kind == "comment":
        return begins
    if kind == "nested":
        return _ATTACK.search(part) is not None or "'" in part or '"' in part
    if kind == "bare":
        return _ATTACK.search(part) is not None
    if kind == "escape":
        return "\n" in part
    return kind == "double" and _ATTACK_IN_DOUBLE.search(part) is not None


def _is_inside(kind: str, statement: str, opened: int, closed: int, start: int, end: int) -> bool:
    """Whether the input stays in this segment: between its quotes, or an innocent part of a bare word."""
    if kind == "comment":
        return opened < start and end <= closed
    if kind in {"single", "double"}:
        ends_quoted = closed - opened > 1 and statement[closed - 1] == statement[opened]
        return opened < start and end <= closed - (1 if ends_quoted else 0)
    return opened <= start and end <= closed and _SAFE.fullmatch(statement[start:end]) is not None


def shell_line(argv: Sequence[object]) -> str | None:
    """The command line inside `["sh", "-c", LINE, …]` or `["ssh", HOST, LINE, …]`, or None when the list
    starts no shell that reads one. Looks through programs that start another, as `env` and `xargs` do.
    """
    words = [word if isinstance(word, str) else "" for word in argv[:_MAX_WORDS]]
    if not words:
        return None
    if program_name(words[0]) in _BY_OPTION:
        return _line_by_option(words)
    if program_name(words[0]) in STARTERS:
        at = next((at for at, word in enumerate(words) if at and program_name(word) in _STARTED), 0)
        words = words[at:]
    if program_name(words[0]) == "ssh":
        return _remote_line(words)
    if program_name(words[0]) not in _SHELLS:
        return None
    at, seen = 1, False
    while at < len(words):
        word = words[at]
        if not word.startswith(("-", "+")) and word not in _SHELLS:
            return word if seen else None
        if word == "--" and at + 1 < len(words):
            return words[at + 1] if seen else None
        seen = seen or _COMMAND_OPTION.fullmatch(word) is not None
        at += 2 if _VALUED_OPTION.fullmatch(word) else 1
    return None


def _line_by_option(words: Sequence[str]) -> str | None:
    """The line in `su USER -c LINE` and its like; what they start without one is a program as any."""
    for index, word in enumerate(words[1:], start=1):
        if word.startswith(_LONG_COMMAND):
            return word.removeprefix(_LONG_COMMAND)
        if (word == "--command" or _COMMAND_OPTION.fullmatch(word)) and index + 1 < len(words):
            return words[index + 1]
        if program_name(word) in _STARTED:
            return shell_line(words[index:])
    return None


def _remote_line(words: Sequence[str]) -> str | None:
    """What the shell at the other end of ssh reads: all that follows the host, joined by blanks."""
    at = 1
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at][-1:] in _SSH_VALUED and len(words[at]) == 2 else 1
    return " ".join(words[at + 1 :]) or None


def program_name(path: str) -> str:
    """`/usr/bin/git` → `git`."""
    return path.rpartition("/")[2]


def _is_innocent(line: str) -> bool:
    """Never: any word can come from an input."""
    return False


DETECTOR = Detector(
    type="shell_injection",
    cwe="CWE-78",
    owasp="A03:2021",
    select=select,
    judge=judge,
    is_innocent=_is_innocent,
    marks=windows,
)
