"""The parts of a request (its query, its cookies, a header, …), each with its values and with what the
detectors search for among them.

Pure: a part is a function of its text, and most parts come again and again (a browser's headers, a session's
cookies, a path), so those of a moderate length are kept, bounded. What a detector pays for a part is the same
whether the part was kept or not: a budget must not depend on who asked before. Which values a text has is
`sources.inputs`'s and `sources.bodies`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from divertor_sensor.detectors import Candidate, Detector
from divertor_sensor.sources.inputs import (
    Input,
    Inputs,
    read_cookies,
    read_headers,
    read_line,
    read_pairs,
    read_path,
)
from divertor_sensor.work import Work

#: A longer text is extracted each time it comes: keeping it would cost more memory than it saves time.
_MAX_KEPT = 2048
#: What shorter values cost is in the price of having a value.
_SHORT_VALUE = 256
#: Skeletons that one part is remembered to be clear of.
_MAX_CLEAR = 64
#: An input that an app cut is recognised by so many first characters (`divertor_sensor.detectors.sql`), one
#: that begins with a number or a quote by fewer.
_HEAD = 16
_SHORT_HEAD = 6
_NUMERIC = frozenset("-0123456789")
#: Headers whose value is another one in every request: kept apart, so that the others stay the same together.
_VOLATILE = frozenset(
    """
    authorization content-length date idempotency-key if-modified-since if-none-match range traceparent
    tracestate x-amzn-trace-id x-b3-spanid x-b3-traceid x-client-trace-id x-correlation-id
    x-envoy-external-address x-forwarded-for x-real-ip x-request-id x-request-start
    """.split()
)


class Searched(NamedTuple):
    """What a detector looks for in one part. `cost` is what finding that out is worth, in steps.

    `heads` are the beginnings of the texts, which occur in a statement if a text or the cut rest of one does;
    `quoted` tells that a text holds an apostrophe; `clear_of` remembers `is_clear` by skeleton, for a part
    that many requests have in common.
    """

    candidates: tuple[Candidate, ...]
    heads: list[str]
    quoted: bool
    cost: int
    clear_of: dict[str, bool] | None


class Part:
    """One part's values, and by detector what is searched for among them."""

    __slots__ = ("_is_common", "_searched", "inputs")

    def __init__(self, inputs: Inputs, is_common: bool = False) -> None:
        self.inputs = inputs
        self._is_common = is_common
        self._searched: dict[Detector, Searched] = {}

    def searched(self, detector: Detector, work: Work) -> Searched:
        """What `detector` looks for; `work` pays for it.

        :raises divertor_sensor.work.Spent: there is too much of it.
        """
        found = self._searched.get(detector)
        if found is not None:
            work.spend(found.cost)
            return found
        before = work.left
        candidates = _candidates(detector, self.inputs.values, work)
        heads, quoted = [], False
        for text in candidates:
            heads.append(head_of(text))
            quoted = quoted or "'" in text
        clear_of: dict[str, bool] | None
        cost, clear_of = before - work.left, {} if self._is_common else None
        found = Searched(tuple(candidates.values()), heads, quoted, cost, clear_of)
        self._searched[detector] = found
        return found


def head_of(text: str) -> str:
    """What a statement must hold of a text for the text, or what an app left of it, to be in there."""
    head = text[:_HEAD]
    return head[:_SHORT_HEAD] if text[0] in _NUMERIC or '"' in head else head


def is_clear(searched: Searched, skeleton: str) -> bool:
    """Whether nothing that is searched for could reach out of a literal of a statement with this skeleton
    (`divertor_sensor.detectors.skeleton`).
    """
    known = searched.clear_of
    if known is None:
        return _is_clear(searched, skeleton)
    found = known.get(skeleton)
    if found is None:
        if len(known) >= _MAX_CLEAR:
            known.clear()
        found = known[skeleton] = _is_clear(searched, skeleton)
    return found


def _is_clear(searched: Searched, skeleton: str) -> bool:
    if searched.quoted:
        return False
    for head in searched.heads:
        if head in skeleton:
            return False
    return True


def query_part(query: str) -> Part:
    """The pairs of a query. What looks like an attack has many forms, and is not kept."""
    is_kept = len(query) <= _MAX_KEPT and "%" not in query and "'" not in query
    return (_query if is_kept else _query.__wrapped__)(query)


def cookie_part(header: str) -> Part:
    """The values of a `Cookie` header."""
    return _cookies(header) if len(header) <= _MAX_KEPT else _cookies.__wrapped__(header)


def path_part(method: str, path: str, raw_path: str) -> Part:
    """The segments of a decoded path, and what of the request line they do not show."""
    raw = raw_path if "%" in raw_path else ""
    return (_path if len(path) + len(raw) <= _MAX_KEPT else _path.__wrapped__)(method, path, raw)


def header_parts(headers: Mapping[str, str]) -> list[Part]:
    """The headers that tend to stay the same, and the others, if there are any; `cookie` is in neither."""
    names = tuple(headers)
    is_short = len("".join(names)) <= _MAX_KEPT
    steady, values_of, others = (_plan if is_short else _plan.__wrapped__)(names)
    values = values_of(headers)
    is_short = len("".join(values)) <= _MAX_KEPT
    parts = [(_headers if is_short else _headers.__wrapped__)(steady, values)]
    if others:
        parts.append(_of(read_headers, [(name, headers[name]) for name in others]))
    return parts


def _of(read: Callable[..., None], *texts: Any) -> Part:
    inputs = Inputs()
    read(inputs, *texts)
    return Part(inputs)


@lru_cache(maxsize=256)
def _query(text: str) -> Part:
    return _of(read_pairs, "query", text)


@lru_cache(maxsize=256)
def _cookies(text: str) -> Part:
    return _of(read_cookies, text)


@lru_cache(maxsize=256)
def _path(method: str, path: str, raw_path: str) -> Part:
    inputs = Inputs()
    read_path(inputs, path)
    read_line(inputs, method, raw_path)
    return Part(inputs)


@lru_cache(maxsize=256)
def _headers(names: tuple[str, ...], values: tuple[str, ...]) -> Part:
    inputs = Inputs()
    read_headers(inputs, zip(names, values, strict=True))
    return Part(inputs, is_common=True)


_Plan: TypeAlias = tuple[tuple[str, ...], Callable[[Mapping[str, str]], tuple[str, ...]], tuple[str, ...]]


@lru_cache(maxsize=256)
def _plan(names: tuple[str, ...]) -> _Plan:
    """The names of the steady headers, what takes their values, and the names of the others."""
    others = tuple(name for name in names if name in _VOLATILE or name.startswith("x-divertor-"))
    steady = tuple(name for name in names if name not in others and name != "cookie")
    if len(steady) > 1:
        return steady, itemgetter(*steady), others
    return steady, lambda headers: tuple(headers[name] for name in steady), others


def _candidates(detector: Detector, values: Sequence[Input], work: Work) -> dict[str, Candidate]:
    found: dict[str, Candidate] = {}
    work.spend(8 * len(values))
    for origin in values:
        value = origin.value
        if len(value) <= _SHORT_VALUE:
            texts = detector.select(value)
        else:
            work.spend(_cost(value))
            texts = detector.select(value)
            work.spend(sum(map(len, texts)))
        for text in texts:
            if text not in found:
                found[text] = Candidate(text, origin)
    return found


def _cost(value: str) -> int:
    """What its forms may cost: a character that is escaped or resolved takes as long as many that are not."""
    special = sum(map(value.count, "'\"%&"))
    return len(value) * (1 if value.isascii() else 3) + 24 * special
