"""SQL injection by the token-boundary rule (CWE-89; OWASP A03:2021 Injection, API8:2023).

Rule: where an input occurs in a statement, it must lie within one token (a literal, a quoted name, a
number, a plain name, the inside of a closed comment). When it does not, the input decided about the
statement's structure. An unclosed quote or comment is a token that runs to the end, as SQLite reads it.

Three cures keep honest requests out of it:
 - a statement seen before at the same call site without the input is the program's own (kept by the caller);
 - an unquoted fragment that can only order, list or page (`name desc`, `1, 2, 3`) is harmless by a small
    grammar;
 - a literal broken by what can only be the rest of a name (`O'Brien`) is a vulnerability reached, and no
    attack. In doubt it is one.

What it does not do: follow input through storage (second order), or through a transformation other than those
of `divertor_sensor.derived.derived_values` and truncation. Only SQLite's lexical rules are built in; another
dialect is one more pair of patterns.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from divertor_sensor.derived import derived_values
from divertor_sensor.detectors import UNTOUCHED, Candidate, Detector, Finding, Judgement, windows, worst
from divertor_sensor.work import Work

#: A plain search looks at this many characters in the time of one step.
_SEARCH = 16
#: The grammar of harmless fragments is for short ones; its patterns may look at white space twice.
_MAX_FRAGMENT = 256
#: An input cut by the app is recognised by its first characters; fewer would meet by chance.
_HEAD = 16

#: Whatever shields its content in SQLite. Possessive, so that a long statement costs linear time.
_SHIELDS = re.compile(
    r"""(?P<quoted>'(?:[^']++|'')*+'|"(?:[^"]++|"")*+"|`(?:[^`]++|``)*+`|\[[^\]]*+\])
      |(?P<line>--[^\n]*+)
      |(?P<block>/\*(?:[^*]++|\*(?!/))*+\*/)
      |(?P<open>['"`\[].*+|/\*.*+)""",
    re.VERBOSE | re.DOTALL,
)
#: Every keyword of SQLite, and some of other dialects: what makes a word more than a name.
_KEYWORD = re.compile(
    r"\b(?:"
    + "|".join(
        """
        abort action add after all alter always analyze and any as asc attach autoincrement before begin
        between by cascade case cast check collate column commit conflict constraint create cross current
        current_date current_time current_timestamp database default deferrable deferred delete desc detach
        distinct div do drop each else end escape except exclude exclusive exec execute exists explain fail
        false filter first following for foreign from full generated glob group groups having if ignore
        immediate in index indexed initially inner insert instead intersect into is isnull join key last left
        like limit match materialized mod natural no not nothing notnull null nulls of offset on or order
        others outer outfile over partition plan pragma preceding primary procedure query raise range
        recursive references regexp reindex release rename replace restrict returning right rlike rollback
        row rows savepoint select set some table temp temporary then ties to transaction trigger true truncate
        unbounded union unique update using vacuum values view virtual waitfor when where window with without
        xor
        """.split()
    )
    + r")\b"
)
#: The rest of a name after an apostrophe that was not escaped: words first, so that two operands meet, which
#: no expression allows.
_REST_OF_NAME = re.compile(r"\s?[^\W\d][\w\s]*+(?:[.&][\w\s]*+){0,3}|\s*")
_MAX_REST = 64
#: As an input on its own, one of them meets those of the program.
_QUOTES = frozenset("'\"`")
#: Words that follow each other without any sign.
_PROSE = re.compile(r"\s*\w+(?:\s+\w+)*+[\s.]*")

_NAME = r"(?:\w+(?:\.\w+){0,2})"
_COLUMN = (
    rf"(?:(?:count|sum|avg|min|max|lower|upper|length|date|abs)\(\s*(?:\*|{_NAME})\s*\)|random\(\)|{_NAME})"
)
_ORDERED = rf"{_COLUMN}(?:\s+collate\s+\w+)?(?:\s+(?:asc|desc))?(?:\s+nulls\s+(?:first|last))?"
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?"
_LITERAL = rf"(?:{_NUMBER}|'[^']*'|\"[^\"]*\")"
_HARMLESS = re.compile(
    rf"\s*(?:{_ORDERED}(?:\s*,\s*{_ORDERED})*"
    rf"|[(]?\s*{_LITERAL}(?:\s*,\s*{_LITERAL})*\s*[)]?"
    rf"|(?:limit\s+)?\d+(?:\s*,\s*\d+|\s+offset\s+\d+)?"
    rf"|\d{{4}}-\d\d-\d\d)\s*,?\s*"
)
_PLAIN = re.compile(r"[\w$]*|[\d\s,]*")
_SHORT_PUNCTUATION = re.compile(r"(?!.?(?:--|/\*))[^\w'\"`]{1,3}")
_NOT_NAMES = re.compile(
    r"\b(?:select|union|from|where|and|or|not|in|like|case|null|exists|between|is|glob|limit|offset|join)\b"
)


class _Shield(NamedTuple):
    start: int
    end: int
    kind: str


def select(value: str) -> list[str]:
    """The lower-cased forms of an input that could change a statement; plain words and numbers cannot."""
    texts = []
    for form in derived_values(value):
        if _PLAIN.fullmatch(form) or _SHORT_PUNCTUATION.fullmatch(form):
            continue
        texts.append(form.lower())
    return texts


def judge(statement: str, candidates: Sequence[Candidate], work: Work) -> Judgement:
    """Whether a candidate leaves its token in `statement` (SQLite's lexical rules).

    :raises Spent: there is too much to look at.
    """
    text = statement.lower()
    lexed: _Lexed | None = None
    finding: Finding | None = None
    work.spend(len(candidates) * (2 + len(text) // _SEARCH))
    for candidate in candidates:
        at = text.find(candidate.text)
        if at < 0 and (len(candidate.text) <= _HEAD or candidate.text[:_HEAD] not in text):
            continue
        if lexed is None:
            lexed = _lex(text, work)
        finding = worst(finding, _worst_occurrence(lexed, candidate, at, work))
        if finding is not None and finding.hostile:
            break
    return UNTOUCHED if lexed is None else Judgement(True, finding)


class _Lexed(NamedTuple):
    """A statement and what shields parts of it, in order; `starts` is where the shields begin."""

    text: str
    shields: list[_Shield]
    starts: list[int]


def _lex(text: str, work: Work) -> _Lexed:
    work.spend(len(text))
    shields = [_Shield(*match.span(), match.lastgroup or "") for match in _SHIELDS.finditer(text)]
    return _Lexed(text, shields, [shield.start for shield in shields])


def _worst_occurrence(lexed: _Lexed, candidate: Candidate, at: int, work: Work) -> Finding | None:
    finding: Finding | None = None
    for start, end in _occurrences(lexed.text, candidate.text, at, work):
        index = bisect_right(lexed.starts, start) - 1
        shield = lexed.shields[index] if index >= 0 and start < lexed.shields[index].end else None
        severity = _severity(lexed.text, shield, start, end)
        if severity is not None:
            finding = worst(finding, Finding(candidate.origin, severity))
            if severity:
                return finding
    return finding


def _occurrences(text: str, needle: str, at: int, work: Work) -> Iterator[tuple[int, int]]:
    if at < 0:
        yield _cut_occurrence(text, needle, work)
    while at >= 0:
        work.spend(8 + len(needle))
        yield at, at + len(needle)
        following = text.find(needle, at + 1)
        work.spend((following - at if following > 0 else len(text) - at) // _SEARCH)
        at = following


def _cut_occurrence(text: str, needle: str, work: Work) -> tuple[int, int]:
    """Where an app cut a long input: as much of it as the statement holds."""
    work.spend(8 + len(needle))
    at = text.find(needle[:_HEAD])
    low, high = _HEAD, len(needle)
    while low < high:
        middle = (low + high + 1) // 2
        if text.startswith(needle[:middle], at):
            low = middle
        else:
            high = middle - 1
    return at, at + low


def _severity(text: str, shield: _Shield | None, start: int, end: int) -> bool | None:
    """None: within one token. False: out of it, to no effect. True: out of it, and it goes on as SQL."""
    if shield is None:
        return _unquoted_severity(text[start:end])
    if _holds(shield, start, end):
        return None
    if start == shield.start:
        # The input brought the quote or comment itself: nothing shielded it.
        return _unquoted_severity(text[start:end])
    if shield.kind == "open":
        return False
    return _goes_on(text[shield.end : end])


def _holds(shield: _Shield, start: int, end: int) -> bool:
    if shield.kind == "quoted":
        return end <= shield.end
    if shield.kind == "block":
        return start >= shield.start + 2 and end <= shield.end - 2
    return shield.kind == "line" and start >= shield.start + 2 and end <= shield.end


def _unquoted_severity(fragment: str) -> bool | None:
    if _is_harmless(fragment):
        return None
    if fragment.strip() in _QUOTES:
        return False
    return _KEYWORD.search(fragment) is not None or not _PROSE.fullmatch(fragment)


def _is_harmless(fragment: str) -> bool:
    if len(fragment) > _MAX_FRAGMENT or not _HARMLESS.fullmatch(fragment):
        return False
    return not _NOT_NAMES.search(_without_paging(fragment))


def _without_paging(fragment: str) -> str:
    return re.sub(r"\b(?:limit|offset)\b(?=\s+\d)", "", re.sub(r"'[^']*'|\"[^\"]*\"", "", fragment))


def _goes_on(rest: str) -> bool:
    """Whether text after a broken literal could go on as SQL. In doubt it does: only the short rest of a
    name (`O'Brien`, `D'Arcy & Co.`) does not.
    """
    if len(rest) > _MAX_REST or not _REST_OF_NAME.fullmatch(rest):
        return True
    return _KEYWORD.search(rest) is not None


_PLACEHOLDER = re.compile(r"\?\d*|(?<![\w:])[:@$]\w+|%s|%\(\w+\)s")
_PAGING = re.compile(r"\b(?:limit|offset)\s+\d+")
_QUOTED_NAME = re.compile(r'"[\w.$ ]*"')
_FREE_OF_VALUES = re.compile(r"[\w\s.,()*=<>!+$]*+")
_NOT_INNOCENT = re.compile(
    r"\b\d|\b(?:union|except|intersect|case|attach|pragma|load_extension)\b|\bselect\b.*\bselect\b", re.DOTALL
)


def is_innocent(statement: str) -> bool:
    """Whether a statement holds no literal, number or comment and one query only: every value in it is
    bound.
    """
    text = _QUOTED_NAME.sub("n", _PAGING.sub("", _PLACEHOLDER.sub("", statement.lower())))
    return _FREE_OF_VALUES.fullmatch(text) is not None and _NOT_INNOCENT.search(text) is None


#: What an input needs to leave its place: a sign, a digit, or a word that joins conditions or queries.
_LEVER = re.compile(r"[^\w\s]|\d| (?:or|and|not|is|in|sel|lik|nul|glo|bet)|union")


def marks(statement: str) -> list[str]:
    """The pieces of a statement that an injection could have brought."""
    return [piece for piece in windows(statement) if _LEVER.search(piece)]


DETECTOR = Detector(
    type="sql_injection",
    cwe="CWE-89",
    owasp="A03:2021",
    select=select,
    judge=judge,
    is_innocent=is_innocent,
    marks=marks,
)
