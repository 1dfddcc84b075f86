"""Pieces of an input in a statement: what an app that splits, cuts, strips or squeezes a value leaves of an
attack (`first, last = name.split(" ", 1)`, `low, high = span.split("-")`, `column, order = sort.split(".")`).

Pure and linear, for `divertor_sensor.detectors.sql`. How an app takes a value apart is not guessed: what is
looked for is the piece that does harm, wherever it begins and ends. Of an input that ends a literal that is
the apostrophe and what the statement goes on with; of one that needs none, what follows the operator it
brings. What it does not do: find pieces that were changed as well, beyond the few forms of `squeezed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from divertor_sensor.detectors import Candidate
from divertor_sensor.detectors.sql_lexing import Lexed
from divertor_sensor.work import Work

_JOINS = r"(?:x?or|and|between|case|except|glob|having|ilike|in|intersect|is|like|limit|not|regexp|union)"
#: What can go on after the end of a literal: an operator, a comment, a further statement, a word that joins.
_GOES_ON = re.compile(rf"'[\s)]*+([=<>|;*/+&^%!~#-]|{_JOINS}\b)")
#: The end of a statement: many have it, and no attack goes on from there.
_ENDS = re.compile(r"'[\s)]*+;\s*+\Z")
#: Of that, as much as no text has by chance: a sign, or a joining word with what it joins.
_ACTS = re.compile(rf"[=<>|;*/+&^%!~#-]|\b{_JOINS}\b\s*+(?:['\"(\d]|\w++\s++\w)")
#: So many characters in common are no chance, nor are fewer at the end of an input.
_TELLING = 6
_FEW = 3
_COMMENTS = frozenset({"--", "/*"})
#: What follows the end of a literal is looked at up to here.
_FAR = 1024
_BLANK = r"(?:\s|/\*[^*]*+\*/)*+"
#: A name, no longer than those of databases with a schema's and a table's: `or.or.or.` is not read to its end
#: at each place.
_NAME = r"[\w.]{1,256}+"
#: Where an attack without an apostrophe begins.
_LEVER = re.compile(
    rf"\bor\b{_BLANK}(?:[\d(+~!@-]|(?:not|true|case)\b|{_NAME}{_BLANK}[=<>!])"
    rf"|\band\b{_BLANK}(?:\(|{_NAME}{_BLANK}[=<>!(])|\bxor\b{_BLANK}[\w(]"
    rf"|\bunion\b{_BLANK}(?:(?:all|distinct)\b{_BLANK})?+[(s]|\({_BLANK}select\b|\bcase\b{_BLANK}when\b"
    rf"|;{_BLANK}(?:alter|attach|copy|create|delete|drop|exec|grant|insert|pragma|select|truncate|update)\b"
    r"|\b(?:benchmark|extractvalue|load_extension|load_file|pg_sleep|randomblob|sleep|updatexml)\s*+\("
)
#: One of these is in each: asking costs less than looking.
_LEVER_HINTS = (
    "or and union select case sleep alter attach copy create delete drop exec grant insert pragma truncate"
    " update benchmark extractvalue load_ randomblob".split()
)
_NUMBER_BEFORE = re.compile(rf"\d++(?:\.\d++)?+{_BLANK}\Z")
_MAX_NUMBER = 32
#: Of a longer text only the quoted pieces are looked for, and only in itself.
LONGEST = 16 * 1024
#: A search for a short text looks at this many characters in the time of one step.
_QUICK = 64
_QUOTE_MARKS = str.maketrans("\u2018\u2019\u02bc\u00b4\u2032", "'''''")


def tails(form: str) -> list[str]:
    """The ends of a text in lower case from where an attack that needs no apostrophe may begin, or from the
    number before that: from the first such place on, and from the last.
    """
    if len(form) > LONGEST or form.replace(" ", "").isalpha():
        return []
    if not any(map(form.__contains__, _LEVER_HINTS)):
        return []
    levers = [match.start() for match in _LEVER.finditer(form)]
    places = dict.fromkeys(_operand(form, at) for at in (*levers[:1], *levers[-1:]))
    return [form[at:] for at in places if at and len(form) - at >= _TELLING]


def _operand(form: str, at: int) -> int:
    """Where the number begins that stands before the operator at `at`, if there is one."""
    number = _NUMBER_BEFORE.search(form, max(0, at - _MAX_NUMBER), at)
    return at if number is None else number.start()


def squeezed(value: str) -> list[str]:
    """What apps make of a value with apostrophes by exchanging a sign: blanks or hyphens removed (numbers of
    telephones and accounts), hyphens and underscores made blanks (names in addresses), typographic
    apostrophes made plain ones.
    """
    if len(value) > LONGEST:
        return []
    plain = value if value.isascii() else value.translate(_QUOTE_MARKS)
    forms = {} if plain == value else {plain: None}
    if "'" in plain:
        for old, new in ((" ", ""), ("-", ""), ("-", " "), ("_", " ")):
            if old in plain:
                forms[plain.replace(old, new)] = None
    return [form for form in forms if len(form) >= _TELLING]


def breaking_piece(lexed: Lexed, candidates: Sequence[Candidate], work: Work) -> Candidate | None:
    """The candidate of which a piece ends a literal of the statement and goes on as code; None for none.

    :raises Spent: there is too much to look at.
    """
    pieces = dict.fromkeys(_breaking(lexed, work))
    quoted = _looked_at(candidates) if pieces else []
    for piece in pieces:
        for candidate in quoted:
            work.spend(2 + len(candidate.text) // _QUICK)
            if piece in candidate.text or _ends_in(candidate.text, piece):
                return candidate
    return None


def _looked_at(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those with an apostrophe; of the forms of a long input the first one that is as long as itself."""
    found: list[Candidate] = []
    seen: set[str] = set()
    for candidate in candidates:
        value = candidate.origin.value
        if "'" not in candidate.text:
            continue
        if len(candidate.text) > LONGEST:
            if len(candidate.text) != len(value) or value in seen:
                continue
            seen.add(value)
        found.append(candidate)
    return found


def _breaking(lexed: Lexed, work: Work) -> Iterator[str]:
    """What stands in a statement from the end of a literal up to where it acts; six characters at least, if
    there are.
    """
    text = lexed.text
    for shield in lexed.shields:
        at = shield.end - 1
        if shield.kind != "quoted" or text[at] != "'":
            continue
        following = _GOES_ON.match(text, at)
        if following is None or _ENDS.match(text, at):
            continue
        far = following.start(1) + _FAR
        acts = _ACTS.search(text, following.start(1), far)
        if acts is not None or far < len(text):
            end = far if acts is None else max(acts.end(), at + _TELLING)
            end = at + _FEW if text[at + 1 : at + _FEW] in _COMMENTS else end
            work.spend(8 + end - at)
            yield text[at:end]


def _ends_in(text: str, piece: str) -> bool:
    """Whether a text ends in the first few characters of a piece, and those act."""
    if len(piece) > _TELLING:
        return False
    return any(
        text.endswith(piece[:length]) and _ACTS.search(piece, 1, length) is not None
        for length in range(2 if piece[1:2] == "#" else _FEW, len(piece))
    )
