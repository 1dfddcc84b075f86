"""How readers take values out of positioned nodes: every refusal names the place and what was expected.

Knows names, texts, lists and key sets, not what any of them means.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeVar

from divertor.errors import InputError
from divertor.model.documents import MappingNode, Node, Scalar, Sequence, to_value

T = TypeVar("T")

#: Longer than any name a person types; keeps file names and log lines sane.
MAX_NAME = 200
#: Known words that a mistyped one is compared with.
MAX_SUGGESTIONS = 200
_NAME = re.compile(r"[^\s/\[\]]+")
_STRICT_NAME = re.compile(r"[^\s/\[\].]+")


def fail(node: Node, message: str, expected: str = "") -> NoReturn:
    raise InputError(message, node.position, expected)


def is_null(node: Node | None) -> bool:
    return node is None or (isinstance(node, Scalar) and node.value is None)


def text_of(node: Node, what: str) -> str:
    """The text of a scalar as it was written: `1.10` stays `1.10`."""
    if not isinstance(node, Scalar) or node.value is None:
        fail(node, f"{what} is {_shape(node)}", "a text")
    return node.text


def name_of(node: Node, what: str, strict: bool = False) -> str:
    """A name: no white space, `/`, `[` or `]`; a strict one (ports, variables) no `.` either."""
    name = text_of(node, what)
    allowed = _STRICT_NAME if strict else _NAME
    if not allowed.fullmatch(name) or not name.isprintable() or len(name) > MAX_NAME:
        limits = "white space, '/', '[', ']'" + (" or '.'" if strict else "")
        fail(
            node,
            f"{name[:MAX_NAME]!r} cannot be the name of {what}",
            f"up to {MAX_NAME} characters without {limits}",
        )
    return name


def entries_of(node: Node | None, what: str) -> tuple[tuple[Scalar, Node], ...]:
    """The entries of a mapping; nothing counts as an empty one."""
    if node is None or is_null(node):
        return ()
    if not isinstance(node, MappingNode):
        fail(node, f"{what} is {_shape(node)}", "a mapping")
    return node.entries


def items_of(node: Node | None) -> tuple[Node, ...]:
    """The items of a list; one value stands for a list of one, nothing for an empty one."""
    if node is None or is_null(node):
        return ()
    return node.items if isinstance(node, Sequence) else (node,)


def parsed(node: Node, what: str, parse: Callable[[str], T]) -> T:
    """A scalar's text through a pure parser, whose ValueError says what was expected."""
    text = text_of(node, what)
    try:
        return parse(text)
    except ValueError as problem:
        fail(node, f"{text[:80]!r} is no {what}", str(problem))


def choice_of(node: Node, what: str, choices: Mapping[str, T]) -> T:
    """One of some words, whatever their case."""
    word = text_of(node, what)
    if word.lower() not in choices:
        fail(node, f"{word[:80]!r} is no {what}", suggestion(word.lower(), choices))
    return choices[word.lower()]


def suggestion(word: str, known: Iterable[str]) -> str:
    """The nearest known word, or the first of them. Bounded, as comparing words is slow."""
    names = sorted(known)[:MAX_SUGGESTIONS]
    near = difflib.get_close_matches(word[:MAX_NAME], names, n=1)
    return repr(near[0]) if near else ", ".join(names[:12])


class Fields:
    """The keys of one mapping, each known, under one spelling, given once.

    `aliases` maps other spellings to the known ones; `unsupported` keys are refused unless they are empty,
    as dropping them silently would change what the document means.
    """

    def __init__(
        self,
        node: Node,
        what: str,
        known: Iterable[str],
        aliases: Mapping[str, str] | None = None,
        unsupported: Iterable[str] = (),
    ) -> None:
        self.node = node
        self.what = what
        self._found: dict[str, Node] = {}
        spellings = {name: name for name in known} | dict(aliases or {})
        refused = frozenset(unsupported)
        for key, item in entries_of(node, what):
            if key.text in refused:
                _refuse_unless_empty(key, item, what)
                continue
            if key.text not in spellings:
                fail(key, f"unknown key {key.text[:80]!r} in {what}", suggestion(key.text, spellings))
            name = spellings[key.text]
            if name in self._found:
                fail(key, f"{key.text!r} says {name!r} a second time")
            self._found[name] = item

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def get(self, name: str) -> Node | None:
        """The node of a key; None when the key is missing or its value is null."""
        node = self._found.get(name)
        return None if is_null(node) else node

    def require(self, name: str) -> Node:
        node = self.get(name)
        if node is None:
            fail(self.node, f"{self.what} without {name!r}")
        return node

    def extras(self, names: Iterable[str]) -> dict[str, Any]:
        """Plain values of the keys that are only kept."""
        return {name: to_value(self._found[name]) for name in names if self.get(name) is not None}


def _refuse_unless_empty(key: Scalar, item: Node, what: str) -> None:
    if to_value(item) in (None, [], {}, ""):
        return
    fail(key, f"{key.text!r} of {what} is not supported yet")


def _shape(node: Node) -> str:
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    return "empty" if node.value is None else f"the text {node.text[:80]!r}"
