"""How one query leaf judges one value: words, whole values, wildcards, ranges.

A leaf does not know how a field would be mapped in Elasticsearch (text, keyword, number, date, ip), so it
decides by what the value is: a string is both its words and itself, a number is compared as a number, and a
name that ends in `.keyword` asks for the whole value only. Every test is linear in the length of the value,
because the value comes from an attacker. Parsing queries is elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias

from divertor.model.events import parse_time
from divertor.rules.document import Document, scalar_text, words
from divertor.rules.filters.dates import ISO_8601, DateReading, Moment, is_date_math, time_of_number
from divertor.rules.filters.filter import Predicate
from divertor.rules.filters.fuzzy import in_sloppy_row, within
from divertor.rules.filters.places import Where, values_at

#: Judges one scalar of an event; the document lends its remembered words.
ValueTest: TypeAlias = Callable[[Any, Document], bool]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Wild(Enum):
    """A wildcard in a glob: any run of characters, or any one."""

    MANY = "*"
    ONE = "?"


#: A wildcard pattern: literal text and wildcards, in order.
Glob: TypeAlias = tuple[str | Wild, ...]


def any_value(where: Where, test: ValueTest) -> Predicate:
    """True when any value at the place passes the test."""
    if isinstance(where, str):

        def any_there(document: Document) -> bool:
            for value in document.values(where):  # a generator takes twice as long
                if test(value, document):
                    return True
            return False

        return any_there
    return lambda document: any(test(value, document) for value in values_at(where, document))


def words_or_whole(text: str) -> ValueTest:
    """The value is the text, holds its words in a row, equals its number, or lies in its network."""
    wanted = words(text)
    exact = whole_value(text)
    network = as_network(text)

    def test(value: Any, document: Document) -> bool:
        if exact(value, document):
            return True
        if not isinstance(value, str):
            return False
        if holds_in_a_row(document.words(value), wanted):
            return True
        return network is not None and is_inside(value, network)

    return test


def whole_value(text: str) -> ValueTest:
    """The value, spelled as a query would, is the text; a number is equal as a number."""
    number = as_number(text)

    def test(value: Any, _document: Document) -> bool:
        if isinstance(value, str):
            return value == text
        if isinstance(value, bool):
            return scalar_text(value) == text.lower()
        return isinstance(value, int | float) and (value == number or str(value) == text)

    return test


def nearly(text: str, edits: int, *, whole_only: bool, prefix: int = 0, swaps: bool = True) -> ValueTest:
    """A word of the value is the text but for some edits; with `whole_only`, the value is."""

    def test(value: Any, document: Document) -> bool:
        spelled = scalar_text(value)
        if within(
            spelled if whole_only else spelled.lower(), text, edits, prefix=prefix, transpositions=swaps
        ):
            return True
        if whole_only:
            return False
        # Each different word once: a long value may be one word over and over.
        return any(
            within(word, text, edits, prefix=prefix, transpositions=swaps)
            for word in set(document.words(spelled))
        )

    return test


def words_nearly_in_a_row(text: str, slop: int) -> ValueTest:
    """The value holds the text's words with at most `slop` positions between them and a row."""
    wanted = words(text)
    exact = whole_value(text)

    def test(value: Any, document: Document) -> bool:
        if exact(value, document):
            return True
        return isinstance(value, str) and in_sloppy_row(document.words(value), wanted, slop)

    return test


def word_or_whole_exactly(text: str) -> ValueTest:
    """`term`: the whole value, or one of its (lower-case) words, with no analysis of the text asked for."""
    exact = whole_value(text)

    def test(value: Any, document: Document) -> bool:
        if isinstance(value, str):
            return value == text or text in document.words(value)
        return exact(value, document)

    return test


def whole_value_any_case(text: str) -> ValueTest:
    """The value is the text but for case."""
    exact, lower = whole_value(text), text.lower()

    def test(value: Any, document: Document) -> bool:
        return exact(value, document) or (isinstance(value, str) and value.lower() == lower)

    return test


def word_or_whole_any_case(text: str) -> ValueTest:
    """The whole value or one of its words is the text but for case."""
    whole, lower = whole_value_any_case(text), text.lower()

    def test(value: Any, document: Document) -> bool:
        return whole(value, document) or (isinstance(value, str) and lower in document.words(value))

    return test


def row_with_prefix(text: str, *, whole_only: bool) -> ValueTest:
    """The value holds the text's words in a row, the last of them perhaps longer."""
    run = f" {' '.join(words(text))}"

    def test(value: Any, document: Document) -> bool:
        if whole_only:
            return scalar_text(value).startswith(text)
        return isinstance(value, str) and run in f" {' '.join(document.words(value))}"

    return test


def holds_in_a_row(have: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Whether `wanted` is a run inside `have`; nothing wanted is not held."""
    if len(wanted) == 1:
        return wanted[0] in have
    if not wanted or len(wanted) > len(have):
        return False
    # Joining on a character no word contains turns the run into one substring search.
    return f" {' '.join(wanted)} " in f" {' '.join(have)} "


def glob_test(glob: Glob, *, whole_only: bool, ignore_case: bool) -> ValueTest:
    """The glob covers the whole value or, unless `whole_only`, one of its words."""
    return covered(glob_covers(glob, ignore_case=ignore_case), whole_only=whole_only)


def glob_covers(glob: Glob, *, ignore_case: bool) -> Callable[[str], bool]:
    """Whether a glob covers a text. Any case means both in lower case, as words are."""
    if not ignore_case:
        exactly = glob_pattern(glob, ignore_case=False).fullmatch
        return lambda text: exactly(text) is not None
    lower = tuple(part.lower() if isinstance(part, str) else part for part in glob)
    fullmatch = glob_pattern(lower, ignore_case=False).fullmatch
    return lambda text: fullmatch(text.lower()) is not None


def covered(covers: Callable[[str], bool], *, whole_only: bool) -> ValueTest:
    """Something covers the whole value or, unless `whole_only`, one of its words."""

    def test(value: Any, document: Document) -> bool:
        text = scalar_text(value)
        if covers(text):
            return True
        return not whole_only and any(covers(word) for word in document.words(text))

    return test


def glob_pattern(glob: Glob, *, ignore_case: bool) -> re.Pattern[str]:
    """A glob as a pattern that cannot backtrack into an earlier star: the leftmost fit of each piece is
    final.
    """
    pieces = _merge_stars(glob)
    out: list[str] = []
    piece: list[str] = []
    stars = 0
    for part in pieces:
        if part is Wild.MANY:
            out.append(_anchored(piece, stars))
            piece, stars = [], stars + 1
        else:
            piece.append("." if part is Wild.ONE else re.escape(str(part)))
    tail = "".join(piece)
    out.append(f".*{tail}" if stars else tail)
    flags = re.DOTALL | (re.IGNORECASE if ignore_case else 0)
    return re.compile("".join(out), flags)


def _anchored(piece: list[str], stars: int) -> str:
    text = "".join(piece)
    return f"(?>.*?{text})" if stars and text else text


def _merge_stars(glob: Glob) -> list[str | Wild]:
    merged: list[str | Wild] = []
    for part in glob:
        if not (part is Wild.MANY and merged and merged[-1] is Wild.MANY):
            merged.append(part)
    return merged


@dataclass(frozen=True, slots=True)
class Bounds:
    """A range as it was written; None is open. Which order applies is decided per value."""

    low: str | None = None
    high: str | None = None
    include_low: bool = True
    include_high: bool = True


def range_test(bounds: Bounds, reading: DateReading = ISO_8601) -> ValueTest:
    """The value lies in the range: as numbers, addresses or times when both sides are, else as text.

    :raises ValueError: a bound is date arithmetic that makes no sense, or no date in the formats given.
    """
    times = _times(bounds, reading)
    if times is not None and times.only:
        return times.test
    orders = [order for order in map(_ordered, (as_number, as_address)) if order.fits(bounds)]
    text = _ordered(str)

    def test(value: Any, document: Document) -> bool:
        spelled = scalar_text(value)
        for order in orders:
            key = order.key(spelled)
            if key is not None:
                return order.inside(key, bounds)
        if times is not None and (moment := time_of(value)) is not None:
            return times.inside(moment, document)
        if isinstance(value, bool | int | float):
            return False
        return text.inside(spelled, bounds)

    return test


def _times(bounds: Bounds, reading: DateReading) -> _Times | None:
    low = None if bounds.low is None else reading.moment(bounds.low)
    high = None if bounds.high is None else reading.moment(bounds.high)
    unread = (bounds.low is not None and low is None) or (bounds.high is not None and high is None)
    only = bool(reading.formats) or any(is_date_math(bound) for bound in (bounds.low, bounds.high) if bound)
    if unread:
        if only:
            raise ValueError("a bound that is no date")
        return None
    return _Times(low, high, bounds.include_low, bounds.include_high, only)


@dataclass(frozen=True, slots=True)
class _Times:
    """A range of time. `only`: its bounds are dates and nothing else, so what is no time is outside."""

    low: Moment | None
    high: Moment | None
    include_low: bool
    include_high: bool
    only: bool

    def test(self, value: Any, document: Document) -> bool:
        moment = time_of(value)
        return moment is not None and self.inside(moment, document)

    def inside(self, moment: datetime, document: Document) -> bool:
        now = _EPOCH
        if not all(bound is None or bound.is_fixed for bound in (self.low, self.high)):
            event = time_of(document.get("@timestamp"))
            if event is None:
                return False
            now = event
        try:
            return self._above(moment, now) and self._below(moment, now)
        except OverflowError:
            return False

    def _above(self, moment: datetime, now: datetime) -> bool:
        if self.low is None:
            return True
        low = self.low.at(now, end=not self.include_low)
        return moment >= low if self.include_low else moment > low

    def _below(self, moment: datetime, now: datetime) -> bool:
        if self.high is None:
            return True
        high = self.high.at(now, end=self.include_high)
        return moment <= high if self.include_high else moment < high


def time_of(value: Any) -> datetime | None:
    """A value as a time: ISO 8601, or a number of milliseconds since 1970."""
    if isinstance(value, str):
        return as_time(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return time_of_number(value)
    return None


@dataclass(frozen=True, slots=True)
class _Order:
    key: Callable[[str], Any]

    def fits(self, bounds: Bounds) -> bool:
        """Whether every bound that is given can be read in this order."""
        return all(self.key(bound) is not None for bound in (bounds.low, bounds.high) if bound is not None)

    def inside(self, key: Any, bounds: Bounds) -> bool:
        return self._above(key, bounds) and self._below(key, bounds)

    def _above(self, key: Any, bounds: Bounds) -> bool:
        if bounds.low is None:
            return True
        low = self.key(bounds.low)
        return bool(key >= low) if bounds.include_low else bool(key > low)

    def _below(self, key: Any, bounds: Bounds) -> bool:
        if bounds.high is None:
            return True
        high = self.key(bounds.high)
        return bool(key <= high) if bounds.include_high else bool(key < high)


def _ordered(key: Callable[[str], Any]) -> _Order:
    return _Order(key)


def as_number(text: str) -> float | None:
    """A plain decimal number, or None; `nan`, `inf` and underscores are text."""
    if not text or text[-1:] not in "0123456789." or "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def as_time(text: str) -> datetime | None:
    """An ISO 8601 date or time, or None. A bare year is a number, not a time."""
    if len(text) < 8 or text.isdigit():
        return None
    try:
        return parse_time(text)
    except (ValueError, OverflowError):
        return None


def as_address(text: str) -> tuple[int, int] | None:
    """An IP address as something to order by (its version, then its number), or None."""
    if not text or len(text) > 45:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.version, int(address)


def as_network(text: str) -> IPv4Network | IPv6Network | None:
    """A network in CIDR notation, or None; a lone address is not one."""
    if "/" not in text:
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def is_inside(text: str, network: IPv4Network | IPv6Network) -> bool:
    """Whether a text is an address of the network."""
    if len(text) > 45:
        return False
    try:
        return ip_address(text) in network
    except ValueError:
        return False
