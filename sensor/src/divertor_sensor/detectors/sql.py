"""SQL injection by the token-boundary rule (CWE-89; OWASP A03:2021 Injection, API8:2023).

Rule: where an input occurs in a statement, it must lie within one token (a literal, a quoted name, a
number, a plain name, the inside of a closed comment). When it does not, the input decided about the
statement's structure. An unclosed quote or comment is a token that runs to the end, as SQLite reads it.

Three cures keep honest requests out of it:
 - a statement seen before at the same call site without the input is the program's own (kept by the caller);
 - an unquoted fragment that can only order, list or page (`name desc`, `1, 2, 3`) is harmless by a small
    grammar;
 - a literal broken by text that does not go on as SQL (`O'Brien`) is a vulnerability reached, and no attack.

What it does not do: follow input through storage (second order), or through a transformation other than those
of `divertor_sensor.inputs.derived_values` and truncation. Only SQLite's lexical rules are built in; another
dialect is one more pair of patterns.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from divertor_sensor.detectors import UNTOUCHED, Candidate, Detector, Finding, Judgement, worst
from divertor_sensor.inputs import derived_values

_MAX_OCCURRENCES = 1024
#: Characters of occurrences judged per input, so that many overlapping long ones cannot cost quadratic time.
_MAX_JUDGED = 256 * 1024
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
_FINE = re.compile(
    r"""(?P<comment>--|/\*)
      |(?P<operand>'(?:[^']++|'')*+(?:'|\Z)|"(?:[^"]++|"")*+(?:"|\Z)|`(?:[^`]++|``)*+(?:`|\Z)
        |[@:$]\w+|\?|0x[0-9a-f]+|\d+(?:\.\d*)?(?:e[+-]?\d+)?|\.\d+)
      |(?P<word>[^\W\d][\w$]*(?:\s*\.\s*[^\W\d][\w$]*)*)
      |(?P<end>;)
      |(?P<close>\))
      |(?P<operator>[=<>|&+\-*/%~!(,])
      |(?P<other>\S)""",
    re.VERBOSE,
)
_KEYWORDS = frozenset(
    """
    all and any as asc attach begin between by case collate create cross delete desc detach distinct div
    drop else end escape except exec execute exists from full glob group having if in inner insert
    intersect into is isnull join left like limit match mod natural not notnull offset on or order outer
    outfile pragma procedure regexp replace returning right rlike select set some table then truncate
    union update using values when where with xor
    """.split()
)
_STATEMENTS = (
    r"(?:select|insert|update|delete|drop|create|alter|attach|pragma|replace|truncate|exec|with|vacuum)\b"
)
_STRONG = re.compile(
    r"--|/\*|\|\||\(\s*select\b"
    r"|\bunion\s+(?:all\s+|distinct\s+)?select\b"
    r"|;\s*" + _STATEMENTS + r"|\b(?:or|and|xor)\b[^=<>]{1,64}?[=<>]"
    r"|\b(?:load_extension|randomblob|sleep|pg_sleep|benchmark|extractvalue|updatexml|char|sqlite_version)\s*\("
    r"|\bwaitfor\s+delay\b|\binto\s+(?:out|dump)file\b|\b(?:information_schema|sqlite_master|sqlite_schema)\b",
    re.DOTALL,
)

_NAME = r"(?:\w+(?:\.\w+){0,2})"
_COLUMN = (
    rf"(?:(?:count|sum|avg|min|max|lower|upper|length|date|abs)\(\s*(?:\*|{_NAME})\s*\)|random\(\)|{_NAME})"
)
_ORDERED = rf"{_COLUMN}(?:\s+collate\s+\w+)?(?:\s+(?:asc|desc))?(?:\s+nulls\s+(?:first|last))?"
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?"
_LITERAL = rf"(?:{_NUMBER}|'[^']*')"
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


def judge(statement: str, candidates: Sequence[Candidate]) -> Judgement:
    """Whether a candidate leaves its token in `statement` (SQLite's lexical rules)."""
    text = statement.lower()
    shields: list[_Shield] | None = None
    finding: Finding | None = None
    for candidate in candidates:
        occurrences = _occurrences(text, candidate.text)
        if not occurrences:
            continue
        if shields is None:
            shields = [_Shield(*match.span(), match.lastgroup or "") for match in _SHIELDS.finditer(text)]
        found = _first_crossing(text, shields, candidate, occurrences)
        finding = worst(finding, found)
        if finding is not None and finding.hostile:
            break
    return UNTOUCHED if shields is None else Judgement(True, finding)


def _occurrences(text: str, needle: str) -> list[tuple[int, int]]:
    at = text.find(needle)
    if at < 0:
        return _cut_occurrence(text, needle)
    spans: list[tuple[int, int]] = []
    limit = min(_MAX_OCCURRENCES, 1 + _MAX_JUDGED // len(needle))
    while at >= 0 and len(spans) < limit:
        spans.append((at, at + len(needle)))
        at = text.find(needle, at + 1)
    return spans


def _cut_occurrence(text: str, needle: str) -> list[tuple[int, int]]:
    """Where an app cut a long input: as much of it as the statement holds."""
    at = text.find(needle[:_HEAD]) if len(needle) > _HEAD else -1
    if at < 0:
        return []
    low, high = _HEAD, len(needle)
    while low < high:
        middle = (low + high + 1) // 2
        if text.startswith(needle[:middle], at):
            low = middle
        else:
            high = middle - 1
    return [(at, at + low)]


def _first_crossing(
    text: str, shields: list[_Shield], candidate: Candidate, occurrences: list[tuple[int, int]]
) -> Finding | None:
    finding: Finding | None = None
    starts = [shield.start for shield in shields]
    for start, end in occurrences:
        index = bisect_right(starts, start) - 1
        shield = shields[index] if index >= 0 and start < shields[index].end else None
        severity = _severity(text, shield, start, end)
        if severity is not None:
            finding = worst(finding, Finding(candidate.origin, severity))
            if severity:
                return finding
    return finding


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
    return _goes_on(text[shield.end : end], after_operand=True)


def _holds(shield: _Shield, start: int, end: int) -> bool:
    if shield.kind == "quoted":
        return end <= shield.end
    if shield.kind == "block":
        return start >= shield.start + 2 and end <= shield.end - 2
    return shield.kind == "line" and start >= shield.start + 2 and end <= shield.end


def _unquoted_severity(fragment: str) -> bool | None:
    return None if _is_harmless(fragment) else _goes_on(fragment, after_operand=False)


def _is_harmless(fragment: str) -> bool:
    if len(fragment) > _MAX_FRAGMENT or not _HARMLESS.fullmatch(fragment):
        return False
    return not _NOT_NAMES.search(_without_paging(fragment))


def _without_paging(fragment: str) -> str:
    return re.sub(r"\b(?:limit|offset)\b(?=\s+\d)", "", re.sub(r"'[^']*'", "", fragment))


def _goes_on(rest: str, after_operand: bool) -> bool:
    """Whether text after a break reads on as SQL: operands and operators take turns, or a strong sign is
    there.
    """
    return _alternates(_tokens(rest), after_operand) or _STRONG.search(rest) is not None


def _tokens(text: str) -> Iterator[str]:
    for match in _FINE.finditer(text):
        kind = match.lastgroup or ""
        if kind == "word":
            kind = "operator" if match[0] in _KEYWORDS else "operand"
        yield kind


def _alternates(kinds: Iterator[str], after_operand: bool) -> bool:
    """False at the first place where two operands meet: prose does that, SQL's expressions do not."""
    operators = 0
    for kind in kinds:
        if kind in {"comment", "end"}:
            return True
        if kind == "operand":
            if after_operand:
                return False
            after_operand = True
        elif kind == "close":
            after_operand = True
        elif kind == "other":
            return False
        else:
            operators += 1
            after_operand = False
    return operators > 0


DETECTOR = Detector(
    type="sql_injection",
    cwe="CWE-89",
    owasp="A03:2021",
    select=select,
    judge=judge,
)
