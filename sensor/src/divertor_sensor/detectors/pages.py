"""Splits a page of HTML into segments, so that a detector can ask whether an input stays within one.

Pure and linear: one pass, each character looked at a bounded number of times. It follows the tokenization of
the HTML standard (https://html.spec.whatwg.org/multipage/parsing.html#tokenization) as far as it decides what
is text, a tag, an attribute, a value, a comment, or the raw text of an element such as `script`; it builds no
tree. `code_segments` does the same for the strings and comments of JavaScript.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

TEXT, TAG, NAME, VALUE, END, COMMENT, RAW, SCRIPT = (
    "text",
    "tag",
    "name",
    "value",
    "end",
    "comment",
    "raw",
    "script",
)
#: Code between strings and comments, and the kinds of those.
CODE, STRING, TEMPLATE, REMARK = "code", "string", "template", "remark"

_MARKUP = re.compile(r"<[A-Za-z/!?]")
_TAG = re.compile(r"<(/?)([A-Za-z][^\t\n\f\r />]*+)")
_ATTRIBUTE = re.compile(
    r"[\t\n\f\r /]*+(=?[^\t\n\f\r />=]*+)"
    r"(?:[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:\"([^\"]*+)(?:\"|\Z)|'([^']*+)(?:'|\Z)|([^\t\n\f\r >]*+)))?+"
)
#: The same tag with its attributes as a whole, up to its end.
_REST = (
    r"[^\t\n\f\r />]*+(?:[\t\n\f\r /]*+(?:=[^\t\n\f\r />=]*+|[^\t\n\f\r />=]++)"
    r"(?:[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:\"[^\"]*+\"|'[^']*+'|(?![\"'])[^\t\n\f\r >]*+)"
    r"|(?![\t\n\f\r ]*+=)))*+[\t\n\f\r /]*+>"
)
_WHOLE = re.compile(rf"</?[A-Za-z]{_REST}")
_RAW_NAMES = ("script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes", "noscript")
#: Text and tags, up to the end of a tag, none of which opens an element with raw text.
_RUN = re.compile(
    rf"(?:[^<]*+(?:<(?![A-Za-z/!?])[^<]*+)*+"
    rf"<(?!(?i:{'|'.join(_RAW_NAMES)})[\t\n\f\r />])/?[A-Za-z]{_REST})*+"
)
_COMMENT_END = re.compile(r"--!?>")
_RAW_ENDS = {name: re.compile(rf"</{name}(?=[\t\n\f\r />])", re.IGNORECASE) for name in _RAW_NAMES}
#: Values of `type` that make a script a program; what else there is holds data.
_PROGRAM = re.compile(r"\s*(?:module|(?:text|application)/(?:x-)?(?:java|ecma|j)script[\w.;= -]*)?\s*", re.I)
_DATA = re.compile(r"\s*(?:application/[\w.+-]*json|importmap|speculationrules)\b", re.I)

_CODE = re.compile(
    r"""(?P<string>'(?:[^'\\\n]|\\.)*+'?|"(?:[^"\\\n]|\\.)*+"?)
      |(?P<template>`(?:[^`\\]|\\.)*+(?:`|\Z))
      |(?P<remark>//[^\n]*+|/\*.*?(?:\*/|\Z)|<!--[^\n]*+)
      |(?P<code>(?<=[(,=:\[!&|?{};])[ \t]*+/(?![*/])(?:[^/\\\n\[]|\\.|\[(?:[^\]\\\n]|\\.){0,200}+\]){1,500}+/)
    """,
    re.VERBOSE | re.DOTALL,
)


class Segment(NamedTuple):
    """A stretch of a page. `tag` is the element's name and `name` the attribute's, in lower case; `at` is
    where that name begins. Of `script`, `name` tells the kind: empty for a program, `data` for JSON.
    """

    start: int
    end: int
    kind: str
    tag: str = ""
    name: str = ""
    at: int = 0


class Page:
    """A page's text and its segments, which follow each other without gaps; with `spots` (from, to) only
    those that hold one of them, which takes a fraction of the time.
    """

    def __init__(self, text: str, spots: Iterable[tuple[int, int]] | None = None) -> None:
        self.text = text
        wanted = _Spots([(0, len(text))] if spots is None else spots)
        self.segments = list(_segments(text, wanted))
        self._starts = [segment.start for segment in self.segments]
        self._code: dict[int, Sequence[Segment]] = {}

    def code_of(self, script: Segment) -> Sequence[Segment]:
        """`code_segments` of a script, cut once: an input may occur in it hundreds of times."""
        known = self._code.get(script.start)
        if known is None:
            known = self._code[script.start] = code_segments(self.text[script.start : script.end])
        return known

    def between(self, start: int, end: int) -> Sequence[Segment]:
        """The segments that hold the characters from `start` up to `end`."""
        first = max(0, bisect_right(self._starts, start) - 1)
        last = bisect_right(self._starts, end - 1)
        return self.segments[first:last]


def code_segments(code: str) -> list[Segment]:
    """A script's strings (with their quotes), templates, remarks, and the code between them."""
    found: list[Segment] = []
    at = 0
    for match in _CODE.finditer(code):
        if match.start() > at:
            found.append(Segment(at, match.start(), CODE))
        found.append(Segment(match.start(), match.end(), match.lastgroup or CODE))
        at = match.end()
    if at < len(code):
        found.append(Segment(at, len(code), CODE))
    return found


def tag_segments(text: str) -> list[Segment]:
    """The segments of the tag that `text` begins with; none when it begins with no tag."""
    tag = _TAG.match(text)
    return list(_tag_segments(text, tag)) if tag else []


class _Spots:
    """Places in a text, asked for from its beginning to its end."""

    def __init__(self, spots: Iterable[tuple[int, int]]) -> None:
        self._left = sorted(spots, reverse=True)

    def touch(self, start: int, end: int) -> bool:
        """Whether any lies in this stretch, at least in part. Stretches must be asked for in order."""
        following = self.next(start)
        return following is not None and following < end

    def next(self, start: int) -> int | None:
        """Where the first begins that ends after `start`; None when there is none."""
        left = self._left
        while left and left[-1][1] <= start:
            left.pop()
        return left[-1][0] if left else None


def _segments(text: str, wanted: _Spots) -> Iterator[Segment]:
    at = 0
    while (following := wanted.next(at)) is not None and at < len(text):
        run = _RUN.match(text, at, max(at, following))
        at = run.end() if run else at
        match = _MARKUP.search(text, at)
        start = match.start() if match else len(text)
        if start > at and wanted.touch(at, start):
            yield Segment(at, start, TEXT)
        if match is None:
            return
        tag = _TAG.match(text, start)
        if tag is None:
            at = _comment_end(text, start)
            if wanted.touch(start, at):
                yield Segment(start, at, COMMENT)
            continue
        whole = _WHOLE.match(text, start)
        parts: list[Segment] = []
        if whole is None or wanted.touch(start, whole.end()):
            parts = list(_tag_segments(text, tag))
            yield from parts
        at = parts[-1].end if whole is None else whole.end()
        raw_end = None if tag[1] else _RAW_ENDS.get(tag[2].lower())
        if raw_end is not None:
            found = raw_end.search(text, at)
            end = found.start() if found else len(text)
            if end > at and wanted.touch(at, end):
                yield _raw(text, parts or list(_tag_segments(text, tag)), at, end)
            at = end


def _comment_end(text: str, start: int) -> int:
    if not text.startswith("<!--", start):
        end = text.find(">", start)
        return end + 1 if end >= 0 else len(text)
    for short in ("<!-->", "<!--->"):
        if text.startswith(short, start):
            return start + len(short)
    found = _COMMENT_END.search(text, start + 4)
    return found.end() if found else len(text)


def _tag_segments(text: str, tag: re.Match[str]) -> Iterator[Segment]:
    """The tag's name, then names and values of its attributes, then its end. A closing tag's name has its
    slash.
    """
    name, at = tag[1] + tag[2].lower(), tag.end()
    yield Segment(tag.start(), at, TAG, name)
    while at < len(text):
        match = _ATTRIBUTE.match(text, at)
        if match is None or not match[1]:
            break
        group = match.lastindex or 1
        attribute = match[1].lower()
        if group == 1:
            yield Segment(at, match.end(), NAME, name, attribute, match.start(1))
            at = match.end()
            continue
        start, end = match.span(group)
        yield Segment(at, start, NAME, name, attribute, match.start(1))
        if end > start:
            yield Segment(start, end, VALUE, name, attribute, match.start(1))
        at = end
        if group < 4 and end < len(text):
            # The quote belongs to what comes next: an input that holds it has left the value.
            closing = _ATTRIBUTE.match(text, end + 1)
            if closing is None or not closing[1]:
                break
            yield Segment(end, end + 1, END, name)
            at = end + 1
    close = text.find(">", at)
    end = close + 1 if close >= 0 else len(text)
    if end > at:
        yield Segment(at, end, END, name)


def _raw(text: str, parts: Sequence[Segment], start: int, end: int) -> Segment:
    tag = parts[0].tag
    if tag != "script":
        return Segment(start, end, RAW, tag)
    given = [text[part.start : part.end] for part in parts if part.kind == VALUE and part.name == "type"]
    kind = given[0] if given else ""
    if _PROGRAM.fullmatch(kind):
        return Segment(start, end, SCRIPT, tag)
    return Segment(start, end, SCRIPT, tag, "data") if _DATA.match(kind) else Segment(start, end, RAW, tag)
