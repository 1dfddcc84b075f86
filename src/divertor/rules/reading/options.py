"""Options of a rule file: declared once with their reader and default, taken from positioned nodes.

A reader turns a node into a value or refuses it with its place. What options there are is declared by whoever
uses them (the loader, a rule type, an alerter); hints about misspelt names are derived from those
declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, TypeAlias
from urllib.parse import urlsplit

from divertor.errors import InputError, Position
from divertor.model.documents import MappingNode, Node, Scalar, Sequence, to_value
from divertor.model.fields import entries_of, fail, is_null, items_of, text_of

Reader: TypeAlias = Callable[[Node, str], Any]

_WORDS_OF_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_TIME_UNITS = frozenset({"weeks", "days", "hours", "minutes", "seconds", "milliseconds", "microseconds"})
_LONGEST = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its name, how it is read, and what holds when it is not given."""

    name: str
    read: Reader
    default: Any = None
    required: bool = False


def refuse(problem: InputError) -> NoReturn:
    """What is done about a problem unless all of them are collected."""
    raise problem


@dataclass(frozen=True, slots=True)
class Given:
    """What a file gives: nodes by option name.

    `report` is told each option that is refused: loading a rule ends there, linting goes on with the option's
    default.
    """

    entries: Mapping[str, tuple[Scalar, Node]]
    position: Position
    report: Callable[[InputError], None] = refuse

    @classmethod
    def of(cls, node: Node, what: str) -> Given:
        """:raises InputError: the node is no mapping."""
        entries = {key.text: (key, item) for key, item in entries_of(node, what)}
        return cls(entries, node.position)

    def over(self, base: Given) -> Given:
        """This, completed by `base`; refusals of what is missing point here."""
        return Given({**base.entries, **self.entries}, self.position, base.report)

    def node(self, name: str) -> Node | None:
        """The node of an option; None when it is missing or null."""
        found = self.entries.get(name)
        return None if found is None or is_null(found[1]) else found[1]

    def read(self, option: Option, whose: str) -> Any:
        """The option's value.

        :raises InputError: it is required and missing, or its reader refuses it.
        """
        node = self.node(option.name)
        if node is not None:
            return option.read(node, option.name)
        if option.required:
            raise InputError(f"{whose} without {option.name!r}", self.position, f"the option {option.name!r}")
        return option.default

    def read_all(self, options: Iterable[Option], whose: str) -> dict[str, Any]:
        """The options' values by name; what is refused goes to `report`."""
        return {option.name: self._reported(option, whose) for option in options}

    def _reported(self, option: Option, whose: str) -> Any:
        try:
            return self.read(option, whose)
        except InputError as problem:
            self.report(problem)
            return option.default


@dataclass(frozen=True, slots=True)
class OptionGroup:
    """Options of every rule that belong together, declared by whoever acts upon them.

    `name` is the attribute of `Rule` that holds what they mean. `read` makes it: it is given the file, for
    refusals with their place, and the values of the common options of *all* groups by name (`name` is the
    rule's, never empty).
    """

    name: str
    options: tuple[Option, ...]
    read: Callable[[Given, Mapping[str, Any]], Any]


def text(node: Node, what: str) -> str:
    return text_of(node, what)


def texts(node: Node, what: str) -> tuple[str, ...]:
    """One text or a list of them."""
    return tuple(text_of(item, what) for item in items_of(node))


def boolean(node: Node, what: str) -> bool:
    word = text_of(node, what).lower()
    if word not in _WORDS_OF_TRUTH:
        fail(node, f"{what} is {word[:40]!r}", "true or false")
    return _WORDS_OF_TRUTH[word]


def integer(minimum: int, maximum: int) -> Reader:
    def read(node: Node, what: str) -> int:
        value = to_value(node)
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            fail(node, f"{what} is {_short(value)}", f"a whole number from {minimum} to {maximum}")
        return value

    return read


def number(minimum: float, maximum: float) -> Reader:
    def read(node: Node, what: str) -> float:
        value = to_value(node)
        if isinstance(value, bool) or not isinstance(value, int | float) or not minimum <= value <= maximum:
            fail(node, f"{what} is {_short(value)}", f"a number from {minimum:g} to {maximum:g}")
        return float(value)

    return read


def span(*, zero: bool = False) -> Reader:
    """A length of time: `{minutes: 5}`, any of the units together, fractions allowed."""

    def read(node: Node, what: str) -> timedelta:
        if not isinstance(node, MappingNode) or not node.entries:
            fail(node, f"{what} is no length of time", "units and numbers, such as {minutes: 5}")
        total = sum((_part(key, item, what) for key, item in node.entries), timedelta(0))
        if total > _LONGEST or (total <= timedelta(0) and not zero):
            fail(node, f"{what} is {total}", f"more than nothing and at most {_LONGEST.days} days")
        return total

    return read


def _part(key: Scalar, item: Node, what: str) -> timedelta:
    if key.text not in _TIME_UNITS:
        fail(key, f"{key.text!r} in {what} is no unit of time", ", ".join(sorted(_TIME_UNITS)))
    amount = number(0, 1e9)(item, f"{key.text} of {what}")
    try:
        return timedelta(**{key.text: amount})
    except OverflowError:
        fail(item, f"{what} is too long", f"at most {_LONGEST.days} days")


def mapping(node: Node, what: str) -> dict[str, Any]:
    """Names and plain values."""
    entries_of(node, what)
    value: dict[str, Any] = to_value(node)
    return value


def text_mapping(node: Node, what: str) -> dict[str, str]:
    """Names and texts."""
    return {key.text: text_of(item, f"{key.text} of {what}") for key, item in entries_of(node, what)}


def urls(node: Node, what: str) -> tuple[str, ...]:
    """One http(s) address or several. They are secrets: a refusal does not repeat them."""
    return tuple(_url(item, what) for item in items_of(node))


def _url(node: Node, what: str) -> str:
    address = text_of(node, what).strip()
    try:
        parts = urlsplit(address)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine or not address.isprintable() or " " in address:
        fail(node, f"{what} is no web address", "http://… or https://…")
    return address


def command(node: Node, what: str) -> str | list[str]:
    """A shell script as one text, or a program and its arguments as a list."""
    if isinstance(node, Sequence):
        if not node.items:
            fail(node, f"{what} is empty", "a program and its arguments")
        return [text_of(item, what) for item in node.items]
    return text_of(node, what)


def _short(value: Any) -> str:
    return repr(value)[:60] if not isinstance(value, dict | list) else "not one value"
