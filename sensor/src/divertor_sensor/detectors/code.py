"""Code injection (CWE-94, CWE-95; CAPEC-242; OWASP A03:2021 Injection).

Rule: where an input occurs in Python source that is about to be compiled to run, it must stay within one
token: part of a string's text, a number, or a name. Outside of that, numbers and other literals and the
arithmetic on them (a calculator), or the rest of a name after an apostrophe, show that the code is
vulnerable; everything else (a call, an attribute, an operator between names, a comment, another statement, a
replacement field of an f-string) is an attack. Tokens are read as the Python reference's "Lexical analysis"
defines them.

What it does not do: judge what a name means, or follow source that is parsed to a tree first.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from keyword import iskeyword
from typing import NamedTuple

from divertor_sensor.detectors import (
    SEARCH,
    UNTOUCHED,
    Candidate,
    Detector,
    Finding,
    Judgement,
    windows,
    worst,
    worst_occurrence,
)
from divertor_sensor.sources.derived import derived_values
from divertor_sensor.work import Work

#: Shorter pieces occur in any source.
_MIN_LENGTH = 3
_SEGMENTS = re.compile(
    r"""(?P<string>[A-Za-z]{0,2}+(?:
            '''(?:[^'\\]++|\\.|'(?!''))*+(?:'''|\\?\Z)
          | \"\"\"(?:[^"\\]++|\\.|"(?!""))*+(?:\"\"\"|\\?\Z)
          | '(?:[^'\\\n]++|\\.)*+(?:'|(?=\n)|\\?\Z)
          | "(?:[^"\\\n]++|\\.)*+(?:"|(?=\n)|\\?\Z)))
      | (?P<comment>\#[^\n]*+)
      | (?P<word>\w++)
      | (?P<rest>[^\w'"\#]++)""",
    re.VERBOSE | re.DOTALL,
)
_OPENING = re.compile(r"([A-Za-z]*)('''|\"\"\"|'|\")")
#: A name, or a number as headers are full of them.
_PLAIN = re.compile(r"\w*|-?\d+\.\d+")
_NUMBER = re.compile(r"\d\w*|[eE]|True|False|None")
#: What stands between literals without doing anything.
_BETWEEN_LITERALS = re.compile(r"(?:[\s.,:()\[\]{}+/%<>=!-]|\*(?!\*))*+")


def select(value: str) -> list[str]:
    """The forms of an input that are more than a name or a number."""
    return [form for form in derived_values(value) if len(form) > 1 and not _PLAIN.fullmatch(form)]


def judge(statement: str, candidates: Sequence[Candidate], work: Work) -> Judgement:
    """Whether a candidate is code in the source `statement`.

    :raises Spent: there is too much to look at.
    """
    lexed: Lexed | None = None
    finding: Finding | None = None
    source = statement.strip()
    work.spend(len(candidates) * (2 + len(statement) // SEARCH))
    for candidate in candidates:
        at = statement.find(candidate.text)
        if at < 0 or (len(candidate.text) < _MIN_LENGTH and candidate.text.strip() != source):
            continue
        if lexed is None:
            lexed = lex(statement, work)
        severity = partial(severity_of, lexed, work=work)
        finding = worst(finding, worst_occurrence(statement, candidate, at, work, severity))
        if finding is not None and finding.hostile:
            break
    return UNTOUCHED if lexed is None else Judgement(True, finding)


class Lexed(NamedTuple):
    """Source and its segments, in order: where each starts and ends, and its kind."""

    source: str
    segments: list[tuple[int, int, str]]


def lex(source: str, work: Work) -> Lexed:
    """Cut source into strings, comments, words and what is between them.

    :raises Spent: it is too long.
    """
    work.spend(2 * len(source))
    return Lexed(source, [(*match.span(), match.lastgroup or "") for match in _SEGMENTS.finditer(source)])


def severity_of(lexed: Lexed, start: int, end: int, work: Work) -> bool | None:
    """What the text from `start` to `end` is in its source. None: within a token. False: literals, or a
    broken one. True: code.

    :raises Spent: it takes too long to tell.
    """
    work.spend(16 + end - start)
    at = max(bisect_right(lexed.segments, start, key=_start) - 1, 0)
    opened, closed, kind = lexed.segments[at]
    if kind == "string" and end <= closed and opened < start:
        work.spend((start - opened) // SEARCH)
        inside = _within_string(lexed.source, opened, closed, start, end)
        if inside != "out":
            return {"text": None, "open": False, "field": True}[inside]
    if end <= closed and (kind == "word" or (kind == "comment" and opened < start)):
        return None
    return _severity_of_code(lexed, at, start, end, work)


def _start(segment: tuple[int, int, str]) -> int:
    return segment[0]


def _within_string(source: str, opened: int, closed: int, start: int, end: int) -> str:
    """`text`: between the quotes. `field`: of an f-string's expression. `open`: its last backslash takes the
    closing quote's meaning. `out`: on the quotes.
    """
    opening = _OPENING.match(source, opened)
    if opening is None or start < opening.end():
        return "out"
    quotes = opening[2]
    if end > closed - (len(quotes) if source.endswith(quotes, opening.end(), closed) else 0):
        return "out"
    if {"f", "t"} & set(opening[1].lower()):
        before, part = source[opening.end() : start], source[start:end]
        if "{" in part or "}" in part or before.count("{") > before.count("}"):
            return "field"
    part = source[start:end]
    backslashes = len(part) - len(part.rstrip("\\"))
    if backslashes % 2 and source[end : end + 1] == quotes[0]:
        return "open"
    return "text"


def _severity_of_code(lexed: Lexed, at: int, start: int, end: int, work: Work) -> bool:
    """Whether what is outside of strings does anything."""
    broken = False
    words: list[str] = []
    rests: list[str] = []
    for opened, closed, kind in lexed.segments[at:]:
        if opened >= end:
            break
        part = lexed.source[max(start, opened) : min(end, closed)]
        work.spend(8 + len(part))
        if kind == "comment" or (kind == "string" and _has_field(part)):
            return True
        if kind == "string":
            broken = broken or opened < start or closed > end
        else:
            (words if kind == "word" else rests).append(part)
    if broken:
        return any(map(iskeyword, words)) or not all(map(str.isspace, rests))
    return not (all(map(_NUMBER.fullmatch, words)) and all(map(_BETWEEN_LITERALS.fullmatch, rests)))


def _has_field(literal: str) -> bool:
    opening = _OPENING.match(literal)
    return opening is not None and bool({"f", "t"} & set(opening[1].lower())) and "{" in literal


def _is_innocent(source: str) -> bool:
    """Never: any piece of it can come from an input."""
    return False


DETECTOR = Detector(
    type="code_injection",
    cwe="CWE-94",
    owasp="A03:2021",
    select=select,
    judge=judge,
    is_innocent=_is_innocent,
    marks=windows,
)
