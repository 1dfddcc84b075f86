"""Server-side template injection (CWE-1336; CAPEC-242; OWASP A03:2021 Injection).

Rule: where an input occurs in the source of a template, it must bring or complete no tag of that engine's
language, and inside a tag of the app's own it must stay a word, or text within quotes. Everything else is an
attack: a template engine runs code. Text that only passes through a template's source is left alone. Of an
input with tags of its own, the app may have taken those and left the rest.

What it does not do: judge what a template is rendered with, or formats (`str.format`, `string.Template`).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from divertor_sensor.detectors import UNTOUCHED, Candidate, Detector, Finding, Judgement, windows
from divertor_sensor.detectors.code import select as select_code
from divertor_sensor.work import Work

#: A plain search looks at this many characters in the time of one step.
_SEARCH = 16
#: What opens and closes a tag in one of the languages.
_OPENER = re.compile(r"\{[{%]|\$\{|<%")
_CLOSER = re.compile(r"[}%]\}|%>|\}")
_SHORTEST_TAG = len("{{a}}")
_LONGEST = 16 * 1024
#: Shorter pieces occur within any tag.
_MIN_LENGTH = 3


#: A tag: where it opens, where its inside begins, and where it closes.
_Region: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Syntax:
    """How a template language marks its tags: what opens and closes each, and what makes a line one."""

    tags: tuple[tuple[str, str], ...]
    line: str = ""


#: Jinja, Django and Tornado as they are unless told otherwise.
BRACES = Syntax((("{{", "}}"), ("{%", "%}"), ("{#", "#}")))
MAKO = Syntax((("${", "}"), ("<%", "%>"), ("</%", ">")), "%")
BOTTLE = Syntax((("{{", "}}"), ("<%", "%>")), "%")


def select(value: str) -> list[str]:
    """The forms of an input that are more than a name or a number, and the tags in it."""
    return [*select_code(value), *_tags_within(value)]


def _tags_within(value: str) -> Iterator[str]:
    """What stands from the first opening on, and from the last: up to the end, and up to the end of a tag."""
    openers = [match.start() for match in _OPENER.finditer(value)] if len(value) <= _LONGEST else []
    for start in dict.fromkeys((*openers[:1], *openers[-1:])):
        closers = [match.end() for match in _CLOSER.finditer(value, start)]
        for end in dict.fromkeys((len(value), *closers[:1], *closers[-1:])):
            if end - start >= _SHORTEST_TAG:
                yield value[start:end].rstrip()


@lru_cache(maxsize=64)
def detector_for(syntax: Syntax) -> Detector:
    """The detector of one template language."""
    return Detector(
        type="template_injection",
        cwe="CWE-1336",
        owasp="A03:2021",
        select=select,
        judge=_judge_for(syntax),
        is_innocent=_is_innocent,
        marks=windows,
    )


def _judge_for(syntax: Syntax) -> Callable[[str, Sequence[Candidate], Work], Judgement]:
    """The `judge` of one language.

    Of that, `:raises Spent:` there is too much to look at.
    """
    tags = _Tags(syntax)

    def judge(statement: str, candidates: Sequence[Candidate], work: Work) -> Judgement:
        touched, regions = False, None
        work.spend(len(candidates) * (2 + len(statement) // _SEARCH))
        for candidate in candidates:
            at = statement.find(candidate.text)
            if at < 0:
                continue
            if regions is None:
                work.spend(2 * len(statement))
                regions = tags.regions(statement)
            touched = True
            while at >= 0:
                work.spend(16 + len(candidate.text))
                if tags.is_touched(statement, regions, at, at + len(candidate.text), work):
                    return Judgement(True, Finding(candidate.origin, True))
                following = statement.find(candidate.text, at + 1)
                work.spend((following - at if following > 0 else len(statement) - at) // _SEARCH)
                at = following
        return Judgement(True, None) if touched else UNTOUCHED

    return judge


class _Tags:
    """The tags of one language: where they are in a source, and whether a piece of it has to do with one."""

    def __init__(self, syntax: Syntax) -> None:
        openers = sorted((opener for opener, _ in syntax.tags), key=len, reverse=True)
        pattern = "|".join(map(re.escape, openers))
        if syntax.line:
            line = re.escape(syntax.line)
            pattern += rf"|^[ \t]*+{line}(?!{line})"
        self._opener = re.compile(pattern, re.MULTILINE)
        self._closers = dict(syntax.tags)

    def regions(self, source: str) -> list[_Region]:
        """The tags, in order; none overlaps another."""
        found: list[_Region] = []
        match = self._opener.search(source)
        while match is not None:
            closer = self._closers.get(match[0], "\n")
            end = source.find(closer, match.end())
            end = len(source) if end < 0 else end
            found.append((match.start(), match.end(), end))
            match = self._opener.search(source, end + len(closer))
        return found

    def is_touched(self, source: str, regions: Sequence[_Region], start: int, end: int, work: Work) -> bool:
        """Whether the text from `start` to `end` opens a tag, or is more than a word inside one."""
        first = max(bisect_right(regions, start, key=_opened) - 1, 0)
        for opened, inside, closed in regions[first : first + 2]:
            if start < inside and end > opened:
                return True
            if inside <= start < closed:
                work.spend((start - inside) // _SEARCH)
                if not _is_quoted(source, inside, closed, start, end):
                    return end - start >= _MIN_LENGTH
        return False


def _opened(region: _Region) -> int:
    return region[0]


def _is_quoted(source: str, inside: int, closed: int, start: int, end: int) -> bool:
    """Whether a piece of a tag is text within quotes."""
    part = source[start:end]
    if end > closed or any(mark in part for mark in "'\"\\"):
        return False
    before = source[inside:start]
    return before.count("'") % 2 == 1 or before.count('"') % 2 == 1


def _is_innocent(source: str) -> bool:
    """Never: a sink asks about sources that were put together at run time."""
    return False


DETECTOR = detector_for(BRACES)
