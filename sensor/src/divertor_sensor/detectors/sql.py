"""SQL injection by the token-boundary rule (CWE-89; OWASP A03:2021 Injection, API8:2023; CAPEC-66).

Rule: where an input occurs in a statement, it must lie within one token (a literal, a quoted name, a
number, a plain name, the inside of a closed comment). When it does not, the input decided about the
statement's structure. An unclosed quote or comment is a token that runs to the end, as SQLite reads it.

Three cures keep honest requests out of it:
 - a statement seen before at the same call site without the input is the program's own (kept by the caller);
 - an unquoted fragment that can only order, list or page (`name desc`, `1, 2, 3`) is harmless by a small
    grammar;
 - a literal broken by what can only be the rest of a name (`O'Brien`), or by prose that no database reads as
    SQL (`don't worry`), is a vulnerability reached, and no attack. In doubt it is one.

A setting of the server may decide whether a backslash escapes a quote; `dialect` takes what a driver knows of
it. Where it is not known, an input that brings such a pair is judged by the reading in which it breaks out.
Not covered is a server whose setting is the other one than the dialect says, where the program put the
backslash there, or where an input ends in it and another goes on.

An input need not stand there whole: pieces that do harm by themselves are `sql_pieces`'s.

What it does not do: follow input through storage (second order), or through a transformation other than those
of `divertor_sensor.sources.derived.derived_values`, doubled quotes, and taking apart; nor undo a charset
whose characters may end in the byte of a backslash (GBK, Big5, Shift JIS): a statement is judged as the text
the driver is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial

from divertor_sensor.detectors import UNTOUCHED, Candidate, Detector, Finding, Judgement, windows, worst
from divertor_sensor.detectors import sql_lexing as lexing
from divertor_sensor.detectors.skeleton import skeleton
from divertor_sensor.detectors.sql_grammar import goes_on, is_prose, takes_no_name, unquoted_severity
from divertor_sensor.detectors.sql_lexing import Dialect, Lexed, Shield
from divertor_sensor.detectors.sql_pieces import LONGEST, breaking_piece, squeezed, tails
from divertor_sensor.sources.derived import derived_values
from divertor_sensor.work import Work

#: A plain search looks at this many characters in the time of one step.
_SEARCH = 16
#: A piece of an input as short as this meets the program's text by chance.
_CHANCE = 6
#: An input cut by the app is recognised by its first characters; fewer would meet by chance.
_HEAD = 16
#: One with a quote, or one that computes with a number, meets less by chance.
_SHORT_HEAD = 6
_TELLING = re.compile(r".*['\"]|-?\d.*[=<>|(]", re.DOTALL)

#: A word, with blanks around it or not, or numbers: it stays what it is, and meets those of the program.
_PLAIN = re.compile(r"\s*+[\w$]*+\s*+|[\d\s,]*+")
#: What is above ASCII is a letter to a database, whatever it is to us.
_SHORT_PUNCTUATION = re.compile(r"(?!.?(?:--|/\*))[^\w'\"`#\\\x80-\U0010ffff]{1,3}")
#: One or two signs, of which no comment can be made, nor a second statement; or quotes only.
_SIGNS = re.compile(r"\s*+(?!--|/\*)(?:[^\w\s#;]{1,2}|['\"`]++)\s*+")
#: A quote with an operator: two such inputs make the program's text between them a literal.
_QUOTE_AND_OPERATOR = re.compile(r"\s*+(?:(['\"`])[=<>!|&+*/%~^-]|[=<>!|&+*/%~^-](['\"`]))\s*+")
#: What a program writes before a literal: a literal that ends in it holds a piece of the program.
_BEFORE_A_LITERAL = re.compile(
    r"(?:[=(,<>|+~]|\b(?:and|between|by|else|glob|ilike|in|is|like|not|or|regexp|rlike|select|then|values|when))"
    r"\s*+\Z"
)
_MAX_BEFORE = 64
#: Code up to here tells what a literal is there for.
_MAX_CODE = 4096


def select(value: str) -> list[str]:
    """The lower-cased forms of an input that could change a statement; plain words and numbers cannot. Pieces
    of an input with an apostrophe are left to `judge`.
    """
    texts: list[str] = []
    ends: list[str] = []
    is_quoted = "'" in value
    for form in derived_values(value):
        if _PLAIN.fullmatch(form) or _SHORT_PUNCTUATION.fullmatch(form):
            continue
        if form != value and _SIGNS.fullmatch(form):
            continue
        lowered = form.lower()
        texts.append(lowered)
        if not is_quoted:
            ends = ends or tails(lowered)
    texts += ends
    if not is_quoted and not value.isascii():
        texts += squeezed(value.lower())
    if "\\" in value and '"' in value:
        # Doubled quotes protect no literal that knows backslashes.
        texts.append(value.lower().replace('"', '""'))
    return texts


def judge(
    statement: str, candidates: Sequence[Candidate], work: Work, dialect: Dialect = lexing.SQLITE
) -> Judgement:
    """Whether a candidate leaves its token in `statement`, by the lexical rules of `dialect`.

    :raises Spent: there is too much to look at.
    """
    text, broken = statement.lower(), set[str]()
    finding, lexed = _judged(dialect, statement, text, None, candidates, broken, work)
    quoted = [each for each in candidates if "'" in each.text and each.origin.value not in broken]
    if not quoted or (finding is not None and finding.hostile):
        return UNTOUCHED if lexed is None else Judgement(True, finding)
    # The pieces of these come last: most attacks stand there whole.
    pieces = _pieces_of(quoted, work)
    other, lexed = _judged(dialect, statement, text, lexed, pieces, broken, work)
    finding, touched = worst(finding, other), lexed is not None
    if "'" in text and (finding is None or not finding.hostile):
        lexed = lexed or _lex(dialect, statement, text, work)
        breaking = breaking_piece(lexed, [*quoted, *pieces], work)
        if breaking is not None:
            return Judgement(True, Finding(breaking.origin, True))
    return Judgement(True, finding) if touched else UNTOUCHED


def _judged(
    dialect: Dialect,
    statement: str,
    text: str,
    lexed: Lexed | None,
    candidates: Sequence[Candidate],
    broken: set[str],
    work: Work,
) -> tuple[Finding | None, Lexed | None]:
    """The worst that a candidate does, and the statement, lexed if one was in there. `broken` are the inputs
    that make a statement which nobody reads, so that no piece of theirs does harm.
    """
    finding: Finding | None = None
    work.spend(len(candidates) * (2 + len(text) // _SEARCH))
    for candidate in candidates:
        at = text.find(candidate.text)
        if at < 0 and not _cut_length(text, candidate.text):
            continue
        if lexed is None:
            lexed = _lex(dialect, statement, text, work)
        if candidate.origin.value in broken:
            continue
        finding = worst(finding, _worst_occurrence(dialect, lexed, candidate, at, broken, work))
        if finding is not None and finding.hostile:
            break
    return finding, lexed


def _pieces_of(candidates: Sequence[Candidate], work: Work) -> list[Candidate]:
    """What `select` leaves out: the pieces of inputs with an apostrophe."""
    pieces: list[Candidate] = []
    for value, origin in {each.origin.value: each.origin for each in candidates}.items():
        if "'" in value and len(value) <= LONGEST:
            work.spend(2 * len(value))
            lowered = value.lower()
            pieces += [Candidate(text, origin) for text in (*tails(lowered), *squeezed(lowered))]
    return pieces


def _lex(dialect: Dialect, statement: str, text: str, work: Work) -> Lexed:
    work.spend(len(text))
    # Tags of dollar quotes know upper and lower case; few characters become longer in lower case.
    lexed = dialect.lex(statement if len(statement) == len(text) else text)
    return lexed._replace(text=text)


def _worst_occurrence(
    dialect: Dialect, lexed: Lexed, candidate: Candidate, at: int, broken: set[str], work: Work
) -> Finding | None:
    finding: Finding | None = None
    for start, end in _occurrences(lexed.text, candidate.text, at, work):
        severity = _severity(lexed, start, end)
        if severity and _makes_unreadable(lexed, start, end):
            broken.add(candidate.origin.value)
            return Finding(candidate.origin, False)
        if severity is None and _shifts_quotes(lexed, candidate, start, end):
            severity = True
        if severity is None and "\\" in candidate.text:
            work.spend(len(candidate.origin.value))
            severity = _other_reading(dialect, lexed, candidate, start, end)
        chance = _CHANCE if at >= 0 else _HEAD - 1
        if severity is not None and not _is_part_of_harmless(lexed, candidate, start, end, chance, work):
            finding = worst(finding, Finding(candidate.origin, severity))
            if severity:
                return finding
    return finding


def _is_part_of_harmless(
    lexed: Lexed, candidate: Candidate, start: int, end: int, chance: int, work: Work
) -> bool:
    """Whether an occurrence is that of a piece of an input, all of which stands there and does no harm; or a
    piece that meets the program's text by chance: it looks like the beginning or the end of a literal, and
    all literals have an end, or it is short (up to `chance`), and the whole stands there escaped.
    """
    work.spend(len(candidate.origin.value) + len(lexed.text) // _SEARCH)
    whole, found = candidate.origin.value.strip().lower(), lexed.text[start:end]
    offset = whole.find(found)
    if offset < 0 or whole == found:
        return False
    if _is_edge_of_literal(lexed, start, end) or (
        len(found) <= chance and _stands_escaped(lexed.text, whole)
    ):
        return True
    first = start - offset
    return (
        first >= 0
        and lexed.text.startswith(whole, first)
        and _severity(lexed, first, first + len(whole)) is None
    )


def _is_edge_of_literal(lexed: Lexed, start: int, end: int) -> bool:
    shield = lexed.shield_at(start)
    if shield is None or shield.kind != "quoted" or lexed.is_open:
        return False
    return end <= shield.end and (start == shield.start) != (end == shield.end)


def _stands_escaped(text: str, whole: str) -> bool:
    return whole.replace("'", "''") in text or re.sub(r"(['\"\\])", r"\\\1", whole) in text


def _occurrences(text: str, needle: str, at: int, work: Work) -> Iterator[tuple[int, int]]:
    if at < 0:
        yield _cut_occurrence(text, needle, work)
    while at >= 0:
        work.spend(8 + len(needle))
        yield at, at + len(needle)
        following = text.find(needle, at + 1)
        work.spend((following - at if following > 0 else len(text) - at) // _SEARCH)
        at = following


def _cut_length(text: str, needle: str) -> int:
    """How many of an input's first characters tell that `text` holds an input that the app cut; 0 when it
    holds none.
    """
    if len(needle) > _HEAD and needle[:_HEAD] in text:
        return _HEAD
    if needle[:_SHORT_HEAD] not in text or len(needle) <= _SHORT_HEAD:
        return 0
    length = next(n for n in range(min(_HEAD, len(needle)) - 1, 0, -1) if needle[:n] in text)
    return length if _TELLING.match(needle[:length]) else 0


def _cut_occurrence(text: str, needle: str, work: Work) -> tuple[int, int]:
    """Where an app cut a long input: as much of it as the statement holds."""
    work.spend(8 + len(needle) + len(text) // 2)
    low, high = _cut_length(text, needle), len(needle)
    at = text.find(needle[:low])
    while low < high:
        middle = (low + high + 1) // 2
        if text.startswith(needle[:middle], at):
            low = middle
        else:
            high = middle - 1
    return at, at + low


def _severity(lexed: Lexed, start: int, end: int) -> bool | None:
    """None: within one token. False: out of it, to no effect. True: out of it, and it goes on as SQL."""
    text, shield = lexed.text, lexed.shield_at(start)
    if shield is not None and _holds(shield, start, end):
        return False if lexed.is_open and _pairs_up(text, shield, end) else None
    if _SIGNS.fullmatch(text, start, end):
        # Too short to go on: it leaves a literal open, or it is the program's own (`')`).
        is_broken = lexed.is_open or (end - start > 2 and len(set(text[start:end])) > 1)
        return _is_lever(text, start, end) or (False if is_broken else None)
    if shield is None or start == shield.start:
        # Or the input brought the quote or comment itself: nothing shielded it.
        return unquoted_severity(text[start:end])
    if shield.kind == "open":
        return False
    return goes_on(text[shield.end : end])


def _makes_unreadable(lexed: Lexed, start: int, end: int) -> bool:
    """Whether an input goes on behind a literal that it ends, in words that are no SQL to any database.

    Not asked of statements with a backslash, which may mean that a literal ends elsewhere, or with a comment
    that some servers execute.
    """
    text, shield = lexed.text, lexed.shield_at(start)
    if shield is None or shield.kind != "quoted" or not shield.start < start < shield.end < end:
        return False
    if shield.start > _MAX_CODE or text[shield.start] != "'" or not is_prose(text[shield.end : end]):
        return False
    if not takes_no_name(_code_before(lexed, shield)):
        return False
    return "\\" not in text and "/*!" not in text and "/*m!" not in text


def _code_before(lexed: Lexed, shield: Shield) -> str:
    """What stands before a shield, with `''` for literals and names in quotes, and blanks for comments."""
    pieces, at = [], 0
    for each in lexed.shields:
        if each.start >= shield.start:
            break
        pieces += [lexed.text[at : each.start], "''" if each.kind == "quoted" else " "]
        at = each.end
    return "".join([*pieces, lexed.text[at : shield.start]])


def _holds(shield: Shield, start: int, end: int) -> bool:
    if shield.kind == "quoted":
        # What brings the quote that ends it leaves the program's own to open another.
        return start > shield.start and end < shield.end
    if shield.kind == "block":
        return start >= shield.start + 2 and end <= shield.end - 2
    return shield.kind == "line" and start >= shield.start + 2 and end <= shield.end


def _pairs_up(text: str, shield: Shield, end: int) -> bool:
    """Whether the quote that an input ends in and the one after it read as one quote within the literal."""
    return shield.kind == "quoted" and text[end - 1 : end + 1] == text[shield.start] * 2


def _shifts_quotes(lexed: Lexed, candidate: Candidate, start: int, end: int) -> bool:
    """Whether the quote that an input ends in makes a doubled one of the program's, so that the literal goes
    on up to where the program began its next one.
    """
    text, shield = lexed.text, lexed.shield_at(start)
    if shield is None or lexed.is_open or not _holds(shield, start, end) or not _pairs_up(text, shield, end):
        return False
    # A piece of an input may go on in the literal as the input does: only a whole one is plainly over.
    is_whole = text[start:end] == candidate.origin.value.strip().lower()
    return is_whole and _holds_program(text, shield, end + 1)


def _holds_program(text: str, shield: Shield, start: int) -> bool:
    """Whether a literal goes on from `start` as a program does up to its next literal: what stands in that
    is code now, even a word or a sign.
    """
    end = shield.end - 1
    return _BEFORE_A_LITERAL.search(text[max(start, end - _MAX_BEFORE) : end]) is not None


def _is_lever(text: str, start: int, end: int) -> bool:
    """Whether an input of two signs ends the literal it is put into and operates on it, or the reverse."""
    signs = _QUOTE_AND_OPERATOR.fullmatch(text, start, end)
    if signs is None:
        return False
    if signs[1]:
        return text[end : end + 1] == signs[1]
    return start > 0 and text[start - 1] == signs[2]


def _other_reading(dialect: Dialect, lexed: Lexed, candidate: Candidate, start: int, end: int) -> bool | None:
    """The severity of an input within a literal when backslashes are not read as `dialect` does by
    default."""
    text, shield = lexed.text, lexed.shield_at(start)
    if shield is None or start == shield.start or "\\" not in text[start:end]:
        return None
    quote, is_settled = text[shield.start], dialect.settles(text, shield.start)
    if not _is_as_sent(candidate, text, start, end):
        return None
    if (quote in dialect.escapes or is_settled) and _ends_in_half_an_escape(text, quote, start, end):
        return not lexed.is_open and _holds_program(text, shield, end + 1)
    if quote not in dialect.unsettled or is_settled:
        return None
    at = text.find("\\" + quote, start, end)
    # What is doubled begins as what is not: only text after the quotes tells that they are not doubled.
    return None if at < 0 or not text[at + 1 : end].strip(quote) else goes_on(text[at + 2 : end])


def _is_as_sent(candidate: Candidate, text: str, start: int, end: int) -> bool:
    """Whether the backslashes of an occurrence are the client's, and none of the program's."""
    found = text[start:end]
    if found != candidate.text or text[start - 1 : start + 1] == "\\\\":
        return False
    return found in candidate.origin.value.lower()


def _ends_in_half_an_escape(text: str, quote: str, start: int, end: int) -> bool:
    """Whether an input's last backslash takes the program's quote with it."""
    last = text[start:end]
    return (len(last) - len(last.rstrip("\\"))) % 2 == 1 and text[end : end + 1] == quote


_PLACEHOLDER = re.compile(r"\?\d*|(?<![\w:])[:@$]\w+|%s|%\(\w+\)s")
_PAGING = re.compile(r"\b(?:limit|offset)\s+\d+")
_QUOTED_NAMES = {'"': re.compile(r'"[\w.$ ]*"'), "`": re.compile(r"`[\w.$ ]*`")}
_FREE_OF_VALUES = re.compile(r"[\w\s.,()*=<>!+$]*+")
_NOT_INNOCENT = re.compile(
    r"\b\d|\b(?:union|except|intersect|case|attach|pragma|load_extension|load_file|sleep|benchmark)\b"
    r"|\b(?:pg_|lo_|dblink)|\bselect\b.*\bselect\b"
    # What is true of every row, without a value.
    r"|\b([\w.]++)\s*+(?:=|<=|>=|like|is)\s*+\1(?![\w.])"
    r"|\bor\s++(?:not\s++)?[\w.]++\s*+(?:\Z|\)|(?:or|and|order|group|limit)\b)",
    re.DOTALL,
)


def is_innocent(statement: str, quotes: str = '"') -> bool:
    """Whether a statement holds no literal, number or comment and one query only: every value in it is
    bound. `quotes` are the signs that names are written in.
    """
    text = _PAGING.sub("", _PLACEHOLDER.sub("", statement.lower()))
    for quote in quotes:
        text = _QUOTED_NAMES[quote].sub("n", text)
    return _FREE_OF_VALUES.fullmatch(text) is not None and _NOT_INNOCENT.search(text) is None


#: What an input needs to leave its place: a sign, a digit, or a word that joins conditions or queries.
_LEVER = re.compile(r"[^\w\s]|\d| (?:or|and|not|is|in|sel|lik|nul|glo|bet|div|mod|xor|reg|rli|ili|sim)|union")


def marks(statement: str) -> list[str]:
    """The pieces of a statement that an injection could have brought."""
    return [piece for piece in windows(statement) if _LEVER.search(piece)]


def _detector(dialect: Dialect, quotes: str = '"') -> Detector:
    return Detector(
        type="sql_injection",
        cwe="CWE-89",
        owasp="A03:2021",
        select=select,
        judge=partial(judge, dialect=dialect),
        is_innocent=partial(is_innocent, quotes=quotes),
        marks=marks,
        skeleton=skeleton,
    )


#: For SQLite.
DETECTOR = _detector(lexing.SQLITE)
POSTGRESQL = _detector(lexing.POSTGRESQL)
#: For MySQL and MariaDB.
MYSQL = _detector(lexing.MYSQL, "`")

_DETECTORS = {
    "sqlite": DETECTOR,
    "postgresql": POSTGRESQL,
    "postgresql_escapes": _detector(lexing.POSTGRESQL_ESCAPES),
    "mysql": MYSQL,
    "mysql_ansi_quotes": _detector(lexing.MYSQL_ANSI_QUOTES, '`"'),
    "mysql_no_backslash": _detector(lexing.MYSQL_NO_BACKSLASH, "`"),
}


def dialect(name: str) -> Detector:
    """The detector for a server: `sqlite`, `postgresql` (`postgresql_escapes` when
    `standard_conforming_strings` is off), `mysql` for MySQL and MariaDB (`mysql_ansi_quotes`,
    `mysql_no_backslash` by the `sql_mode`).

    :raises KeyError: there is no such dialect.
    """
    return _DETECTORS[name]
