"""How options of several rule types are read: one of some words, and how a number is spelled.

A number's spelling is the author's text with one hole, `{:.2f}` or `%.2f`. Only conversions of numbers are
taken, and widths that cannot fill the memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from divertor.model.documents import Node
from divertor.model.fields import fail, suggestion, text_of
from divertor.rules.reading.options import Reader

_SPELLING = r"[-+ #0,_]{0,4}[0-9]{0,3}[,_]?(?:\.[0-9]{1,2})?"
_BRACES = re.compile(r"\{(?:0)?(?::(" + _SPELLING + r"[deEfFgGn%]?))?\}")
_PERCENT = re.compile(r"%(" + r"[-+ #0]{0,4}[0-9]{0,3}(?:\.[0-9]{1,2})?[deEfFgGis])")
_MAX_FORMAT = 200


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """A text with one hole for a number."""

    before: str
    spelling: str
    after: str
    percent: bool = False

    def of(self, value: float) -> str:
        if self.percent:
            return self.before + f"%{self.spelling}" % value + self.after
        return (
            self.before
            + format(int(value) if self.spelling[-1:] == "d" else value, self.spelling)
            + self.after
        )


def choice(*words: str) -> Reader:
    """One of some words."""

    def read(node: Node, what: str) -> str:
        word = text_of(node, what)
        if word not in words:
            fail(node, f"{what} is {word[:40]!r}", suggestion(word, words))
        return word

    return read


def number_format(node: Node, what: str) -> NumberFormat:
    """`{:.2%}` or `%.2f`, with text around it; a text that begins with a brace is of the first kind."""
    written = text_of(node, what)[: _MAX_FORMAT + 1]
    percent = not written.startswith("{")
    hole = (_PERCENT if percent else _BRACES).search(written.replace("%%", "\0\0") if percent else written)
    if hole is None or len(written) > _MAX_FORMAT:
        fail(node, f"{what} has no place for a number", "a format such as {:.2f} or %.2f")
    before, after = written[: hole.start()], written[hole.end() :]
    marks = "%" if percent else "{}"
    rest = before + after
    if any(mark in (rest.replace("%%", "") if percent else rest) for mark in marks):
        fail(node, f"{what} has more than one place for a number", "one place, such as {:.2f} or %.2f")
    if percent:
        before, after = before.replace("%%", "%"), after.replace("%%", "%")
    spelled = NumberFormat(before, hole[1] or "", after, percent)
    try:
        spelled.of(1.5)
    except ValueError:
        fail(node, f"{what} is no format of a number", "a format such as {:.2f} or %.2f")
    return spelled
