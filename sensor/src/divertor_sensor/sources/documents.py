"""JSON as a source: the strings of a document under their paths, and its operator documents.

Pure. Used for bodies (`sources.bodies`) and for JSON inside another value (`sources.nested`).
Bounded: no deeper than `MAX_DEPTH`, no more than `_MAX_NODES` values; a bound that was hit is told.

An *operator document* is an object with a key that begins with `$`: to a document database such an object is
an instruction where the program expected a value (CWE-943). It becomes an input whose value is the
document's canonical text, `json.dumps(document, sort_keys=True, separators=(",", ":"))`, under the name of
its field. The same goes for what parsers of brackets build of `user[$ne]=x`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from divertor_sensor.sources.derived import JSON_STRING, json_unescaped

if TYPE_CHECKING:
    from divertor_sensor.sources.inputs import Inputs

MAX_DEPTH = 64
_MAX_NODES = 32 * 1024
#: Characters of canonical text per document: objects within objects repeat what is inside them.
_MAX_OPERATORS = 128 * 1024
_MAX_NAME = 200
_MAX_BRACKETS = 16

_BRACKETED = re.compile(r"([^\[\]]*)((?:\[[^\[\]]*\])*)")
_BRACKET = re.compile(r"\[([^\[\]]*)\]")


class _Pairs(list[tuple[str, Any]]):
    """An object's pairs, repeated keys included: parsers differ in which of them they keep."""


def canonical(document: Any) -> str:
    """The text by which operator documents are compared."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def read_json(into: Inputs, source: str, name: str, text: str) -> bool:
    """Take the strings and operator documents of the JSON `text`; False when it is none.

    Of what only looks like JSON, or was cut, every quoted string is taken: the app may have used it.
    """
    try:
        document = json.loads(text, object_pairs_hook=_Pairs, strict=False)
    except (ValueError, RecursionError):
        for match in JSON_STRING.finditer(text):
            if not into.add(source, name, json_unescaped(match[1])):
                break
        return False
    if not isinstance(document, (str, list)):
        return True
    _Strings(into, source).walk(name, document, 0)
    if isinstance(document, list) and ('"$' in text or "\\u0024" in text):
        _Operators(into, source).walk(name, document, 0)
    return True


class _Strings:
    """Collects the strings of a document, keys that are no plain names included."""

    def __init__(self, into: Inputs, source: str) -> None:
        self._into = into
        self._source = source
        self._nodes = 0

    def walk(self, name: str, node: Any, depth: int) -> None:
        """Take `node`, called `name`, and all below it."""
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > _MAX_NODES or self._into.is_full():
            self._into.complete = False
        elif isinstance(node, str):
            self._into.add(self._source, name, node)
        elif isinstance(node, _Pairs):
            self._walk_object(name, node, depth)
        else:
            for index, value in enumerate(node):
                if isinstance(value, (str, list)):
                    if self._nodes > _MAX_NODES or self._into.is_full():
                        return
                    self.walk(_at(name, index), value, depth + 1)

    def _walk_object(self, name: str, pairs: _Pairs, depth: int) -> None:
        for key, value in pairs:
            inner = _below(name, key)
            if not key.isidentifier():
                self._into.add(self._source, inner, key)
            if isinstance(value, (str, list)):
                if self._nodes > _MAX_NODES or self._into.is_full():
                    return
                self.walk(inner, value, depth + 1)


def _below(name: str, key: str) -> str:
    return f"{name}.{key}".lstrip(".")[:_MAX_NAME]


def _at(name: str, index: int) -> str:
    return f"{name}[{index}]"[:_MAX_NAME]


class _Operators:
    """Collects operator documents; texts are put together from the innermost out, so each is made once."""

    def __init__(self, into: Inputs, source: str) -> None:
        self._into = into
        self._source = source
        self._left = _MAX_OPERATORS

    def walk(self, name: str, node: Any, depth: int) -> str:
        """The canonical text of `node`; "" once too much was seen, which is told."""
        if depth > MAX_DEPTH or self._left < 0 or self._into.is_full():
            self._into.complete = False
            return ""
        if not isinstance(node, list):
            return canonical(node)
        if not isinstance(node, _Pairs):
            items = [self.walk(_at(name, index), value, depth + 1) for index, value in enumerate(node)]
            return f"[{','.join(items)}]"
        texts = {key: self.walk(_below(name, key), value, depth + 1) for key, value in node}
        text = "{" + ",".join([f"{canonical(key)}:{texts[key]}" for key in sorted(texts)]) + "}"
        if any(key.startswith("$") for key in texts):
            self._take(name, text)
        return text

    def _take(self, name: str, text: str) -> None:
        self._left -= len(text)
        if self._left < 0:
            self._into.complete = False
        else:
            self._into.add_leaf(self._source, name, text)


def names_operator(name: str) -> bool:
    """Whether a field's decoded name makes an operator document of its form."""
    return "[$" in name or name.startswith("$")


def read_brackets(into: Inputs, source: str, pairs: Iterable[tuple[str, str]]) -> None:
    """The operator documents that parsers of brackets build: `user[$ne]=x` is `{"$ne":"x"}` under `user`.

    `pairs` are decoded. Values count as text, and numbers also as numbers: parsers differ. A name that begins
    with `$` itself makes the whole form an operator document.
    """
    texts: dict[str, Any] = {}
    numbers: dict[str, Any] = {}
    for name, value in pairs:
        keys = _keys(name)
        if len(keys) > _MAX_BRACKETS:
            into.complete = False
            continue
        _put(texts, keys, value)
        _put(numbers, keys, int(value) if value.isdecimal() and len(value) < 19 else value)
    before = len(into.values)
    _add_operators(into, source, texts)
    if numbers != texts and len(into.values) > before:
        _add_operators(into, source, numbers)


def _keys(name: str) -> list[str]:
    match = _BRACKETED.fullmatch(name)
    return [match[1], *_BRACKET.findall(match[2])] if match else [name]


def _put(tree: dict[str, Any], keys: list[str], value: str | int) -> None:
    """Set a value below `keys`; what comes under a key that is taken goes beside it, as in a list."""
    for key in keys[:-1]:
        below = tree.get(key)
        if not isinstance(below, dict):
            below = tree[key] = {}
        tree = below
    last = keys[-1] or str(len(tree))
    if last not in tree:
        tree[last] = value


def _add_operators(into: Inputs, source: str, tree: dict[str, Any]) -> None:
    operators = _Operators(into, source)
    operators.walk("", _as_pairs(tree), 0)
    single = [key for key in tree if key.startswith("$")]
    if len(tree) > 1:
        for key in single:
            operators.walk("", _as_pairs({key: tree[key]}), 0)


def _as_pairs(node: Any) -> Any:
    """A tree of brackets as a document: objects whose keys count from 0 are lists."""
    if not isinstance(node, dict):
        return node
    if all(key.isdecimal() for key in node):
        return [_as_pairs(value) for value in node.values()]
    return _Pairs((key, _as_pairs(value)) for key, value in node.items())
