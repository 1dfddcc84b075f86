"""Splits a page of HTML into segments, so that a detector can ask whether an input stays within one.

Pure and linear: one pass, each character looked at a bounded number of times. It follows the tokenization of
the HTML standard (https://html.spec.whatwg.org/multipage/parsing.html#tokenization) as far as it decides what
is text, a tag, an attribute, a value, a comment, or the raw text of an element such as `script`; it builds no
tree. `code_segments` does the same for the strings and comments of JavaScript.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
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
_COMMENT_END = re.compile(r"--!?>")
_RAW_ENDS = {
    name: re.compile(rf"</{name}(?=[\t\n\f\r />])", re.IGNORECASE)
    for name in ("script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes")
}
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
    """A page's text and its segments, which follow each other without gaps."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.segments = list(_segments(text))
        self._starts = [segment.start for segment in self.segments]

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


def _segments(text: str) -> Iterator[Segment]:
    at = 0
    while at < len(text):
        match = _MARKUP.search(text, at)
        start = match.start() if match else len(text)
        if start > at:
            yield Segment(at, start, TEXT)
        if match is None:
            return
        tag = _TAG.match(text, start)
        if tag is None:
            at = _comment_end(text, start)
            yield Segment(start, at, COMMENT)
            continue
        parts = list(_tag_segments(text, tag))
        yield from parts
        at = parts[-1].end
        raw_end = None if tag[1] else _RAW_ENDS.get(tag[2].lower())
        if raw_end is not None:
            found = raw_end.search(text, at)
            end = found.start() if found else len(text)
            if end > at:
                yield _raw(text, parts, at, end)
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
