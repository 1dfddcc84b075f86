"""YAML or JSON text to positioned nodes: the layer every reader of user documents stands on.

It knows scalars, sequences and mappings with their place in the text, and nothing of what they mean.
No constructor ever runs. What could surprise is refused: duplicate keys, tags outside YAML's core, aliases
to something unfinished, and anything too long, too deep or too large once its aliases are written out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Values
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import yaml

from divertor.errors import InputError, Position

#: Characters of text.
MAX_LENGTH = 1024 * 1024
#: Mappings and sequences inside each other.
MAX_DEPTH = 64
#: Nodes once every alias is written out.
MAX_NODES = 100_000

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")
#: Line breaks to YAML 1.1, which folds them into a space even within quotes; ordinary characters to JSON.
_STRANGE_BREAK = re.compile("[\x85\u2028\u2029]")
_CORE = "tag:yaml.org,2002:"
_CORE_TAGS = {_CORE + name for name in ("null", "bool", "int", "float", "str", "seq", "map")}


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value: `text` as written, `value` as YAML's core rules (or JSON's) understand it."""

    text: str
    value: str | int | float | bool | None
    position: Position
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple[Node, ...]
    position: Position


@dataclass(frozen=True, slots=True)
class MappingNode:
    """Keys are scalars; their `text` is unique."""

    entries: tuple[tuple[Scalar, Node], ...]
    position: Position


Node: TypeAlias = Scalar | Sequence | MappingNode


def parse_documents(text: str, source: str) -> list[Node]:
    """The documents of a YAML stream (a JSON document is one), empty ones left out.

    :raises InputError: the text is no such stream, or goes beyond a limit of this module.
    """
    _check_text(text, source)
    looks_like_json = text.lstrip()[:1] in ("{", "[")
    strange = _STRANGE_BREAK.search(text)
    if strange and not looks_like_json:
        raise InputError("an unusual line break", _place(text, strange.start(), source), "line feeds")
    if strange:
        return [_parse_json(text, source)]
    try:
        return list(_Composer(source).documents(text))
    except yaml.YAMLError as problem:
        if looks_like_json:
            return [_parse_json(text, source)]
        _fail_yaml(problem, source)


def from_value(value: Any, source: str) -> Node:
    """Nodes of an already decoded JSON value; a position's source then names the path to the node.

    :raises InputError: the value is no JSON, or goes beyond a limit of this module.
    """
    return _Converter(source).convert(value, "", 0)


def to_value(node: Node) -> Any:
    """The plain JSON-ready value of a node."""
    if isinstance(node, MappingNode):
        return {key.text: to_value(item) for key, item in node.entries}
    if isinstance(node, Sequence):
        return [to_value(item) for item in node.items]
    return node.value


def _check_text(text: str, source: str) -> None:
    if len(text) > MAX_LENGTH:
        raise InputError(f"a document of {len(text)} characters", Position(source), f"at most {MAX_LENGTH}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as problem:
        raise InputError(
            "half a surrogate pair", _place(text, problem.start, source), "Unicode text"
        ) from None


def _place(text: str, offset: int, source: str) -> Position:
    return Position(source, text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


def _fail_yaml(problem: yaml.YAMLError, source: str) -> NoReturn:
    if isinstance(problem, yaml.MarkedYAMLError) and problem.problem_mark is not None:
        mark = problem.problem_mark
        where = Position(source, mark.line + 1, mark.column + 1)
        raise InputError(problem.problem or "not YAML", where, "YAML or JSON") from None
    raise InputError(str(problem).splitlines()[0], Position(source), "YAML or JSON") from None


def _parse_json(text: str, source: str) -> Node:
    """What JSON allows and YAML does not: tabs for indentation, surrogate pairs as escapes."""
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as problem:
        where = Position(source, problem.lineno, problem.colno)
        raise InputError(problem.msg, where, "YAML or JSON") from None
    except (ValueError, RecursionError) as problem:
        raise InputError(str(problem), Position(source), "YAML or JSON") from None
    return from_value(value, source)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is given twice")
        found[key] = value
    return found


@dataclass(frozen=True, slots=True)
class _Measured:
    """A node with what it weighs once its aliases are written out."""

    node: Node
    nodes: int
    depth: int


class _Composer:
    """Parser events to nodes. Its own, as PyYAML's recurses without bound and forgets duplicates."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._anchors: dict[str, _Measured] = {}

    def documents(self, text: str) -> Iterator[Node]:
        events = yaml.parse(text, Loader=yaml.CSafeLoader)
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors = {}
                measured = self._node(next(events), events, 0)
                if not (isinstance(measured.node, Scalar) and measured.node.value is None):
                    yield measured.node

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> _Measured:
        mark = event.start_mark
        position = Position(self._source, mark.line + 1, mark.column + 1) if mark else Position(self._source)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor, position, depth)
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        self._check_tag(event.tag, position)
        if isinstance(event, yaml.ScalarEvent):
            measured = _Measured(_scalar(event, position), 1, 0)
        elif depth >= MAX_DEPTH:
            raise InputError("nested too deeply", position, f"at most {MAX_DEPTH} levels")
        elif isinstance(event, yaml.SequenceStartEvent):
            measured = self._sequence(events, position, depth)
        else:
            measured = self._mapping(events, position, depth)
        if measured.nodes > MAX_NODES:
            raise InputError("too much in one document", position, f"at most {MAX_NODES} values")
        if event.anchor is not None:
            self._anchors[event.anchor] = measured
        return measured

    def _alias(self, anchor: str | None, position: Position, depth: int) -> _Measured:
        measured = self._anchors.get(anchor or "")
        if measured is None:
            raise InputError(f"no finished anchor &{anchor} before this", position)
        if depth + measured.depth > MAX_DEPTH:
            raise InputError("nested too deeply", position, f"at most {MAX_DEPTH} levels")
        return measured

    def _check_tag(self, tag: str | None, position: Position) -> None:
        if tag is not None and tag != "!" and tag not in _CORE_TAGS:
            raise InputError(f"the tag {tag!r} is not supported", position, "plain values")

    def _sequence(self, events: Iterator[yaml.Event], position: Position, depth: int) -> _Measured:
        items: list[Node] = []
        nodes, deepest = 1, 0
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            item = self._node(event, events, depth + 1)
            items.append(item.node)
            nodes, deepest = self._add(nodes, deepest, item, position)
        return _Measured(Sequence(tuple(items), position), nodes, deepest + 1)

    def _mapping(self, events: Iterator[yaml.Event], position: Position, depth: int) -> _Measured:
        entries: list[tuple[Scalar, Node]] = []
        seen: set[str] = set()
        nodes, deepest = 1, 0
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self._key(event, events, depth, seen)
            item = self._node(next(events), events, depth + 1)
            entries.append((key, item.node))
            nodes, deepest = self._add(nodes + 1, deepest, item, position)
        return _Measured(MappingNode(tuple(entries), position), nodes, deepest + 1)

    def _key(self, event: yaml.Event, events: Iterator[yaml.Event], depth: int, seen: set[str]) -> Scalar:
        node = self._node(event, events, depth + 1).node
        if not isinstance(node, Scalar):
            raise InputError("a key that is no plain value", node.position, "a name")
        if node.text == "<<" and not node.quoted:
            raise InputError("merge keys are not supported", node.position, "the keys written out")
        if node.text in seen:
            raise InputError(f"the key {node.text!r} is given twice", node.position)
        seen.add(node.text)
        return node

    def _add(self, nodes: int, deepest: int, item: _Measured, position: Position) -> tuple[int, int]:
        """Counted as it grows, so that a bomb of aliases is refused before it is built."""
        nodes += item.nodes
        if nodes > MAX_NODES:
            raise InputError("too much in one document", position, f"at most {MAX_NODES} values")
        return nodes, max(deepest, item.depth)


def _scalar(event: yaml.ScalarEvent, position: Position) -> Scalar:
    text: str = event.value
    quoted = bool(event.style)
    if quoted or event.tag is not None:
        return Scalar(text, text, position, quoted=quoted)
    return Scalar(text, plain_value(text), position)


def plain_value(text: str) -> str | int | float | bool | None:
    """YAML 1.2's core rules: no `yes`, no octal, no base 60, no dates; those stay the text they are."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if number - number == 0 else text
    return text


class _Converter:
    """Decoded JSON to nodes, within the same limits."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._nodes = 0

    def convert(self, value: Any, path: str, depth: int) -> Node:
        position = Position(f"{self._source} at {path}" if path else self._source)
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise InputError("too much or too deep", position, f"{MAX_NODES} values, {MAX_DEPTH} levels")
        if isinstance(value, Mapping):
            return self._mapping(value, position, path, depth)
        if isinstance(value, str):
            _check_text(value, position.source)
            return Scalar(value, value, position, quoted=True)
        if isinstance(value, Values):
            items = (self.convert(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value))
            return Sequence(tuple(items), position)
        if value is None or isinstance(value, bool | int | float):
            return Scalar(json.dumps(value), value, position)
        raise InputError(f"a {type(value).__name__} is no JSON value", position)

    def _mapping(self, value: Mapping[Any, Any], position: Position, path: str, depth: int) -> Node:
        entries: list[tuple[Scalar, Node]] = []
        for key, item in value.items():
            name = str(key)
            _check_text(name, position.source)
            inner = f"{path}.{name}" if path else name
            entries.append((Scalar(name, name, position, quoted=True), self.convert(item, inner, depth + 1)))
        return MappingNode(tuple(entries), position)
