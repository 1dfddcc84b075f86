"""LDAP injection, into filters and names (CWE-90; OWASP A03:2021 Injection; CAPEC-136).

Rule for a filter (RFC 4515): an input may be one value of an assertion or a plain attribute. It is an attack
when it brings a parenthesis together with an operator, or one that is not closed or not opened; when it
brings the assertion's own operator; or a NUL, where C libraries end. Balanced parentheses around mere words
(`Bob (the builder)`) break the filter and do nothing: a vulnerability. A wildcard turns equality into
presence or a search by letters, an attack, unless the app surrounds the value with wildcards of its own.

Rule for a distinguished name (RFC 4514): an input may be one value. A separator that starts a further part
(`x,ou=admins`) is an attack, any other unescaped separator (`Smith, John`) a vulnerability. An input that is
the whole name is what directory browsers are for.

A statement is a filter, or a name behind `NAME`. What it does not do: know which attributes an app meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from divertor_sensor.detectors import UNTOUCHED, Candidate, Detector, Finding, Judgement, windows, worst
from divertor_sensor.sources.derived import derived_values
from divertor_sensor.work import Work

#: What a statement that is a distinguished name begins with.
NAME = "dn: "
#: A plain search looks at this many characters in the time of one step.
_SEARCH = 16
#: An assertion is looked for this far around an input.
_MAX_ASSERTION = 1024
_SIGN = re.compile(r'[()*\0=&|!<>~\\,+;"#]')
_OPERATORS = re.compile(r"[=&|!*~<>]")
#: A parenthesis or wildcard as RFC 4515 has it escaped: who does so has not taken a bare one from an input.
_ESCAPE = re.compile(r"\\2[89aA]")
#: A parenthesis beside an operator: no text has these by chance.
_STRUCTURE = re.compile(r"[()][&|!]|[=*][()]|[()][^()=]*+=")
_LONGEST = 4096
_SEPARATORS = "@\\/ ,:;|"
_ATTRIBUTE = re.compile(r"\s*[\w.;-]*\s*")
_NEW_PART = re.compile(r"(?<!\\)[,+;]\s*+[\w.-]++\s*+=")
_SEPARATOR = re.compile(r"(?<!\\)[,+;]")


def select(value: str) -> list[str]:
    """The forms of an input that hold a sign of a filter or a name, and pieces of it that are no value."""
    forms = [form for form in derived_values(value) if _SIGN.search(form)]
    if len(value) > _LONGEST or not _STRUCTURE.search(value):
        return forms
    return [*forms, *_pieces(value)]


def _pieces(value: str) -> Iterator[str]:
    """What an app takes of a name: before or behind a domain's sign, a blank, or another separator."""
    for separator in _SEPARATORS:
        if separator in value:
            ends = (*value.partition(separator)[::2], *value.rpartition(separator)[::2])
            yield from (piece.strip() for piece in ends if _STRUCTURE.search(piece))


def judge(statement: str, candidates: Sequence[Candidate], work: Work) -> Judgement:
    """Whether a candidate changed the structure of the filter, or of the name, `statement`.

    :raises Spent: there is too much to look at.
    """
    finding: Finding | None = None
    touched = False
    start = len(NAME) if statement.startswith(NAME) else 0
    work.spend(len(candidates) * (2 + len(statement) // _SEARCH))
    for candidate in candidates:
        at = statement.find(candidate.text, start)
        if at < 0:
            continue
        touched = True
        finding = worst(finding, _worst_occurrence(statement, candidate, at, start, work))
        if finding is not None and finding.hostile:
            break
    return Judgement(True, finding) if touched else UNTOUCHED


def _worst_occurrence(
    statement: str, candidate: Candidate, at: int, start: int, work: Work
) -> Finding | None:
    finding: Finding | None = None
    escapes = _ESCAPE.search(statement) is not None
    while at >= 0:
        end = at + len(candidate.text)
        work.spend(16 + len(candidate.text) + min(len(statement), 2 * _MAX_ASSERTION) // _SEARCH)
        hostile = (
            _name_severity(statement, at, end) if start else _filter_severity(statement, at, end, escapes)
        )
        if hostile is not None:
            finding = worst(finding, Finding(candidate.origin, hostile))
        if hostile:
            return finding
        at = statement.find(candidate.text, at + 1)
    return finding


def _filter_severity(text: str, start: int, end: int, escapes: bool) -> bool | None:
    """None: one value, or a plain attribute. False: it breaks the filter. True: it decides what it means."""
    part = text[start:end]
    if "\0" in part:
        return True
    if len(part) == 1 and part != "*":
        # Every filter has it, and alone it does nothing.
        return False if part in "()" and not escapes else None
    if "(" in part or ")" in part:
        return _OPERATORS.search(part) is not None or not _is_balanced(part)
    first, last = max(0, start - _MAX_ASSERTION), end + _MAX_ASSERTION
    opened = max(text.rfind("(", first, start) + 1, first)
    closed = text.find(")", end, last)
    closed = min(last, len(text)) if closed < 0 else closed
    equals = text.find("=", opened, closed)
    if equals < 0 or end <= equals:
        return None if _ATTRIBUTE.fullmatch(part) or part.strip() in {"&", "|", "!"} else True
    if start <= equals:
        return True
    if text[start:end] == text[equals + 1 : closed] == "*":
        # `(objectClass=*)` is everybody's.
        return None if escapes or text[opened:equals].strip().lower() == "objectclass" else True
    return _wildcard_severity(text, (equals + 1, closed), (start, end))


def _wildcard_severity(text: str, value: tuple[int, int], found: tuple[int, int]) -> bool | None:
    if "*" not in text[found[0] : found[1]]:
        return None
    return None if "*" in text[value[0] : found[0]] or "*" in text[found[1] : value[1]] else True


def _is_balanced(part: str) -> bool:
    depth = 0
    for character in part:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return depth == 0


def _name_severity(text: str, start: int, end: int) -> bool | None:
    part = text[start:end]
    if "\0" in part:
        return True
    if part.strip() == text[len(NAME) :].strip() or not _SEPARATOR.search(part):
        return None
    return _NEW_PART.search(part) is not None


def is_innocent(statement: str) -> bool:
    """Never: any value can come from an input."""
    return False


DETECTOR = Detector(
    type="ldap_injection",
    cwe="CWE-90",
    owasp="A03:2021",
    select=select,
    judge=judge,
    is_innocent=is_innocent,
    marks=windows,
)
