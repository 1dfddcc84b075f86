"""What EQL compares: fields, literals, functions of them, and the tests of one against another.

A value is a function from an event to the scalars it may be, as fields may be lists. Two lists are compared
without trying each pair, because an attacker chooses how long they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from divertor.rules.document import Document, scalar_text
from divertor.rules.filters.anchoring import anchors_at, tokens_of_glob, tokens_of_value
from divertor.rules.filters.clauses import judged, leaf
from divertor.rules.filters.filter import Filter
from divertor.rules.filters.matching import Glob, Wild, as_network, glob_covers, is_inside
from divertor.rules.filters.regexp import compile_regexp

#: The scalars a value may be in an event.
Scalars: TypeAlias = Callable[[Document], Sequence[Any]]

#: A test of one scalar.
Test: TypeAlias = Callable[[Any], bool]

#: Longest text that functions make.
_MAX_TEXT = 65536


@dataclass(frozen=True, slots=True)
class Value:
    """`field` is the field it is or is made of; `literal` counts if `is_literal`; `tests` is the filter of a
    function that answers yes or no.
    """

    scalars: Scalars
    field: str | None = None
    literal: Any = None
    is_literal: bool = False
    is_plain: bool = False
    answer: Test | None = None

    @property
    def is_null(self) -> bool:
        return self.is_literal and self.literal is None


def field_value(name: str) -> Value:
    return Value(lambda document: document.values(name), field=name, is_plain=True)


def literal_value(literal: Any) -> Value:
    only = (literal,)
    return Value(lambda _document: only, literal=literal, is_literal=True)


def compared(written: str, left: Value, operator: str, right: Value) -> Filter:
    """One value against another.

    :raises ValueError: they cannot be compared so.
    """
    if left.is_literal and not right.is_literal and operator in _TURNED:
        left, operator, right = right, _TURNED[operator], left
    if not right.is_literal:
        return _pairwise(written, left, operator, right)
    test, tokens = _scalar_test(operator, right.literal)
    if operator == "!=":
        equal = _scalar_test("==", right.literal)[0]

        def differs(document: Document) -> bool:
            values = left.scalars(document)
            return bool(values) and not any(equal(value) for value in values)

        return judged(written, left.field, differs, _there(left))
    return _tested(written, left, test, tokens)


_TURNED = {"==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}


def _there(value: Value) -> Any:
    return anchors_at(value.field, None) if value.field else None


def _tested(written: str, value: Value, test: Test, tokens: frozenset[str] | None = None) -> Filter:
    if value.is_plain:
        return leaf(written, value.field, lambda one, _document: test(one), tokens)

    def judge(document: Document) -> bool:
        return any(test(one) for one in value.scalars(document))

    return judged(written, value.field, judge, _there(value))


def _scalar_test(operator: str, literal: Any) -> tuple[Test, frozenset[str] | None]:
    """The test against a literal, and the words of a value that passes."""
    any_case = operator.endswith("~") or operator == ":"
    base = operator.removesuffix("~")
    if base in ("==", "!=", "in") or (base in (":", "like") and not isinstance(literal, str)):
        return _equals(literal, any_case), tokens_of_value(scalar_text(literal))
    if base in ("<", "<=", ">", ">="):
        return _order_test(base, literal), None
    if not isinstance(literal, str):
        raise ValueError(f"{operator} with {scalar_text(literal)[:40]}, which is no text")
    if base == "regex":
        covers = compile_regexp(literal, ignore_case=any_case)
        return lambda value: isinstance(value, str) and covers(value), None
    if "*" not in literal and "?" not in literal:
        return _equals(literal, any_case), tokens_of_value(literal)
    return _like(literal, any_case), tokens_of_glob(_glob(literal))


def _equals(literal: Any, any_case: bool) -> Test:
    if isinstance(literal, bool):
        return lambda value: value is literal or (isinstance(value, str) and value == scalar_text(literal))
    if isinstance(literal, str):
        lower = literal.lower()
        if any_case:
            return lambda value: scalar_text(value).lower() == lower
        return lambda value: scalar_text(value) == literal
    spelled = str(literal)
    return lambda value: (not isinstance(value, bool) and value == literal) or value == spelled


def _like(pattern: str, any_case: bool) -> Test:
    covers = glob_covers(_glob(pattern), ignore_case=any_case)
    return lambda value: covers(scalar_text(value))


def _glob(pattern: str) -> Glob:
    return tuple(Wild(one) if one in "*?" else one for one in pattern)


_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda one, other: bool(one < other),
    "<=": lambda one, other: bool(one <= other),
    ">": lambda one, other: bool(one > other),
    ">=": lambda one, other: bool(one >= other),
}


def _order_test(operator: str, literal: Any) -> Test:
    """Numbers with numbers, texts with texts."""
    order = _ORDERS[operator]
    if isinstance(literal, bool) or not isinstance(literal, str | int | float):
        raise ValueError(f"{operator} with {scalar_text(literal)}")
    if isinstance(literal, str):
        return lambda value: isinstance(value, str) and order(value, literal)
    return lambda value: _is_number(value) and order(value, literal)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _pairwise(written: str, left: Value, operator: str, right: Value) -> Filter:
    """Two fields: any value of the one against any of the other, in linear time."""
    any_case = operator.endswith("~") or operator == ":"
    base = "==" if operator in (":", "in", "in~", "==", "!=") else operator
    if base not in _TURNED:
        raise ValueError(f"{operator} with a field on its right is not supported")

    def test(document: Document) -> bool:
        ones, others = left.scalars(document), right.scalars(document)
        if base == "==":
            found = not {_key(one, any_case) for one in ones}.isdisjoint(
                _key(one, any_case) for one in others
            )
            return found if operator != "!=" else bool(ones) and bool(others) and not found
        return _some_order(base, ones, others)

    field = left.field or right.field
    return judged(written, field, test, anchors_at(field, None) if field else None)


def _key(value: Any, any_case: bool) -> Any:
    if isinstance(value, bool):
        return ("bool", value)
    return value.lower() if any_case and isinstance(value, str) else value


def _some_order(operator: str, ones: Sequence[Any], others: Sequence[Any]) -> bool:
    """Whether some of the ones are so to some of the others: the extremes tell."""
    order = _ORDERS[operator]
    least, most = (min, max) if operator.startswith("<") else (max, min)
    for is_kind in (_is_number, lambda value: isinstance(value, str)):
        a, b = [one for one in ones if is_kind(one)], [one for one in others if is_kind(one)]
        if a and b and order(least(a), most(b)):
            return True
    return False


def predicate_of(written: str, value: Value) -> Filter:
    """A value as a condition.

    :raises ValueError: it is neither a predicate nor a field.
    """
    if value.answer is not None:
        return _tested(written, value, value.answer)
    if value.is_plain:
        return _tested(written, value, lambda one: one is True or one == "true", frozenset({"true"}))
    raise ValueError("a value where a condition is needed")


def calculated(sign: str, left: Value, right: Value) -> Value:
    """Arithmetic. Of two lists each value meets the first of the other.

    :raises ValueError: an operand is a text.
    """
    operate = _ARITHMETIC[sign]
    for value in (left, right):
        if value.answer is not None or (value.is_literal and not _is_number(value.literal)):
            raise ValueError(f"{sign} with something that is no number")
    if left.is_literal and right.is_literal:
        found = _number_or_none(operate, left.literal, right.literal)
        if found is None:
            raise ValueError("a calculation without a result")
        return literal_value(found)

    def scalars(document: Document) -> list[Any]:
        ones = [one for one in left.scalars(document) if _is_number(one)]
        others = [one for one in right.scalars(document) if _is_number(one)]
        if not ones or not others:
            return []
        pairs = [(one, others[0]) for one in ones] + [(ones[0], other) for other in others[1:]]
        return [found for pair in pairs if (found := _number_or_none(operate, *pair)) is not None]

    return Value(scalars, field=left.field or right.field)


def _number_or_none(operate: Callable[[Any, Any], Any], one: Any, other: Any) -> Any:
    try:
        return operate(_small(one), _small(other))
    except (ArithmeticError, ValueError):
        return None


def _small(number: Any) -> Any:
    """A number whose arithmetic takes no time: integers in an event may be of any size."""
    return float(number) if abs(number) > 2**63 else number


def _divided(one: Any, other: Any) -> Any:
    if isinstance(one, int) and isinstance(other, int):
        return int(math.trunc(one / other)) if abs(one) > 2**52 else int(one / other)
    return one / other


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda one, other: one + other,
    "-": lambda one, other: one - other,
    "*": lambda one, other: one * other,
    "/": _divided,
    "%": math.fmod,
}


def called(name: str, arguments: list[Value]) -> Value:
    """A function of EQL.

    :raises ValueError: it is unknown, or its arguments do not fit.
    """
    any_case = name.endswith("~")
    base = name.removesuffix("~")
    if base in _NAMED_ARITHMETIC and not any_case and len(arguments) == 2:
        return calculated(_NAMED_ARITHMETIC[base], *arguments)
    known = {*_ANSWERS, *_TEXTS}
    if base not in known:
        raise ValueError(f"the function {name[:40]!r} is not supported")
    if not arguments or arguments[0].answer is not None:
        raise ValueError(f"{name} without a field")
    subject, rest = arguments[0], [value.literal for value in arguments[1:]]
    if any(not value.is_literal for value in arguments[1:]):
        raise ValueError(f"{name} with a field where a literal is supported only")
    if base in _ANSWERS:
        if not rest or not all(isinstance(one, str) for one in rest):
            raise ValueError(f"{name} without texts to look for")
        return Value(
            subject.scalars, subject.field, is_plain=subject.is_plain, answer=_ANSWERS[base](rest, any_case)
        )
    change = _TEXTS[base](rest, any_case)

    def scalars(document: Document) -> list[Any]:
        return [found for one in subject.scalars(document) if (found := change(one)) is not None]

    return Value(scalars, field=subject.field)


_NAMED_ARITHMETIC = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "modulo": "%"}


def _text_answer(judge: Callable[[str, str], bool]) -> Callable[[list[Any], bool], Test]:
    def make(wanted: list[Any], any_case: bool) -> Test:
        texts = [one.lower() if any_case else one for one in wanted]

        def test(value: Any) -> bool:
            if not isinstance(value, str):
                return False
            spelled = value.lower() if any_case else value
            return any(judge(spelled, one) for one in texts)

        return test

    return make


def _cidr(wanted: list[Any], _any_case: bool) -> Test:
    networks = [as_network(one if "/" in one else f"{one}/32") for one in wanted]
    if None in networks:
        raise ValueError("cidrMatch with something that is no network")
    known = [one for one in networks if one is not None]
    return lambda value: isinstance(value, str) and any(is_inside(value, one) for one in known)


def _wildcard(wanted: list[Any], any_case: bool) -> Test:
    tests = [_like(one, any_case) for one in wanted]
    return lambda value: any(test(value) for test in tests)


def _match(wanted: list[Any], any_case: bool) -> Test:
    tests = [compile_regexp(one, ignore_case=any_case) for one in wanted]
    return lambda value: isinstance(value, str) and any(covers(value) for covers in tests)


_ANSWERS: dict[str, Callable[[list[Any], bool], Test]] = {
    "startsWith": _text_answer(str.startswith),
    "endsWith": _text_answer(str.endswith),
    "stringContains": _text_answer(lambda value, wanted: wanted in value),
    "cidrMatch": _cidr,
    "wildcard": _wildcard,
    "match": _match,
}


def _length(_rest: list[Any], _any_case: bool) -> Callable[[Any], Any]:
    return lambda value: len(value) if isinstance(value, str) else None


def _to_text(_rest: list[Any], _any_case: bool) -> Callable[[Any], Any]:
    return scalar_text


def _to_number(rest: list[Any], _any_case: bool) -> Callable[[Any], Any]:
    base = rest[0] if rest else 10
    if base not in (10, 16):
        raise ValueError("number with a base that is neither 10 nor 16")

    def change(value: Any) -> Any:
        if _is_number(value):
            return value
        if not isinstance(value, str) or len(value) > 40:
            return None
        try:
            return int(value, base) if base == 16 or value.lstrip("-").isdigit() else float(value)
        except ValueError:
            return None

    return change


def _concat(rest: list[Any], _any_case: bool) -> Callable[[Any], Any]:
    tail = "".join(map(scalar_text, rest))
    return lambda value: (scalar_text(value) + tail)[:_MAX_TEXT]


def _substring(rest: list[Any], _any_case: bool) -> Callable[[Any], Any]:
    if not 1 <= len(rest) <= 2 or not all(isinstance(one, int) for one in rest):
        raise ValueError("substring without where it begins")
    start, end = rest[0], rest[1] if len(rest) > 1 else None
    return lambda value: value[start:end] if isinstance(value, str) else None


def _index_of(rest: list[Any], any_case: bool) -> Callable[[Any], Any]:
    if not rest or not isinstance(rest[0], str):
        raise ValueError("indexOf without a text to look for")
    wanted = rest[0].lower() if any_case else rest[0]

    def change(value: Any) -> Any:
        if not isinstance(value, str):
            return None
        found = (value.lower() if any_case else value).find(wanted)
        return found if found >= 0 else None

    return change


def _between(rest: list[Any], any_case: bool) -> Callable[[Any], Any]:
    if len(rest) < 2 or not all(isinstance(one, str) for one in rest[:2]):
        raise ValueError("between without two texts")
    left, right = (one.lower() if any_case else one for one in rest[:2])
    greedy = len(rest) > 2 and rest[2] is True

    def change(value: Any) -> Any:
        if not isinstance(value, str):
            return None
        where = value.lower() if any_case else value
        start = where.find(left)
        if start < 0:
            return ""
        start += len(left)
        end = where.rfind(right, start) if greedy else where.find(right, start)
        return value[start:end] if end >= 0 else ""

    return change


_TEXTS: dict[str, Callable[[list[Any], bool], Callable[[Any], Any]]] = {
    "length": _length,
    "string": _to_text,
    "number": _to_number,
    "concat": _concat,
    "substring": _substring,
    "indexOf": _index_of,
    "between": _between,
}
