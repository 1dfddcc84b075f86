"""Lists of values for `blacklist` and `whitelist`: what an entry stands for, and entries from files.

An entry is a value as it is written (`5` also as a number), a network (`10.0.0.0/8`, for addresses), a
pattern with `*` or `?`, a regular expression between slashes (Lucene's, run in linear time), or `!file
path`, which stands for the lines of a file. Reading the files is the edge's: a `Listed` holds the entries
in use, and `refresh` reads again what changed. Everything else here is pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from stat import S_ISREG
from typing import Any, TypeAlias

from divertor.errors import UnavailableError
from divertor.model.documents import Node
from divertor.model.fields import fail, items_of, text_of
from divertor.rules.document import scalar_text
from divertor.rules.filters.dsl_reading import glob_of
from divertor.rules.filters.matching import glob_pattern
from divertor.rules.filters.regexp import compile_regexp

#: A file of entries is refused beyond this: 64 MiB, a few million addresses.
MAX_FILE = 64 * 2**20

#: Entries that have to be tried one after the other.
MAX_PATTERNS = 1000

#: Texts up to so many characters are likely to come again: what was said of so many is remembered. Events are
#: chosen by attackers, so both are bounded.
_SHORT = 64
_REMEMBERED = 16_384

_FILE = "!file"

#: How many bits an address has.
_WIDTHS = {4: 32, 6: 128}

Covers: TypeAlias = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Entries:
    """A list, ready to be asked. `networks`: for each IP version and length of the mask, the networks'
    bits.
    """

    texts: frozenset[str] = frozenset()
    numbers: frozenset[float] = frozenset()
    networks: dict[tuple[int, int], frozenset[int]] = field(default_factory=dict)
    patterns: tuple[Covers, ...] = ()
    #: What was asked lately.
    _known: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)

    def has(self, value: Any) -> bool:
        """Whether the list has a scalar, as it is or as it would be spelled."""
        known = self._known.get(value) if value.__class__ is str else None
        return self._remember(value) if known is None else known

    def _remember(self, value: Any) -> bool:
        found = self._has(value)
        if value.__class__ is str and len(value) <= _SHORT:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[value] = found
        return found

    def _has(self, value: Any) -> bool:
        text = value if value.__class__ is str else scalar_text(value)
        if text in self.texts or (text is not value and _is_number(value) and value in self.numbers):
            return True
        if self.networks and self._in_network(text):
            return True
        return bool(self.patterns) and any(covers(text) for covers in self.patterns)

    def _in_network(self, text: str) -> bool:
        if len(text) > 45 or ("." not in text and ":" not in text):
            return False
        number, bits = _address(text)
        for (version, length), networks in self.networks.items():
            if version == number and bits >> (_WIDTHS[version] - length) in networks:
                return True
        return False


def parse_entries(entries: Iterable[str]) -> Entries:
    """The entries, understood; `!file` entries are not for here.

    :raises ValueError: a regular expression that is none, or too many patterns; the message says which entry.
    """
    texts: set[str] = set()
    numbers: set[float] = set()
    networks: dict[tuple[int, int], set[int]] = {}
    patterns: list[Covers] = []
    for entry in entries:
        if len(entry) > 2 and entry.startswith("/") and entry.endswith("/"):
            patterns.append(_regexp(entry))
        elif "*" in entry or "?" in entry:
            patterns.append(_pattern(entry))
        else:
            texts.add(entry)
            numbers.update(_number(entry))
            _add_network(networks, entry)
    if len(patterns) > MAX_PATTERNS:
        raise ValueError(
            f"{len(patterns)} entries with wildcards or regular expressions; at most {MAX_PATTERNS}"
        )
    packed = {mask: frozenset(found) for mask, found in networks.items()}
    return Entries(frozenset(texts), frozenset(numbers), packed, tuple(patterns))


def parse_literally(entries: Iterable[str]) -> Entries:
    """As ElastAlert understands entries: texts, and regular expressions between slashes."""
    entries = list(entries)
    patterns = [
        entry for entry in entries if len(entry) > 2 and entry.startswith("/") and entry.endswith("/")
    ]
    return Entries(frozenset(entries) - set(patterns), patterns=tuple(map(_regexp, patterns)))


@dataclass(slots=True)
class Listed:
    """The entries a rule uses now: those of its own text and the lines of its files. `files` are paths as
    they are written in the rule.
    """

    written: tuple[str, ...]
    files: tuple[str, ...] = ()
    literal: bool = False
    entries: Entries = field(default_factory=Entries)

    @classmethod
    def of(cls, given: Iterable[str], *, literal: bool = False) -> Listed:
        """Of a rule's option; the files' lines come with `use`.

        :raises ValueError: an entry makes no sense.
        """
        given = tuple(given)
        files = tuple(_path(entry) for entry in given if entry.startswith(_FILE))
        listed = cls(tuple(entry for entry in given if not entry.startswith(_FILE)), files, literal)
        listed.use(())
        return listed

    def use(self, lines: Iterable[str]) -> None:
        """From now on these lines are what the files hold.

        :raises ValueError: an entry makes no sense; the entries stay as they were.
        """
        parse = parse_literally if self.literal else parse_entries
        self.entries = parse([*self.written, *lines])


@dataclass(slots=True)
class Reader:
    """Reads the files of one `Listed`, relative paths from `base`, whenever one of them changed."""

    listed: Listed
    base: Path
    _known: tuple[tuple[int, int, int], ...] | None = None

    def refresh(self) -> bool:
        """Read the files if they are not what they were; whether they were read.

        :raises UnavailableError: a file cannot be read, or an entry makes no sense; the list stays as it was.
        """
        paths = [self.base / name for name in self.listed.files]
        marks = tuple(_mark(path) for path in paths)
        if marks == self._known:
            return False
        lines = [line for path in paths for line in _lines(path)]
        try:
            self.listed.use(lines)
        except ValueError as problem:
            raise UnavailableError(f"{', '.join(map(str, paths))}: {problem}") from problem
        self._known = marks
        return True


def entries(node: Node, what: str) -> tuple[str, ...]:
    """The option's reader: the entries as they are written, each of which makes sense."""
    found = []
    for item in items_of(node):
        entry = text_of(item, what)
        try:
            _path(entry) if entry.startswith(_FILE) else parse_entries([entry])
        except ValueError as problem:
            fail(item, f"{what}: {problem}", "a value, a network, a pattern, /an expression/ or !file path")
        found.append(entry)
    return tuple(found)


def readers(behaviour: object, source: str) -> list[Reader]:
    """What reads the files that a rule type's lists name; `source` is the rule's file."""
    listed = getattr(behaviour, "listed", None)
    return [Reader(listed, Path(source).parent)] if isinstance(listed, Listed) and listed.files else []


def _mark(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError as problem:
        raise UnavailableError(f"{path}: {problem.strerror}") from problem
    if not S_ISREG(found.st_mode):
        raise UnavailableError(f"{path}: no file")  # a pipe would be waited for by everybody
    return found.st_mtime_ns, found.st_size, found.st_ino


def _lines(path: Path) -> list[str]:
    """The lines of a file without what ends them; an empty one is no entry."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except OSError as problem:
        raise UnavailableError(f"{path}: {problem.strerror}") from problem
    if len(content) > MAX_FILE:
        raise UnavailableError(f"{path}: a list longer than {MAX_FILE} bytes")
    text = content.decode("utf-8", "replace")
    return [entry for line in text.splitlines() if (entry := line.rstrip())]


def _path(entry: str) -> str:
    path = entry.removeprefix(_FILE).strip()
    if not path:
        raise ValueError(f"{entry[:80]!r} without a path")
    return path


def _regexp(entry: str) -> Covers:
    try:
        return compile_regexp(entry[1:-1], ignore_case=False)
    except ValueError as problem:
        raise ValueError(f"{entry[:80]!r}: {problem}") from problem


def _pattern(entry: str) -> Covers:
    fullmatch = glob_pattern(glob_of(entry), ignore_case=False).fullmatch
    return lambda text: fullmatch(text) is not None


def _add_network(networks: dict[tuple[int, int], set[int]], entry: str) -> None:
    """An address is a network of one, so that it is found however it is spelled."""
    if "." not in entry and ":" not in entry:
        return
    try:
        network = ip_network(entry, strict=False)
    except ValueError:
        return
    bits = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
    networks.setdefault((network.version, network.prefixlen), set()).add(bits)


@lru_cache(maxsize=65_536)
def _address(text: str) -> tuple[int, int]:
    """The version of an address and its bits; (0, 0) for what is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return 0, 0
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    found = mapped or address
    return found.version, int(found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(entry: str) -> list[float]:
    # Only plain spellings: not `1_000`, `nan` or `infinity`, which float would take.
    if not entry or len(entry) > 40 or not set(entry) <= set("0123456789.+-eE"):
        return []
    try:
        return [float(entry)]
    except ValueError:
        return []
