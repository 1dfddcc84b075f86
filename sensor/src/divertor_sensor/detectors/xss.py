"""Reflected cross-site scripting (CWE-79; OWASP A03:2021 Injection; CAPEC-591).

Rule: an input that a page repeats must stay what the page made it: text, one attribute's value, one string of
a script. Bringing an element that runs code, an event handler, a `javascript:` address, or code behind the
end of a script's string is an attack; other markup, or leaving a value to no effect (`O"Brien`), shows that
the page does not escape, a vulnerability. Markup that was escaped is text.

Of an input with elements, an app may have cut off what stands before and after them.

What it does not do: find input that was changed on its way (filtered, say), code that the page's own scripts
later make of an input (DOM-based), or that a later request stores and repeats.
"""

from __future__ import annotations

import html
import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from divertor_sensor.detectors import Candidate, Detector, Finding, Judgement, windows, worst
from divertor_sensor.detectors.pages import (
    CODE,
    COMMENT,
    NAME,
    RAW,
    REMARK,
    SCRIPT,
    TAG,
    TEMPLATE,
    TEXT,
    VALUE,
    Page,
    Segment,
    code_segments,
    tag_segments,
)
from divertor_sensor.sources.derived import derived_values
from divertor_sensor.work import Work

#: A shorter input meets a page by chance.
_MIN_LENGTH = 6
#: A plain search looks at this many characters in the time of one step.
_SEARCH = 16
_MAX_OCCURRENCES = 16
#: Characters before and after an input that decide what it is in.
_AROUND = 4096
#: Also a call with an argument, which acts where a page writes its values into code unquoted.
_SPECIAL = re.compile(
    r"[<>\"'`]|(?:\A|[\t\n\f\r /])on[a-z]{3,}[\t\n\f\r ]*+=|\w[ \t]?\([ \t]?[^\s)]", re.IGNORECASE
)
_HANDLER = re.compile(r"[\"'][\t\n\f\r /]*+on[a-z]{3,}[\t\n\f\r ]*+=", re.IGNORECASE)
#: An attribute without one of which a tag by itself does nothing: most pages have a `<form method="post">` of
#: their own, and texts speak of it.
_HARMFUL = re.compile(
    r"[\s/\"'](?:on|src|href|xlink|action|form|data|from|to|values|http-equiv|style)", re.IGNORECASE
)
_LONGEST = 16 * 1024
_ADDRESS = re.compile(
    r"(?:javascript|vbscript):|data:(?:text/(?:html|xml)|image/svg|application/xhtml)", re.I
)
_IGNORED_IN_ADDRESS = re.compile(r"[\x00-\x20]")
#: Elements that run or load code, or move the page, by their attributes or content.
_RUNS = frozenset(
    "script iframe frame object embed applet base link meta form style svg math portal animate set template"
    " isindex foreignobject".split()
)
_ADDRESSES = frozenset({"href", "xlink:href", "action", "formaction", "src", "data", "from", "to", "values"})
#: Elements whose `src` never runs as code.
_MEDIA = frozenset({"img", "image", "audio", "video", "source", "track", "input"})
#: The attribute whose value is a page.
_PAGE_WITHIN = "srcdoc"
_BARE_TAG = re.compile(r"[\s\"'>]*+</?[\w-]++\s*+/?>?\s*+")
_ACTS = re.compile(r"[;(=`{]|//|/\*")


def select(value: str) -> list[str]:
    """The forms of an input that could change a page, also as JSON or a careless escaping writes them."""
    found: dict[str, None] = {}
    for form in (*derived_values(value), *_pieces(value)):
        if len(form) < _MIN_LENGTH or not (_SPECIAL.search(form) or _is_code_address(form)):
            continue
        found[form] = None
        if '"' in form or "\\" in form or not form.isascii():
            found[json.dumps(form)[1:-1]] = None
        if ("<" in form or "&" in form or ">" in form) and ("'" in form or '"' in form):
            found[html.escape(form, quote=False)] = None
    return list(found)


def _pieces(value: str) -> Iterator[str]:
    """The elements in a text, without what stands around them or in other letters; an event handler behind a
    quote.
    """
    if len(value) > _LONGEST:
        return
    first, last = value.find("<"), value.rfind(">")
    if 0 <= first < last:
        elements = value[first : last + 1]
        if elements.count("<") > 1 or _HARMFUL.search(elements):
            yield elements
        yield value[first:]
        # Names of elements know no case, nor do character references: what they write is code in any.
        yield from (value.upper(), value.title())
    handler = _HANDLER.search(value)
    if handler is not None:
        yield value[handler.start() :]


def judge(statement: str, candidates: Sequence[Candidate], work: Work) -> Judgement:
    """Whether a candidate changes the structure of the page `statement`.

    :raises Spent: there is too much to look at.
    """
    work.spend(len(candidates) * (2 + len(statement) // _SEARCH))
    plain = [(each, statement.find(each.text)) for each in candidates]
    held = [(each, at) for each, at in plain if at >= 0]
    finding, touched = None, bool(held)
    if held:
        spots = [spot for each, at in held for spot in _occurrences(statement, each.text, at, work)]
        end = max(spot[1] for spot in spots)
        work.spend(2 * end)
        page = Page(statement[: end + _AROUND], spots)
        for candidate, at in held:
            severity = _worst(_severities(page, candidate.text, at, work))
            if severity is not None:
                finding = worst(finding, Finding(candidate.origin, severity))
            if severity:
                return Judgement(True, finding)
    for candidate in candidates:
        for form in _escaped_forms(candidate.text):
            work.spend(len(statement) // _SEARCH)
            severity = _worst(_attribute_severities(statement, form, candidate.text, work))
            if severity is not None:
                finding, touched = worst(finding, Finding(candidate.origin, severity)), True
    return Judgement(touched, finding)


def _worst(severities: Iterator[bool | None]) -> bool | None:
    found: bool | None = None
    for severity in severities:
        if severity:
            return True
        found = severity if found is None else found
    return found


def _escaped_forms(text: str) -> list[str]:
    """The text with its signs written as entities, as in an attribute; none when it has none."""
    if "'" not in text and '"' not in text and "<" not in text:
        return []
    escaped = html.escape(text)
    return list(dict.fromkeys([escaped, escaped.replace("&#x27;", "&#39;").replace("&quot;", "&#34;")]))


def _occurrences(page: str, text: str, at: int, work: Work) -> Iterator[tuple[int, int]]:
    """Where `page` holds `text`, the first time at `at`; the first few."""
    for _ in range(_MAX_OCCURRENCES):
        if at < 0:
            return
        yield at, at + len(text)
        following = page.find(text, at + 1)
        work.spend((following - at if following > 0 else len(page) - at) // _SEARCH)
        at = following


def _severities(page: Page, text: str, at: int, work: Work) -> Iterator[bool | None]:
    """For each place where the page holds `text`. None: it stays what it was made. False: it does not, to no
    effect. True: it acts.
    """
    for start, end in _occurrences(page.text, text, at, work):
        yield _severity(page, text, start, end, work)


def _severity(page: Page, text: str, start: int, end: int, work: Work) -> bool | None:
    segments = page.between(start, end)
    work.spend(4 * len(segments))
    first = segments[0]
    if len(segments) == 1:
        return _within(page, first, start, end, work)
    if any(_acts(page, segment, segments, start, end) for segment in _first_tags(segments, start)):
        return True
    if first.kind in (TEXT, RAW, SCRIPT, COMMENT) or (first.kind == TAG and first.start == start):
        return None if _BARE_TAG.fullmatch(text) else False
    # An input that begins in the middle of a tag is more likely to equal a piece of the page by chance.
    return False if first.kind == VALUE else None


def _first_tags(segments: Sequence[Segment], start: int) -> Iterator[Segment]:
    """The segments without the tags that an earlier one of the same name, brought as well, stands for: what
    gives a later one an effect gives it to that one, too. Else many tags would each look at all the others.
    """
    seen: set[str] = set()
    for segment in segments:
        if segment.kind == TAG and segment.start >= start:
            if segment.tag in seen:
                continue
            seen.add(segment.tag)
        yield segment


def _within(page: Page, segment: Segment, start: int, end: int, work: Work) -> bool | None:
    """An input inside one segment."""
    if segment.kind == SCRIPT:
        work.spend(segment.end - segment.start)
        script, is_data = page.text[segment.start : segment.end], segment.name == "data"
        return _in_code(script, page.code_of(segment), start - segment.start, end - segment.start, is_data)
    if segment.kind == VALUE:
        return _in_value(page, segment, start, end, work)
    return False if segment.kind == COMMENT and segment.start == start and end - start > 12 else None


def _in_value(page: Page, segment: Segment, start: int, end: int, work: Work) -> bool | None:
    if segment.name.startswith("on"):
        work.spend(segment.end - segment.start)
        # A browser resolves entities before it reads the code, so that a quote may be written as one.
        before, given, after = (
            html.unescape(page.text[begin:until])
            for begin, until in ((segment.start, start), (start, end), (end, segment.end))
        )
        code = before + given + after
        return _in_code(code, code_segments(code), len(before), len(before + given), False)
    if segment.name == _PAGE_WITHIN:
        text = page.text[start:end]
        return _unescaped(page.text[segment.start : segment.end], segment, text, work)
    is_first = start == segment.start
    return True if is_first and _is_address(segment) and _is_code_address(page.text[start:end]) else None


def _acts(page: Page, segment: Segment, segments: Sequence[Segment], start: int, end: int) -> bool:
    """Whether what the input brought of this segment, among others, runs or loads code."""
    if segment.kind == NAME:
        handles = segment.name.startswith("on") and len(segment.name) > 4
        return handles and start <= segment.at < end and "=" in page.text[segment.at : min(end, segment.end)]
    if segment.kind == VALUE:
        brought = segment.start >= start and segment.at >= start
        return brought and _is_address(segment) and _is_code_address(page.text[segment.start : segment.end])
    if segment.kind == TAG and segment.start >= start and segment.tag in _RUNS:
        return _has_effect(page, segment, segments, end)
    return False


def _has_effect(page: Page, tag: Segment, segments: Sequence[Segment], end: int) -> bool:
    """An element by itself does nothing: it takes an attribute, or a content."""
    later = [segment for segment in segments if segment.start > tag.start]
    if any(segment.kind == NAME and segment.tag == tag.tag for segment in later):
        return True
    contents = (segment for segment in later if segment.kind in (SCRIPT, RAW) and segment.tag == tag.tag)
    return any(page.text[segment.start : min(segment.end, end)].strip() for segment in contents)


def _attribute_severities(page: str, form: str, text: str, work: Work) -> Iterator[bool | None]:
    """For each attribute that holds `form`, which is `text` with its quotes escaped: that does not help in an
    event handler or an address. Only the tag before each place is read, not the page.
    """
    at = page.find(form)
    for _ in range(_MAX_OCCURRENCES):
        if at < 0:
            return
        opened = page.rfind("<", max(0, at - _AROUND), at)
        end = at + len(form)
        work.spend(2 * (end - opened) if opened >= 0 else 8)
        segments = tag_segments(page[opened : end + _AROUND]) if opened >= 0 else []
        for segment in segments:
            if segment.kind == VALUE and segment.start <= at - opened < segment.end:
                yield _unescaped(page[opened + segment.start : opened + segment.end], segment, text, work)
        at = page.find(form, end)


def _unescaped(value: str, segment: Segment, text: str, work: Work) -> bool | None:
    value = html.unescape(value)
    at = value.find(text)
    if at >= 0 and segment.name == _PAGE_WITHIN:
        return _of_page_within(value, text, at, work)
    if at >= 0 and segment.name.startswith("on"):
        return _in_code(value, code_segments(value), at, at + len(text), False)
    return True if at == 0 and _is_address(segment) and _is_code_address(value) else None


def _of_page_within(value: str, text: str, at: int, work: Work) -> bool | None:
    """An input in the page that an attribute holds."""
    work.spend(2 * len(value))
    return _worst(_severities(Page(value), text, at, work))


def _is_address(segment: Segment) -> bool:
    return segment.name in _ADDRESSES and not (segment.name == "src" and segment.tag in _MEDIA)


def _is_code_address(text: str) -> bool:
    """Whether a browser that follows this address runs it: control characters and blanks are passed over."""
    start = _IGNORED_IN_ADDRESS.sub("", html.unescape(text[:256]))
    return _ADDRESS.match(start) is not None


def _in_code(code: str, cut: Sequence[Segment], start: int, end: int, is_data: bool) -> bool | None:
    """An input in a script, `cut` into its segments: it must stay within a string, or be a plain value."""
    first_at = max(0, bisect_right(cut, start, key=_start_of) - 1)
    segments = cut[first_at : bisect_left(cut, end, key=_start_of)]
    if not segments:
        return None
    first, text = segments[0], code[start:end]
    if start == first.start and _is_json(text):
        return None
    if len(segments) == 1 and first.kind != CODE:
        if first.kind == TEMPLATE:
            return True if "${" in text and start > first.start else None
        # A string that the input itself opened or closed is not the page's.
        inside = start > first.start and (end < first.end or first.kind == REMARK)
        return None if inside else False
    if first.kind == CODE or start == first.start:
        return None if _is_json(text) else not is_data and _ACTS.search(text) is not None
    return not is_data and _ACTS.search(code[first.end : end]) is not None


def _start_of(segment: Segment) -> int:
    return segment.start


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_innocent(page: str) -> bool:
    """Whether nothing in it is markup."""
    return "<" not in page


DETECTOR = Detector(
    type="xss",
    cwe="CWE-79",
    owasp="A03:2021",
    select=select,
    judge=judge,
    is_innocent=_is_innocent,
    marks=windows,
)
