"""Isolations as lines: newline-delimited JSON, one isolation a line, as it is imported and exported. Pure.

A file is understood whole or refused whole, with the line. What is exported can be imported again, elsewhere
too: a line's `id`, and whether it was simulated, follow from the rest and are not believed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from divertor.errors import InputError, Position
from divertor.isolation.batches import SIZE
from divertor.isolation.identity import isolation_id
from divertor.isolation.keys import check_target, checked_selector, checked_value, selector_of
from divertor.model.artifacts import IsolationPolicy, Mode
from divertor.model.events import parse_time
from divertor.model.fields import suggestion
from divertor.model.isolation import Isolation, KeySelector
from divertor.model.quantities import parse_duration, parse_key_selector

#: Most lines of one import, bytes of a line, and bytes of a text other than the key.
MAX_LINES = 2_000_000
MAX_LINE = 32 * 1024
MAX_TEXT = 1000

_FIELDS = frozenset(
    ("scope", "kind", "name", "key", "value", "for", "expires", "target", "reason")
    + ("id", "created", "by", "cause", "parent", "simulated")
)
_SOURCE = "import"


_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class _Template:
    """An isolation without its value, and the policy it is made under."""

    like: Isolation
    policy: IsolationPolicy


@dataclass(slots=True)
class Import:
    """An import under way: `read` each line, in order; then `isolations` by id is all that it means.

    `batch` names it (two imports must not share a name); `by` is who imports, unless a line says who decided.
    """

    policies: Mapping[str, IsolationPolicy]
    now: datetime
    by: str
    batch: str
    isolations: dict[str, Isolation] = field(default_factory=dict)
    #: Lines read, and those among them that no longer hold.
    lines: int = 0
    expired: int = 0

    def __post_init__(self) -> None:
        # Most lines differ in their value alone; an unbounded number of templates must not be kept.
        self._template = lru_cache(1024)(self._read_template)

    _template: Callable[[tuple[tuple[str, Any], ...]], _Template] = field(init=False, repr=False)

    def read(self, line: bytes) -> None:
        """Takes the next line; an empty one says nothing.

        :raises InputError: it is not understood; nothing of the import may be used then.
        """
        self.lines += 1
        if not line.strip():
            return
        try:
            self._take(self._parsed(line))
        except InputError as problem:
            if problem.position.line:
                raise
            where = Position(_SOURCE, self.lines, 1)
            raise InputError(problem.message, where, problem.expected) from problem

    def _parsed(self, line: bytes) -> dict[str, Any]:
        if self.lines > MAX_LINES:
            raise _refused(f"more than {MAX_LINES} lines")
        if len(line) > MAX_LINE:
            raise _refused(f"a line of more than {MAX_LINE} bytes")
        try:
            data = _DECODER.decode(str(line, "utf-8"))
        except json.JSONDecodeError as problem:
            at = Position(_SOURCE, self.lines, problem.colno)
            raise InputError(f"no JSON: {problem.msg}", at, "an object on each line") from None
        except (ValueError, RecursionError):
            raise _refused("no JSON", "an object in UTF-8") from None
        if not isinstance(data, dict):
            raise _refused("no isolation", 'an object such as {"scope": …, "key": …, "value": …}')
        return data

    def _take(self, data: dict[str, Any]) -> None:
        given = _text(data, "value", MAX_LINE)
        data.pop("value", None)
        try:
            template = self._template(tuple(data.items()))
        except TypeError:  # a list or a mapping, where there are texts only
            raise _refused("a field that is no text", "texts") from None
        like, policy = template.like, template.policy
        value = checked_value(policy, like.scope, like.selector, given)
        if like.expires is not None and like.expires <= self.now:
            self.expired += 1
            return
        id = isolation_id(like.scope, like.selector, value)
        before = self.isolations.get(id)
        if before is not None and not _outlasts(like.expires, before.expires):
            return
        number = len(self.isolations) // SIZE
        if number != self._number:
            self._number, self._batch = number, f"{self.batch}-{number}"
        self.isolations[id] = Isolation(
            id,
            like.scope,
            like.selector,
            value,
            like.target,
            like.created,
            like.expires,
            like.by,
            like.reason,
            like.cause,
            like.parent,
            like.simulated,
            self._batch,
        )

    _number: int = field(init=False, default=-1, repr=False)
    _batch: str = field(init=False, default="", repr=False)

    def _read_template(self, items: tuple[tuple[str, Any], ...]) -> _Template:
        """Everything of a line but its value."""
        data = dict(items)
        if not data.keys() <= _FIELDS:
            name = next(name for name in data if name not in _FIELDS)
            raise _refused(f"unknown key {name[:80]!r}", suggestion(name, _FIELDS))
        scope = _text(data, "scope")
        policy, selector = self._find_place(
            scope, _text(data, "kind"), _text(data, "name"), _text(data, "key")
        )
        check_target(policy, scope, _text(data, "target"))
        created, expires = self._times(data, policy)
        like = Isolation(
            "",
            scope,
            selector,
            "",
            policy.to,
            created,
            expires,
            _text(data, "by") or self.by,
            _text(data, "reason") or "imported",
            _text(data, "cause"),
            _text(data, "parent"),
            policy.mode is Mode.SIMULATE,
        )
        return _Template(like, policy)

    def _find_place(self, scope: str, kind: str, name: str, key: str) -> tuple[IsolationPolicy, KeySelector]:
        policy = self.policies.get(scope)
        if policy is None:
            known = ", ".join(sorted(self.policies)) or "none: no blueprint has an isolation section"
            raise _refused(f"nobody can be isolated in {scope[:80]!r}", f"one of: {known}")
        if bool(key) == bool(kind):
            raise _refused("a key that is given not at all, or twice", "either key, or kind and name")
        try:
            selector = parse_key_selector(key) if key else selector_of(kind.lower(), name)
        except ValueError as problem:
            raise _refused(f"{(key or f'{kind} {name}')[:80]!r} is no key", str(problem)) from None
        return policy, checked_selector(policy, scope, selector)

    def _times(self, data: dict[str, Any], policy: IsolationPolicy) -> tuple[datetime, datetime | None]:
        """When it was decided, and when it ends: as the line says, or as the policy does."""
        made = _text(data, "created")
        created = min(self._moment(made, "created"), self.now) if made else self.now
        span = _text(data, "for")
        if span:
            if "expires" in data:
                raise _refused("a time that is given twice", "either for or expires")
            try:
                length = parse_duration(span)
            except ValueError as problem:
                raise _refused(f"{span[:80]!r} is no span of time", str(problem)) from None
        elif "expires" in data:
            ends = _text(data, "expires")
            return created, self._moment(ends, "expires") if ends else None
        else:
            length = policy.duration
        return created, None if length is None else self.now + length

    def _moment(self, text: str, what: str) -> datetime:
        try:
            return parse_time(text)
        except ValueError:
            raise _refused(f"{what} is no time: {text[:80]!r}", "such as 2030-01-31T12:00:00Z") from None


def to_lines(isolations: Iterable[Isolation]) -> Iterator[bytes]:
    """Each isolation as a line, its line feed included."""
    return (json.dumps(each.to_json(), separators=(",", ":")).encode() + b"\n" for each in isolations)


def _outlasts(one: datetime | None, other: datetime | None) -> bool:
    return other is not None and (one is None or one > other)


def _text(data: dict[str, Any], name: str, most: int = MAX_TEXT) -> str:
    value = data.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > most:
        raise _refused(f"{name!r} is no text, or too long", f"up to {most} characters")
    return value


def _refused(message: str, expected: str = "") -> InputError:
    return InputError(message, Position(_SOURCE), expected)
