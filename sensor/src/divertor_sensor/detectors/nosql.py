"""Injection into document databases (CWE-943; OWASP A03:2021 Injection; CAPEC-676).

Rule: an input may be a value in a filter, an update or a pipeline, and must not bring an operator: an object
with a key that begins with `$` compares, negates or computes where the program expected a value
(`{"password": {"$ne": ""}}`). The inputs hold every such object a request carries, as canonical JSON, however
it was written (JSON, `password[$ne]=`, JSON in a parameter); a member of it found as a member in the
statement is an attack. Text stays text: quoted, it cannot bring structure. A text that became the name of an
operator is a vulnerability, and an attack where that operator runs code.

In JavaScript that the database runs (`$where`, `$function`) an input must stay within one literal, or be a
plain name or number. A literal broken by the rest of a name (`O'Brien`) is a vulnerability.

A statement is JavaScript, or canonical JSON behind `DOCUMENT`. What it does not do: know an app that takes
filters from its clients on purpose; switch the detector off for those routes.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

from divertor_sensor.detectors import UNTOUCHED, Candidate, Detector, Finding, Judgement, windows, worst
from divertor_sensor.sources.derived import derived_values
from divertor_sensor.work import Work

#: What a statement that is a document begins with.
DOCUMENT = "document "
#: A plain search looks at this many characters in the time of one step.
_SEARCH = 16
_MAX_MEMBERS = 16
_OPERATOR_NAME = re.compile(r"\$[A-Za-z]{2,30}")
_RUNS_CODE = frozenset({"$where", "$function", "$accumulator", "$expr"})
#: Operators that let nobody in: they write, order and shape. Apps use them all day.
_HARMLESS = frozenset(
    """
    $addFields $addToSet $avg $count $currentDate $each $eq $first $group $inc $last $limit $lookup $match
    $max $min $mul $position $project $pull $push $rename $set $setOnInsert $size $skip $slice $sort $sum
    $unset $unwind
    """.split()
)
#: Keys of data, and no operators: Extended JSON's, references' and JSON Schema's.
_DATA = frozenset(
    """
    $anchor $binary $comment $date $db $defs $id $numberDecimal $numberDouble $numberInt $numberLong $oid $ref
    $schema $timestamp $uuid $vocabulary
    """.split()
)
_OPERATOR_KEY = re.compile(r'"(\$\w+)":')
_SCRIPT_SIGN = re.compile(r"""['"`\\(){};=+|&<>*/$\[\]!?:,\n-]""")

#: What shields its content in JavaScript. Possessive, so that a long text costs linear time. A literal ends
#: with its line where the quote is missing; a template does not.
_SHIELDS = re.compile(
    r"""(?P<quoted>'(?:[^'\\\n]++|\\.)*+'|"(?:[^"\\\n]++|\\.)*+")
      |(?P<template>`(?:[^`\\]++|\\.)*+`)
      |(?P<line>//[^\n]*+)
      |(?P<block>/\*(?:[^*]++|\*(?!/))*+\*/)
      |(?P<open>['"][^\n]*+|`.*+|/\*.*+)""",
    re.VERBOSE | re.DOTALL,
)
_PLAIN = re.compile(r"[\w.]*|-?\d+(?:\.\d+)?")
#: The rest of a name after an apostrophe: words, which two operands in a row would be, and no expression is.
_REST_OF_NAME = re.compile(r"[\w\s.]*")
#: As an input on its own, one of them meets those of the program.
_QUOTES = frozenset("'\"`")
#: Too little to do anything, and in any program.
_SHORT_SIGNS = re.compile(r"[^\w'\"`\\]{1,2}")
_FEW_SIGNS = re.compile(r"\W{1,2}")
_TRAILING_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\\Z")
_WORDS_OF_CODE = re.compile(
    r"\b(?:in|instanceof|return|typeof|new|throw|function|while|for|if|else|do|var)\b"
)


def canonical(document: Any) -> str:
    """The text by which documents are compared; values that JSON does not know are their own text.

    :raises RecursionError: it is nested too deeply, or holds itself.
    """
    try:
        return json.dumps(document, sort_keys=True, separators=(",", ":"), skipkeys=True, default=_other)
    except TypeError:  # keys of several types
        return json.dumps(document, separators=(",", ":"), skipkeys=True, default=_other)


def _other(value: Any) -> Any:
    if hasattr(value, "keys") and hasattr(value, "__getitem__"):
        return {str(key): value[key] for key in value.keys()}
    if isinstance(getattr(value, "pattern", None), str):
        return {"$regex": value.pattern}
    return f"<{type(value).__name__}>"


def select(value: str) -> list[str]:
    """The members of an operator document as canonical JSON, the name of an operator, and what could change
    JavaScript.
    """
    texts: dict[str, None] = {}
    if value.startswith("{") and '"$' in value:
        texts.update(dict.fromkeys(_members(value)))
    for form in derived_values(value):
        if form != value and _FEW_SIGNS.fullmatch(form):
            continue  # a piece that any program has
        if _OPERATOR_NAME.fullmatch(form) or _SCRIPT_SIGN.search(form):
            texts[form] = None
    return list(texts)


def _members(value: str) -> list[str]:
    try:
        document = json.loads(value)
    except (ValueError, RecursionError):
        return []
    if not isinstance(document, dict):
        return []
    operators = [key for key in document if key.startswith("$") and key not in _DATA][:_MAX_MEMBERS]
    return [f"{json.dumps(key)}:{canonical(document[key])}" for key in operators]


def judge(statement: str, candidates: Sequence[Candidate], work: Work) -> Judgement:
    """Whether a candidate brought an operator into the document, or code into the JavaScript, `statement`.

    :raises Spent: there is too much to look at.
    """
    work.spend(len(candidates) * (2 + len(statement) // _SEARCH))
    if not statement.startswith(DOCUMENT):
        return _judge_script(statement, candidates, work)
    finding: Finding | None = None
    for candidate in candidates:
        hostile = _severity(statement, candidate, work)
        if hostile is not None:
            finding = worst(finding, Finding(candidate.origin, hostile))
        if hostile:
            break
    return UNTOUCHED if finding is None else Judgement(True, finding)


def _severity(statement: str, candidate: Candidate, work: Work) -> bool | None:
    text = candidate.text
    if text.startswith('"$'):
        return True if _is_member(statement, text, work) else None
    if text[:1] != "$" or text != candidate.origin.value or not _OPERATOR_NAME.fullmatch(text):
        return None
    if f'"{text}":' not in statement:
        return None
    # The key of an object whose value the app has made something else of (`bson.json_util` does).
    is_key = candidate.origin.source == "json" and candidate.origin.name.endswith(text)
    return text in _RUNS_CODE or (is_key and text not in _HARMLESS and text not in _DATA)


def _is_member(statement: str, member: str, work: Work) -> bool:
    """Whether `member` stands in the document as one whole member of an object."""
    at = statement.find(member)
    while at >= 0:
        end = at + len(member)
        if statement[at - 1 : at] in {"{", ","} and statement[end : end + 1] in {"}", ","}:
            return True
        work.spend(8 + len(member) // _SEARCH)
        at = statement.find(member, at + 1)
    return False


class _Script(NamedTuple):
    """JavaScript and what shields parts of it, in order: where each starts and ends, and its kind."""

    text: str
    shields: list[tuple[int, int, str]]


def _judge_script(statement: str, candidates: Sequence[Candidate], work: Work) -> Judgement:
    script: _Script | None = None
    finding: Finding | None = None
    touched = False
    for candidate in candidates:
        at = statement.find(candidate.text)
        if at < 0:
            continue
        touched = True
        if script is None:
            work.spend(len(statement))
            script = _lex(statement)
        finding = worst(finding, _worst_occurrence(script, candidate, at, work))
        if finding is not None and finding.hostile:
            break
    return Judgement(True, finding) if touched else UNTOUCHED


def _lex(statement: str) -> _Script:
    found = _SHIELDS.finditer(statement)
    return _Script(statement, [(*match.span(), match.lastgroup or "") for match in found])


def _worst_occurrence(script: _Script, candidate: Candidate, at: int, work: Work) -> Finding | None:
    finding: Finding | None = None
    while at >= 0:
        work.spend(8 + len(candidate.text))
        hostile = _script_severity(script, at, at + len(candidate.text))
        if hostile is not None:
            finding = worst(finding, Finding(candidate.origin, hostile))
        if hostile:
            return finding
        following = script.text.find(candidate.text, at + 1)
        work.spend((following - at if following > 0 else len(script.text) - at) // _SEARCH)
        at = following
    return finding


def _script_severity(script: _Script, start: int, end: int) -> bool | None:
    """None: within one token. False: out of it, to no effect. True: it goes on as code."""
    index = bisect_right(script.shields, start, key=lambda shield: shield[0]) - 1
    opened, closed, kind = script.shields[index] if index >= 0 else (0, 0, "")
    part = script.text[start:end]
    if index < 0 or start >= closed or start == opened:
        if part in _QUOTES:
            return False
        return None if _PLAIN.fullmatch(part) or _SHORT_SIGNS.fullmatch(part) else True
    if kind == "open":
        return _goes_on(part) or _TRAILING_ESCAPE.search(part) is not None
    if kind == "line" and end <= closed:
        return None
    if end >= closed:
        return _goes_on(script.text[closed:end])
    if kind == "template" and "${" in part:
        return True
    # An escape that is not over takes the quote of the program for its own.
    return True if kind != "block" and _TRAILING_ESCAPE.search(part) else None


def _goes_on(rest: str) -> bool:
    """Whether text after a broken literal could go on as code. In doubt it does."""
    return _REST_OF_NAME.fullmatch(rest) is None or _WORDS_OF_CODE.search(rest) is not None


def is_innocent(statement: str) -> bool:
    """Whether a document holds no operator that compares or computes."""
    return statement.startswith(DOCUMENT) and _HARMLESS.issuperset(_OPERATOR_KEY.findall(statement))


def marks(statement: str) -> list[str]:
    """What an input that brought an operator leaves: its name. Of JavaScript, any piece."""
    if not statement.startswith(DOCUMENT):
        return windows(statement)
    names = set(_OPERATOR_KEY.findall(statement)) - _HARMLESS
    return sorted(name.lower() for name in names) or windows(statement)


DETECTOR = Detector(
    type="nosql_injection",
    cwe="CWE-943",
    owasp="A03:2021",
    select=select,
    judge=judge,
    is_innocent=is_innocent,
    marks=marks,
)
