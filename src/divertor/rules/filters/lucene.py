"""The query string language (Lucene's classic syntax) as text → syntax tree. Evaluation is in `query.py`.

AND, OR and NOT bind as they do in Lucene, because the same rule file must raise the same alerts: there is no
precedence, an operator marks the clauses beside it as required, optional or excluded (`a OR b AND c` requires
b and c). Parentheses say what is meant.
"""

from __future__ import annotations

import re
from dataclasses import replace

from divertor.errors import InputError, Position
from divertor.rules.document import words
from divertor.rules.filters.dates import ISO_8601
from divertor.rules.filters.fuzzy import MAX_EDITS, MAX_WORDS
from divertor.rules.filters.matching import Bounds, Glob, Wild, glob_pattern
from divertor.rules.filters.places import EVERY_FIELD, KEYWORD, FieldPattern, Where
from divertor.rules.filters.query_tree import (
    Clause,
    Everything,
    Exists,
    Fuzzy,
    Group,
    Node,
    Occur,
    Range,
    Regexp,
    Text,
    Wildcard,
)
from divertor.rules.filters.regexp import compile_regexp

MAX_LENGTH = 64 * 1024
MAX_DEPTH = 32
MAX_SLOP = 10_000

_SPACE = " \t\n\r\u3000"
_ENDS_TERM = frozenset(_SPACE + '()[]{}:^"~\\/!')
_ENDS_BOUND = frozenset(_SPACE + ']}"')
_ENDS_HALF = frozenset(_SPACE + '()"^~')
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9}")
_CONJUNCTIONS = {"AND": "AND", "&&": "AND", "OR": "OR", "||": "OR"}


def parse_query(text: str, position: Position, *, default_and: bool = False) -> Node:
    """The syntax tree of a query string.

    `default_and` is `default_operator: AND`: two terms side by side are both required.

    :raises InputError: at `position`, naming the character of the query where it stops making sense.
    """
    if len(text) > MAX_LENGTH:
        raise InputError("query too long", position, f"at most {MAX_LENGTH} characters")
    reader = _Reader(text, position)
    node = _Parser(reader, default_and).group(None, 0)
    if not reader.at_end():
        raise reader.refuse(f"unexpected {reader.peek()!r}", "the end of the query")
    return node


class _Reader:
    """The query text and how far it has been read."""

    def __init__(self, text: str, position: Position) -> None:
        self.text = text
        self.at = 0
        self._position = position

    def refuse(self, message: str, expected: str = "") -> InputError:
        return InputError(f"{message} at character {self.at + 1} of the query", self._position, expected)

    def at_end(self) -> bool:
        return self.at >= len(self.text)

    def peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def take(self) -> str:
        self.at += 1
        return self.text[self.at - 1]

    def skip_space(self) -> None:
        while not self.at_end() and self.peek() in _SPACE:
            self.at += 1

    def accept(self, character: str) -> bool:
        if self.peek() != character:
            return False
        self.at += 1
        return True

    def escaped(self) -> str:
        """The character after a backslash, which has been read."""
        if self.at_end():
            raise self.refuse("nothing after the backslash", "the character to escape")
        character = self.take()
        if character != "u":
            return character
        digits = self.text[self.at : self.at + 4]
        if len(digits) < 4 or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
            raise self.refuse("incomplete \\u escape", "four hexadecimal digits")
        self.at += 4
        return chr(int(digits, 16))

    def quoted(self) -> str:
        """The text of a phrase whose opening quote has been read."""
        out: list[str] = []
        while not self.at_end():
            character = self.take()
            if character == '"':
                return "".join(out)
            out.append(self.escaped() if character == "\\" else character)
        raise self.refuse("phrase without an end", 'a closing "')

    def pattern(self) -> str:
        """A regular expression whose opening slash has been read; backslashes stay, but for slashes."""
        end = self.at
        while end < len(self.text) and self.text[end] != "/":
            end += 2 if self.text[end] == "\\" else 1
        if end >= len(self.text):
            raise self.refuse("regular expression without an end", "a closing /, or the slash in quotes")
        pattern = self.text[self.at : end].replace("\\/", "/")
        self.at = end + 1
        return pattern

    def term(self) -> Glob:
        """A run of term characters: literal text and wildcards; empty when there is none."""
        parts: list[str | Wild] = []
        literal: list[str] = []
        while not self.at_end():
            character = self.peek()
            if character == "\\":
                self.at += 1
                literal.append(self.escaped())
            elif character in "*?":
                self.at += 1
                _flush(parts, literal)
                parts.append(Wild(character))
            elif character in _ENDS_TERM:
                break
            else:
                literal.append(self.take())
        _flush(parts, literal)
        return tuple(parts)

    def bare_word(self) -> str:
        """The unescaped word ahead, without reading it: how an operator is recognised."""
        end = self.at
        while end < len(self.text) and self.text[end] not in _ENDS_TERM and self.text[end] not in "*?":
            end += 1
        return self.text[self.at : end] if self.text[end : end + 1] not in ("\\", "*", "?") else ""


def _flush(parts: list[str | Wild], literal: list[str]) -> None:
    if literal:
        parts.append("".join(literal))
        literal.clear()


class _Parser:
    """Recursive descent over the query; one method per piece of the grammar."""

    def __init__(self, reader: _Reader, default_and: bool) -> None:
        self._reader = reader
        self._default_and = default_and

    def group(self, field: Where, depth: int) -> Node:
        """Clauses up to the end or a closing parenthesis."""
        reader = self._reader
        if depth > MAX_DEPTH:
            raise reader.refuse("parentheses nested too deeply", f"at most {MAX_DEPTH} levels")
        clauses: list[Clause] = []
        reader.skip_space()
        while not reader.at_end() and reader.peek() != ")":
            conjunction = self._conjunction(first=not clauses)
            modifier = self._modifier()
            start = reader.at
            node = self._clause(field, depth)
            self._add(clauses, conjunction, Clause(modifier, node, reader.text[start : reader.at].strip()))
            reader.skip_space()
        if not clauses:
            raise reader.refuse("empty query", "a term")
        if len(clauses) == 1 and clauses[0].occur is not Occur.MUST_NOT:
            return clauses[0].node
        return Group(tuple(clauses))

    def _conjunction(self, *, first: bool) -> str:
        word = self._reader.bare_word()
        conjunction = _CONJUNCTIONS.get(word, "")
        if not conjunction:
            return ""
        if first:
            raise self._reader.refuse(f"{word} with nothing before it", "a term")
        self._reader.at += len(word)
        self._reader.skip_space()
        return conjunction

    def _modifier(self) -> Occur:
        reader = self._reader
        if reader.accept("+"):
            occur = Occur.MUST
        elif reader.accept("-") or reader.accept("!"):
            occur = Occur.MUST_NOT
        elif reader.bare_word() == "NOT":
            reader.at += 3
            occur = Occur.MUST_NOT
        else:
            return Occur.SHOULD
        reader.skip_space()
        return occur

    def _add(self, clauses: list[Clause], conjunction: str, clause: Clause) -> None:
        """Lucene's rule: an operator marks the clause before it as well as the one after it."""
        if clauses and clauses[-1].occur is not Occur.MUST_NOT:
            if conjunction == "AND":
                clauses[-1] = replace(clauses[-1], occur=Occur.MUST)
            elif conjunction == "OR" and self._default_and:
                clauses[-1] = replace(clauses[-1], occur=Occur.SHOULD)
        if clause.occur is Occur.SHOULD:
            required = conjunction != "OR" if self._default_and else conjunction == "AND"
            clause = replace(clause, occur=Occur.MUST if required else Occur.SHOULD)
        clauses.append(clause)

    def _clause(self, field: Where, depth: int) -> Node:
        reader = self._reader
        if reader.bare_word() in _CONJUNCTIONS or reader.bare_word() == "NOT":
            raise reader.refuse(f"unexpected {reader.bare_word()}", "a term")
        if reader.peek() in ("+", "-"):
            raise reader.refuse(f"unexpected {reader.peek()!r}", "a term")
        start = reader.at
        glob = reader.term()
        reader.skip_space()
        if not glob or not reader.accept(":"):
            reader.at = start
            return self._value(field, depth)
        reader.skip_space()
        where = self._field(glob)
        if where == "_exists_":
            return Exists(self._existing())
        if where == "_missing_":
            start = reader.at
            missing = Exists(self._existing())
            return Group((Clause(Occur.MUST_NOT, missing, f"_exists_:{reader.text[start : reader.at]}"),))
        return self._value(where, depth)

    def _field(self, glob: Glob) -> Where:
        """A name with wildcards looks in every field that fits; `*` in all of them."""
        if glob == (Wild.MANY,):
            return EVERY_FIELD
        name = _literal(glob)
        return name if name else field_pattern(glob)

    def _existing(self) -> Where:
        reader = self._reader
        glob: Glob = (reader.quoted(),) if reader.accept('"') else reader.term()
        if not glob or not glob[0]:
            raise reader.refuse("no field after the colon", "a field name")
        return self._field(glob)

    def _value(self, field: Where, depth: int) -> Node:
        reader = self._reader
        character = reader.peek()
        if character == "(":
            reader.at += 1
            node = self._parenthesised(field, depth)
        elif character == '"':
            reader.at += 1
            node = self._phrase(field, reader.quoted())
        elif character and character in "[{":
            node = self._range(field)
        elif character == "/":
            reader.at += 1
            node = self._regexp(field)
        else:
            node = self._term(field)
        self._suffix()
        return node

    def _regexp(self, field: Where) -> Node:
        reader = self._reader
        pattern = reader.pattern()
        try:
            compile_regexp(pattern, ignore_case=True)
        except ValueError as problem:
            raise reader.refuse(f"regular expression with {problem}", "a pattern without it") from None
        return Regexp(field, pattern)

    def _parenthesised(self, field: Where, depth: int) -> Node:
        node = self.group(field, depth + 1)
        if not self._reader.accept(")"):
            raise self._reader.refuse("parenthesis without an end", "a closing )")
        return node

    def _phrase(self, field: Where, text: str) -> Node:
        if not self._reader.accept("~"):
            return Text(field, text)
        slop = self._number()
        if slop is not None and slop > MAX_SLOP:
            raise self._reader.refuse("too much slop", f"at most {MAX_SLOP}")
        if len(words(text)) > MAX_WORDS:
            raise self._reader.refuse("a long phrase with slop", f"at most {MAX_WORDS} words")
        return Text(field, text, slop=int(slop or 0))

    def _number(self) -> float | None:
        reader = self._reader
        found = _NUMBER.match(reader.text, reader.at)
        if found is None:
            return None
        reader.at = found.end()
        return float(found[0])

    def _fuzzy(self, field: Where, text: str) -> Node:
        """A `~` has been read. Below 1 the number is the similarity of Lucene 3."""
        amount = self._number()
        if amount is None:
            return Fuzzy(field, text, None)
        if 0 < amount < 1:
            amount = (1 - amount) * len(text)
        elif not amount.is_integer():
            raise self._reader.refuse("a fraction of edits", "~, ~1 or ~2")
        return Fuzzy(field, text, min(int(amount), MAX_EDITS))

    def _suffix(self) -> None:
        """A boost only ranks, and a rule does not rank."""
        reader = self._reader
        if reader.accept("^") and self._number() is None:
            raise reader.refuse("no number after ^", "a boost such as ^2")

    def _term(self, field: Where) -> Node:
        reader = self._reader
        start = reader.at
        comparison = self._comparison()
        if comparison:
            return self._half_range(field, comparison)
        glob = reader.term()
        if not glob:
            found = repr(reader.peek()) if reader.peek() else "the end"
            raise reader.refuse(f"unexpected {found}", "a term, a phrase, a range or (")
        if reader.peek() == "/":
            raise reader.refuse("a slash inside a term", "the term in quotes, or \\/")
        fuzzy = reader.accept("~")
        text = _literal(glob)
        if text:
            return self._fuzzy(field, text) if fuzzy else Text(field, text)
        if fuzzy:
            self._number()  # Lucene reads it and takes the wildcards alone
        if all(part is Wild.MANY for part in glob):
            return Everything() if field is None or field == EVERY_FIELD else Exists(field)
        if reader.at - start > 1024:
            raise reader.refuse("wildcard term too long", "at most 1024 characters")
        return Wildcard(field, glob)

    def _comparison(self) -> str:
        for sign in (">=", "<=", ">", "<"):
            if self._reader.text.startswith(sign, self._reader.at):
                self._reader.at += len(sign)
                return sign
        return ""

    def _half_range(self, field: Where, sign: str) -> Node:
        reader = self._reader
        if field is None:
            raise reader.refuse(f"{sign} without a field", f"field:{sign}value")
        reader.skip_space()
        bound = reader.quoted() if reader.accept('"') else self._raw_bound(_ENDS_HALF)
        if not bound:
            raise reader.refuse(f"no value after {sign}", "a number, a date or a text")
        self._check_bound(bound)
        inclusive = len(sign) == 2
        if sign[0] == ">":
            return Range(field, Bounds(low=bound, include_low=inclusive))
        return Range(field, Bounds(high=bound, include_high=inclusive))

    def _range(self, field: Where) -> Node:
        reader = self._reader
        include_low = reader.take() == "["
        low = self._bound()
        if self._raw_bound() != "TO":
            raise reader.refuse("range without TO", "[low TO high]")
        high = self._bound()
        reader.skip_space()
        closing = reader.peek()
        if closing not in ("]", "}"):
            raise reader.refuse("range without an end", "] or }")
        reader.at += 1
        if low is None and high is None:
            return Everything() if field is None else Exists(field)
        return Range(field, Bounds(low, high, include_low, closing == "]"))

    def _bound(self) -> str | None:
        reader = self._reader
        reader.skip_space()
        if reader.accept('"'):
            bound = reader.quoted()
        else:
            bound = self._raw_bound()
            if bound == "*":
                return None
            if not bound or bound == "TO":
                raise reader.refuse("range without a bound", "a value or *")
        self._check_bound(bound)
        return bound

    def _raw_bound(self, ends: frozenset[str] = _ENDS_BOUND) -> str:
        reader = self._reader
        reader.skip_space()
        out: list[str] = []
        while not reader.at_end() and reader.peek() not in ends:
            character = reader.take()
            out.append(reader.escaped() if character == "\\" else character)
        return "".join(out)

    def _check_bound(self, bound: str) -> None:
        try:
            ISO_8601.moment(bound)
        except ValueError as problem:
            raise self._reader.refuse(str(problem), "now or a date||, then +1d, -2h or /d") from None


def field_pattern(glob: Glob) -> FieldPattern:
    """A field name with wildcards. `.keyword` at its end asks for whole values and is no part of names."""
    written = "".join(part.value if isinstance(part, Wild) else part for part in glob)
    last = glob[-1]
    if isinstance(last, str):
        glob = (*glob[:-1], last.removesuffix(KEYWORD))
    return FieldPattern(written, glob_pattern(glob, ignore_case=False))


def _literal(glob: Glob) -> str:
    """The text of a glob without wildcards; empty when it has some."""
    return (
        "".join(part for part in glob if isinstance(part, str))
        if Wild.MANY not in glob and Wild.ONE not in glob
        else ""
    )
