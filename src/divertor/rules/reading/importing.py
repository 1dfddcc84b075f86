"""What a rule file draws on besides its own text: imported files, a directory's defaults, the environment.

Pure: files are read by what is handed in (`Surroundings`; `files.py` makes one of a directory). A rule that
comes by the API has no surroundings: it can neither read files nor see the environment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TypeAlias

from divertor.errors import InputError, Position, UnavailableError
from divertor.model.documents import MappingNode, Node, Scalar, Sequence, parse_documents, plain_value
from divertor.model.fields import fail, items_of, text_of
from divertor.rules.reading.options import Given

#: Files that one rule may import, all together.
MAX_IMPORTS = 50

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*)(?!\$|\w))")
#: So many characters of a value in a message give it away.
_TELLING = 6

#: Where a path in a file leads, and the text there: `read(path, importer's source)` → source, text.
ReadFile: TypeAlias = Callable[[str, str], tuple[str, str]]


def _nothing(path: str, source: str) -> tuple[str, str]:
    raise UnavailableError("only rule files on disk can refer to other files")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`defaults` are the options of the directory's `config.yaml`; `environment` the variables that rules may
    use; `read` raises `UnavailableError` where nothing can be read.
    """

    defaults: Given | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    read: ReadFile = _nothing


ALONE = Surroundings()


@dataclass(slots=True)
class Drawn:
    """What a rule drew from elsewhere, so that a change of it is noticed, and secrets are not told."""

    texts: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """Tells apart; nobody reads a secret from it who does not know it already."""
        if not self.texts and not self.variables:
            return ""
        parts = [*self.texts, *(f"{name}={value}" for name, value in sorted(self.variables.items()))]
        return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def without_secrets(self, problem: InputError) -> InputError:
        """The same refusal, but of a variable's value it says no more than the variable's name."""
        which = self._given_away(f"{problem.message} {problem.expected}")
        if not which:
            return problem
        return InputError(f"what {which} stands for cannot be used here", problem.position)

    def redacted(self, warning: str) -> str:
        """The same warning, unless it tells of a variable's value."""
        which = self._given_away(warning)
        return f"a warning about what {which} stands for" if which else warning

    def _given_away(self, told: str) -> str:
        names = [name for name, value in self.variables.items() if _gives_away(told, value)]
        return " or ".join(f"${name}" for name in sorted(names))


def _gives_away(told: str, value: str) -> bool:
    """Whether a message shows a recognisable part of a value, be it quoted or cut."""
    if len(value) <= _TELLING:
        return len(value) > 1 and value in told
    pieces = (value[start : start + _TELLING] for start in range(0, len(value) - _TELLING + 1))
    return any(piece in told for piece in pieces)


def whole(text: str, source: str, around: Surroundings, drawn: Drawn) -> Given:
    """The options of a rule file with those it imports below its own, and the defaults below all.

    What is nearer to the rule wins; filters add up, imported ones first.

    :raises InputError: a text is no mapping, an import cannot be read, imports go in a circle.
    """
    given = _with_imports(Given.of(parse_one(text, source), "a rule"), source, (source,), around, drawn)
    if around.defaults is not None:
        missing = {
            name: entry for name, entry in around.defaults.entries.items() if name not in given.entries
        }
        drawn.texts.extend(f"{name}={entry[1]!r}" for name, entry in sorted(missing.items()))
        given = given.over(around.defaults)
    given = replace(given, entries={name: entry for name, entry in given.entries.items() if name != "import"})
    return _with_template(expanded(given, around.environment, drawn), source, around, drawn)


def parse_one(text: str, source: str) -> MappingNode:
    """The one mapping in a text.

    :raises InputError: it is anything else.
    """
    documents = parse_documents(text, source)
    if len(documents) != 1:
        raise InputError(f"{len(documents)} documents", Position(source, 1, 1), "one rule in a file")
    (node,) = documents
    if not isinstance(node, MappingNode):
        fail(node, "not a rule", "a mapping with name, type, index, filter and alert")
    return node


def _with_imports(
    given: Given, source: str, chain: tuple[str, ...], around: Surroundings, drawn: Drawn
) -> Given:
    for node in reversed(items_of(given.node("import"))):
        given = _over(given, _imported(node, source, chain, around, drawn))
    return given


def _imported(node: Node, source: str, chain: tuple[str, ...], around: Surroundings, drawn: Drawn) -> Given:
    path = text_of(node, "import")
    if len(drawn.texts) >= MAX_IMPORTS:
        fail(node, "too many imports", f"at most {MAX_IMPORTS} for a rule")
    found, text = _read(node, path, source, around)
    if found in chain:
        circle = " → ".join((*chain[chain.index(found) :], found))
        fail(node, f"imports in a circle: {circle}")
    drawn.texts.append(text)
    given = Given.of(parse_one(text, found), "an imported file")
    return _with_imports(given, found, (*chain, found), around, drawn)


def _read(node: Node, path: str, source: str, around: Surroundings) -> tuple[str, str]:
    try:
        return around.read(path, source)
    except UnavailableError as problem:
        fail(node, f"{path[:200]!r} cannot be read: {problem}", "a file that is there, relative to this one")


def _over(given: Given, base: Given) -> Given:
    both = given.over(base)
    own, imported = given.entries.get("filter"), base.entries.get("filter")
    if own is None or imported is None:
        return both
    together = Sequence((*items_of(imported[1]), *items_of(own[1])), own[1].position)
    return replace(both, entries={**both.entries, "filter": (own[0], together)})


def _with_template(given: Given, source: str, around: Surroundings, drawn: Drawn) -> Given:
    """The text of a template file in the place of its path."""
    node = given.node("jinja_template_path")
    if node is None:
        return given
    path = text_of(node, "jinja_template_path")
    _found, text = _read(node, path, node.position.source or source, around)
    drawn.texts.append(text)
    key, _item = given.entries["jinja_template_path"]
    filled = (key, Scalar(text, text, node.position, quoted=True))
    return replace(given, entries={**given.entries, "jinja_template_path": filled})


def expanded(given: Given, environment: Mapping[str, str], drawn: Drawn) -> Given:
    """With `$NAME` and `${NAME}` replaced where the environment has the variable; others stay as they are."""
    if not environment:
        return given

    def value_of(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in environment:
            return found[0]
        drawn.variables[name] = environment[name]
        return environment[name]

    def of(node: Node) -> Node:
        if isinstance(node, MappingNode):
            return replace(node, entries=tuple((key, of(item)) for key, item in node.entries))
        if isinstance(node, Sequence):
            return replace(node, items=tuple(of(item) for item in node.items))
        text = _VARIABLE.sub(value_of, node.text) if "$" in node.text else node.text
        return node if text == node.text else _scalar(node, text)

    return replace(given, entries={name: (key, of(item)) for name, (key, item) in given.entries.items()})


def _scalar(node: Scalar, text: str) -> Scalar:
    """As if the text had been written there: without quotes a number is a number."""
    return replace(node, text=text, value=text if node.quoted else plain_value(text))


def variables_in(given: Given) -> Iterator[tuple[str, Node]]:
    """Every `$NAME` and `${NAME}` that is still in a file, with its place."""
    for _key, item in given.entries.values():
        yield from _variables_of(item)


def _variables_of(node: Node) -> Iterator[tuple[str, Node]]:
    if isinstance(node, Scalar):
        yield from ((found[1] or found[2], node) for found in _VARIABLE.finditer(node.text))
        return
    inner = node.items if isinstance(node, Sequence) else tuple(item for _key, item in node.entries)
    for item in inner:
        yield from _variables_of(item)
