"""EQL, Elasticsearch's event query language: conditions on single events as filters, sequences as steps.

`process where process.name == "cmd.exe" and not user.name : "svc-*"`. What judges one event is supported, and
sequences are read for the rule type `correlation`. Pipes, samples and functions that are not listed are
refused by name. As everywhere here, a field that is a list passes when one of its values does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from divertor.errors import InputError, Position
from divertor.rules.filters.anchoring import tokens_of_value
from divertor.rules.filters.clauses import all_of, always, any_of, cut, exists, leaf, negate, never
from divertor.rules.filters.eql_values import (
    Value,
    calculated,
    called,
    compared,
    field_value,
    literal_value,
    predicate_of,
)
from divertor.rules.filters.filter import Filter
from divertor.rules.filters.matching import whole_value

MAX_LENGTH = 64 * 1024
MAX_DEPTH = 32
MAX_STEPS = 32

_TOKEN = re.compile(
    r'''(?P<space>\s+|//[^\n]*|/\*.*?\*/)|"""(?P<raw>.*?)"""|"(?P<string>(?:[^"\\]|\\.)*)"|'''
    r"""`(?P<quoted>[^`]+)`|(?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?(?P<unit>ms|[dhms])?)|"""
    r"""(?P<name>[A-Za-z_@][A-Za-z0-9_@]*~?(?:(?:\.[A-Za-z_@`][A-Za-z0-9_@]*`?)|\[[0-9]{1,4}\])*)|"""
    r"""(?P<sign>==|!=|<=|>=|[<>:()\[\],=+*/%?|-])""",
    re.DOTALL,
)
_COMPARISONS = {"==", "!=", "<", "<=", ">", ">=", ":"}
_LISTS = {"in", "in~", "like", "like~", "regex", "regex~"}
_WORDS = {"and", "or", "not", "in", "like", "regex", "where", "true", "false", "null"}
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@dataclass(frozen=True, slots=True)
class Step:
    """One event of a sequence: its condition, and the fields that join it to the others."""

    filter: Filter
    by: tuple[str, ...]
    runs: int = 1


@dataclass(frozen=True, slots=True)
class Sequence:
    """Events one after the other, of one key, within `maxspan` (None: no bound); `until` ends the wait."""

    steps: tuple[Step, ...]
    maxspan: timedelta | None = None
    until: Step | None = None


def compile_eql(text: str, position: Position) -> Filter:
    """An event query.

    :raises InputError: at `position`, naming the character of the query, also for what is not supported.
    """
    parser = _Parser(text, position)
    if parser.ahead_is("sequence"):
        raise parser.refuse("a sequence judges more than one event", "type: correlation with this eql")
    found = parser.event_query()
    parser.end()
    return found


def is_sequence(text: str) -> bool:
    """Whether the query is about more than one event."""
    return re.match(r"\s*sequence\b", text) is not None


def parse_sequence(text: str, position: Position) -> Sequence:
    """A sequence query.

    :raises InputError: as `compile_eql`.
    """
    parser = _Parser(text, position)
    found = parser.sequence()
    parser.end()
    return found


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int
    end: int


def _tokens(text: str, position: Position) -> list[_Token]:
    if len(text) > MAX_LENGTH:
        raise InputError("query too long", position, f"at most {MAX_LENGTH} characters")
    found: list[_Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise InputError(f"unexpected {text[at]!r} at character {at + 1} of the query", position, "EQL")
        kind = "number" if match["number"] else match.lastgroup or ""
        if kind != "space":
            found.append(_Token(kind, match[kind], at, match.end()))
        at = match.end()
    return [*found, _Token("end", "the end", at, at)]


class _Parser:
    """Recursive descent; every method leaves `at` behind what it read."""

    def __init__(self, text: str, position: Position) -> None:
        self._text = text
        self._position = position
        self._tokens = _tokens(text, position)
        self._at = 0
        self._depth = 0

    def refuse(self, message: str, expected: str = "") -> InputError:
        at = self._tokens[self._at].at
        return InputError(f"{message} at character {at + 1} of the query", self._position, expected)

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._tokens[self._at]
        if token.kind != "end":
            self._at += 1
        return token

    def ahead_is(self, *texts: str) -> bool:
        token = self._peek()
        return token.kind in ("sign", "name") and token.text in texts

    def _accept(self, *texts: str) -> str:
        if not self.ahead_is(*texts):
            return ""
        return self._take().text

    def _need(self, text: str) -> None:
        if not self._accept(text):
            raise self.refuse(f"unexpected {self._peek().text[:40]!r}", f"{text!r}")

    def end(self) -> None:
        if self.ahead_is("|"):
            raise self.refuse("pipes are not supported", "a condition without | head or | tail")
        if self._peek().kind != "end":
            raise self.refuse(f"unexpected {self._peek().text[:40]!r}", "and, or, or the end of the query")

    def _since(self, start: _Token) -> str:
        last = self._tokens[self._at - 1]
        return cut(self._text[start.at : last.end])

    def event_query(self) -> Filter:
        start = self._peek()
        if self.ahead_is("sample", "join"):
            raise self.refuse(f"{start.text} is not supported", "a condition or a sequence")
        category = self._category()
        self._need("where")
        condition = self._or()
        if category is None:
            return condition
        return all_of([_of_category(category), condition], self._since(start))

    def _category(self) -> str | None:
        token = self._take()
        if token.text in ("any", "*") and token.kind in ("name", "sign"):
            return None
        if token.kind not in ("name", "string"):
            self._at -= 1
            raise self.refuse(f"unexpected {token.text[:40]!r}", "an event category or any")
        return token.text

    def sequence(self) -> Sequence:
        self._need("sequence")
        by = self._by()
        maxspan = self._maxspan()
        steps: list[Step] = []
        while self.ahead_is("["):
            steps.append(self._step(by))
            if len(steps) > MAX_STEPS:
                raise self.refuse("a long sequence", f"at most {MAX_STEPS} events")
        until = self._step(by) if self._accept("until") else None
        if len(steps) < 2 and not (steps and steps[0].runs > 1):
            raise self.refuse("a sequence of one event", "two or more events in brackets")
        if len({len(step.by) for step in (*steps, *([until] if until else []))}) > 1:
            raise self.refuse("a sequence whose events have different numbers of keys", "as many in each")
        return Sequence(tuple(steps), maxspan, until)

    def _by(self) -> tuple[str, ...]:
        if not self._accept("by"):
            return ()
        names = [self._field_name()]
        while self._accept(","):
            names.append(self._field_name())
        return tuple(names)

    def _field_name(self) -> str:
        self._accept("?")
        token = self._take()
        if token.kind not in ("name", "quoted"):
            self._at -= 1
            raise self.refuse(f"unexpected {token.text[:40]!r}", "a field")
        return token.text.replace("`", "")

    def _maxspan(self) -> timedelta | None:
        if not self._accept("with"):
            return None
        self._need("maxspan")
        self._need("=")
        return self._span()

    def _span(self) -> timedelta:
        token = self._take()
        found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|[dhms])", token.text)
        if token.kind != "number" or found is None:
            self._at -= 1
            raise self.refuse(f"unexpected {token.text[:40]!r}", "a length of time such as 30s or 1h")
        seconds = float(found[1]) * _SECONDS[found[2]]
        if seconds > 315_360_000:
            raise self.refuse("a long time", "at most ten years")
        return timedelta(seconds=seconds)

    def _step(self, by: tuple[str, ...]) -> Step:
        if self._accept("!"):
            raise self.refuse("missing events (![…]) are not supported", "an event")
        self._need("[")
        condition = self.event_query()
        self._need("]")
        own = self._by()
        runs = 1
        if self._accept("with"):
            self._need("runs")
            self._need("=")
            runs = self._count()
        return Step(condition, (*by, *own), runs)

    def _count(self) -> int:
        token = self._take()
        if (
            token.kind != "number"
            or not re.fullmatch(r"[0-9]{1,3}", token.text)
            or not 1 <= int(token.text) <= 100
        ):
            self._at -= 1
            raise self.refuse(f"unexpected {token.text[:40]!r}", "a number of runs from 1 to 100")
        return int(token.text)

    def _or(self) -> Filter:
        start = self._peek()
        parts = [self._and()]
        while self._accept("or"):
            parts.append(self._and())
        return any_of(parts, self._since(start))

    def _and(self) -> Filter:
        start = self._peek()
        parts = [self._not()]
        while self._accept("and"):
            parts.append(self._not())
        return all_of(parts, self._since(start))

    def _not(self) -> Filter:
        start = self._peek()
        if not self._accept("not"):
            return self._condition()
        self._deeper()
        inner = self._not()
        self._depth -= 1
        return negate(inner, self._since(start))

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.refuse("nested too deeply", f"at most {MAX_DEPTH} levels")

    def _condition(self) -> Filter:
        start, before = self._peek(), self._at
        if self.ahead_is("(") and not self._is_calculation():
            self._take()
            self._deeper()
            inner = self._or()
            self._depth -= 1
            self._need(")")
            return inner
        self._at = before
        left = self._sum()
        operator = self._accept(*_COMPARISONS)
        if operator:
            return self._compare(start, left, operator)
        negated = self.ahead_is("not")
        if negated:
            self._take()
        listed = self._list_operator()
        if listed:
            found = self._listed(start, left, listed)
            return negate(found, self._since(start)) if negated else found
        if negated:
            raise self.refuse(f"unexpected {self._peek().text[:40]!r}", "in, like or regex")
        return self._truth(start, left)

    def _is_calculation(self) -> bool:
        """Whether the parenthesis ahead encloses a number to calculate with, not a condition."""
        depth, at = 0, self._at
        while self._tokens[at].kind != "end":
            text = self._tokens[at].text if self._tokens[at].kind == "sign" else ""
            depth += (text == "(") - (text == ")")
            at += 1
            if not depth:
                break
        after = self._tokens[at]
        return after.kind == "sign" and after.text in {*_COMPARISONS, "+", "-", "*", "/", "%"}

    def _list_operator(self) -> str:
        return self._accept(*_LISTS)

    def _truth(self, start: _Token, value: Value) -> Filter:
        """A condition that is a value: true, a predicate, or a field that is true."""
        written = self._since(start)
        if value.is_literal and isinstance(value.literal, bool):
            return always(written) if value.literal else never(written)
        try:
            return predicate_of(written, value)
        except ValueError as problem:
            raise self.refuse(str(problem), "a comparison") from None

    def _compare(self, start: _Token, left: Value, operator: str) -> Filter:
        right = self._strings() if operator == ":" and self.ahead_is("(") else [self._sum()]
        written = self._since(start)
        if any(value.is_null for value in (left, *right)):
            return self._null(written, left, operator, right[0])
        try:
            each = [compared(written, left, operator, value) for value in right]
        except ValueError as problem:
            raise self.refuse(str(problem)) from None
        return any_of(each, written)

    def _null(self, written: str, left: Value, operator: str, right: Value) -> Filter:
        field = left.field or right.field
        if operator not in ("==", "!=") or field is None:
            raise self.refuse("a comparison with null", "field == null or field != null")
        there = exists(f"{field} != null", field)
        return there if operator == "!=" else negate(there, written)

    def _listed(self, start: _Token, left: Value, operator: str) -> Filter:
        values = self._strings() if self.ahead_is("(") else [self._sum()]
        written = self._since(start)
        try:
            return any_of([compared(written, left, operator, value) for value in values], written)
        except ValueError as problem:
            raise self.refuse(str(problem)) from None

    def _strings(self) -> list[Value]:
        self._need("(")
        values = [self._sum()]
        while self._accept(","):
            values.append(self._sum())
        self._need(")")
        return values

    def _sum(self) -> Value:
        return self._left_to_right(self._product, "+", "-")

    def _product(self) -> Value:
        return self._left_to_right(self._unary, "*", "/", "%")

    def _left_to_right(self, part: Callable[[], Value], *signs: str) -> Value:
        value = part()
        while sign := self._accept(*signs):
            try:
                value = calculated(sign, value, part())
            except ValueError as problem:
                raise self.refuse(str(problem)) from None
        return value

    def _unary(self) -> Value:
        if not self._accept("-"):
            return self._primary()
        self._deeper()
        inner = self._unary()
        self._depth -= 1
        try:
            return calculated("-", literal_value(0), inner)
        except ValueError as problem:
            raise self.refuse(str(problem)) from None

    def _primary(self) -> Value:
        if self._accept("("):
            self._deeper()
            inner = self._sum()
            self._depth -= 1
            self._need(")")
            return inner
        optional = bool(self._accept("?"))
        token = self._take()
        if token.kind in ("string", "raw"):
            return literal_value(_unescaped(token.text) if token.kind == "string" else token.text)
        if token.kind == "number" and not re.search(r"[dhms]$", token.text):
            return literal_value(_number(token.text))
        if token.kind == "quoted":
            return field_value(token.text)
        if token.kind == "name" and not optional and token.text in ("true", "false", "null"):
            return literal_value({"true": True, "false": False, "null": None}[token.text])
        if token.kind == "name" and token.text not in _WORDS:
            return self._call(token) if self.ahead_is("(") else field_value(token.text.replace("`", ""))
        self._at -= token.kind != "end"
        raise self.refuse(f"unexpected {token.text[:40]!r}", "a field, a value or a function")

    def _call(self, token: _Token) -> Value:
        self._take()
        self._deeper()
        arguments: list[Value] = []
        while not self.ahead_is(")"):
            arguments.append(self._sum())
            if not self._accept(","):
                break
        self._depth -= 1
        self._need(")")
        try:
            return called(token.text, arguments)
        except ValueError as problem:
            raise self.refuse(str(problem)) from None


def _number(text: str) -> int | float:
    if re.fullmatch(r"[0-9]{1,18}", text):
        return int(text)
    return float(text)


def _unescaped(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        if found[1]:
            code = int(found[1], 16)
            return chr(code) if code <= 0x10FFFF else "\ufffd"
        return _ESCAPES.get(found[2], found[2])

    return re.sub(r"\\(?:u\{([0-9A-Fa-f]{2,8})\}|(.))", one, text, flags=re.DOTALL)


def _of_category(category: str) -> Filter:
    """`event.category`, or what kind of event it is here."""
    tokens = tokens_of_value(category)
    each = [
        leaf(f"{field} is {category}", field, whole_value(category), tokens)
        for field in ("event.category", "type")
    ]
    return any_of(each, f"{category} events")
