"""The parts of a request (its query, its cookies, a header, …), each with its values and with what the
detectors search for among them.

Pure: a part is a function of its text, and most parts come again and again (a browser's headers, a session's
cookies, a path), so those of a moderate length are kept, bounded by what they take: one text of signs has a
hundred forms, and attackers send such texts. What a detector pays for a part is the same whether the part was
kept or not: a budget must not depend on who asked before. Which values a text has is `sources.inputs`'s and
`sources.bodies`'s.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from sys import getsizeof
from typing import Any, NamedTuple, TypeAlias

from divertor_sensor.detectors import Candidate, Detector
from divertor_sensor.sources.derived import NOT_ASCII
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
#: Bytes that the kept parts of headers may take, and those of each other kind: fifty browsers' at least.
_MAX_HEADERS, _MAX_OTHERS = 1 << 20, 384 * 1024
#: Bytes that a value takes beside its text, and a form of one; about.
_VALUE, _FORM = 200, 250
#: What the characters of shorter values cost is in the price of having a value, in steps.
_SHORT_VALUE, _A_VALUE = 256, 8
#: What may be escaped or resolved takes as long as many characters that are not.
_SIGNS, _A_SIGN = "'\"%&", 24
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


class Keep:
    """What the kept parts of one kind take. When that is too much, all of them are forgotten: which of them
    will come again is not known, and nobody's request waits for counting. No lock: a count that is lost where
    two threads meet makes the bound a little wider.
    """

    __slots__ = ("_forget", "_most", "_taken")

    def __init__(self, most: int, forget: Callable[[], None]) -> None:
        self._most = most
        self._forget = forget
        self._taken = 0

    def take(self, size: int) -> None:
        """So many bytes more are kept."""
        self._taken += size
        if self._taken > self._most:
            self._taken = 0
            self._forget()


class Searched(NamedTuple):
    """What a detector looks for in one part. `cost` is what finding that out is worth, in steps.

    `heads` are the beginnings of the texts, which occur in a statement if a text or the cut rest of one does;
    `quoted` tells that a text holds an apostrophe; `clear_of` remembers `is_clear` by skeleton, for a part
    that many requests have in common, and `keep` is told what that takes.
    """

    candidates: tuple[Candidate, ...]
    heads: list[str]
    quoted: bool
    cost: int
    clear_of: dict[str, bool] | None
    keep: Keep | None = None


class Part:
    """One part's values, and by detector what is searched for among them. `keep` for a part that is kept;
    `is_common` for one that many requests have in common.
    """

    __slots__ = ("_is_common", "_keep", "_searched", "inputs")

    def __init__(self, inputs: Inputs, keep: Keep | None = None, is_common: bool = False) -> None:
        self.inputs = inputs
        self._keep = keep
        self._is_common = is_common
        self._searched: dict[Detector, Searched] = {}
        if keep is not None:
            keep.take(sum([_VALUE + getsizeof(found.value) for found in inputs.values]))

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
        found = Searched(tuple(candidates.values()), heads, quoted, cost, clear_of, self._keep)
        self._searched[detector] = found
        if self._keep is not None:
            self._keep.take(sum([_FORM + getsizeof(text) for text in candidates]))
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
        if searched.keep is not None:
            searched.keep.take(getsizeof(skeleton))
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
    return _query(query) if is_kept else _of(None, read_pairs, "query", query)


def cookie_part(header: str) -> Part:
    """The values of a `Cookie` header."""
    return _cookies(header) if len(header) <= _MAX_KEPT else _of(None, read_cookies, header)


def path_part(method: str, path: str, raw_path: str) -> Part:
    """The segments of a decoded path, and what of the request line they do not show."""
    raw = raw_path if "%" in raw_path else ""
    if len(path) + len(raw) <= _MAX_KEPT:
        return _path(method, path, raw)
    return _of(None, _read_line, method, path, raw)


def header_parts(headers: Mapping[str, str]) -> list[Part]:
    """The headers that tend to stay the same, and the others, if there are any; `cookie` is in neither."""
    names = tuple(headers)
    is_short = len("".join(names)) <= _MAX_KEPT
    steady, values_of, others = (_plan if is_short else _plan.__wrapped__)(names)
    values = values_of(headers)
    if len("".join(values)) <= _MAX_KEPT:
        parts = [_headers(steady, values)]
    else:
        parts = [Part(_read(read_headers, zip(steady, values, strict=True)), is_common=True)]
    if others:
        parts.append(_of(None, read_headers, [(name, headers[name]) for name in others]))
    return parts


def _of(keep: Keep | None, read: Callable[..., None], *texts: Any) -> Part:
    return Part(_read(read, *texts), keep)


def _read(read: Callable[..., None], *texts: Any) -> Inputs:
    inputs = Inputs()
    read(inputs, *texts)
    return inputs


def _read_line(into: Inputs, method: str, path: str, raw_path: str) -> None:
    read_path(into, path)
    read_line(into, method, raw_path)


@lru_cache(maxsize=256)
def _query(text: str) -> Part:
    return _of(_kept_queries, read_pairs, "query", text)


@lru_cache(maxsize=256)
def _cookies(text: str) -> Part:
    return _of(_kept_cookies, read_cookies, text)


@lru_cache(maxsize=256)
def _path(method: str, path: str, raw_path: str) -> Part:
    return _of(_kept_paths, _read_line, method, path, raw_path)


@lru_cache(maxsize=256)
def _headers(names: tuple[str, ...], values: tuple[str, ...]) -> Part:
    inputs = _read(read_headers, zip(names, values, strict=True))
    return Part(inputs, _kept_headers, is_common=True)


_kept_queries = Keep(_MAX_OTHERS, _query.cache_clear)
_kept_cookies = Keep(_MAX_OTHERS, _cookies.cache_clear)
_kept_paths = Keep(_MAX_OTHERS, _path.cache_clear)
_kept_headers = Keep(_MAX_HEADERS, _headers.cache_clear)


_Plan: TypeAlias = tuple[tuple[str, ...], Callable[[Mapping[str, str]], tuple[str, ...]], tuple[str, ...]]


@lru_cache(maxsize=64)
def _plan(names: tuple[str, ...]) -> _Plan:
    """The names of the steady headers, what takes their values, and the names of the others."""
    others = tuple(name for name in names if name in _VOLATILE or name.startswith("x-divertor-"))
    steady = tuple(name for name in names if name not in others and name != "cookie")
    if len(steady) > 1:
        return steady, itemgetter(*steady), others
    return steady, lambda headers: tuple(headers[name] for name in steady), others


def _candidates(detector: Detector, values: Sequence[Input], work: Work) -> dict[str, Candidate]:
    found: dict[str, Candidate] = {}
    work.spend(_A_VALUE * len(values))
    work.spend(_surcharge("".join([origin.value for origin in values if len(origin.value) <= _SHORT_VALUE])))
    long = _forms_of_long(detector, values, work)
    for origin in values:
        texts = long.get(origin.value) if long else None
        for text in detector.select(origin.value) if texts is None else texts:
            if text not in found:
                found[text] = Candidate(text, origin)
    return found


def _forms_of_long(detector: Detector, values: Sequence[Input], work: Work) -> dict[str, Sequence[str]]:
    """What `detector` looks for of the long values, whose every character is paid for: where that is too
    much, it shows before anything is done for the others, and often before anything is done at all.
    """
    long = [origin.value for origin in values if len(origin.value) > _SHORT_VALUE]
    for value in long:
        work.spend(_cost(value))
    forms: dict[str, Sequence[str]] = {}
    for value in long:
        texts = forms.get(value)
        if texts is None:
            texts = forms[value] = detector.select(value)
        work.spend(sum(map(len, texts)))
    return forms


def _cost(value: str) -> int:
    """What the forms of a long value may cost."""
    return len(value) * (1 if value.isascii() else NOT_ASCII) + _surcharge(value)


def _surcharge(text: str) -> int:
    """What the forms of a text may cost beside the price of its length: some characters stand for many."""
    added = 0 if text.isascii() else len(unicodedata.normalize("NFKC", text)) - len(text)
    return max(0, added) + _A_SIGN * sum(map(text.count, _SIGNS))
