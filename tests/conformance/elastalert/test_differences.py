"""Where types mean something else than ElastAlert's classes on purpose, side by side, in the default mode:
each row of the reference's table of differences about them.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.conformance.elastalert.client import (
    SECOND,
    START,
    Batch,
    Oracle,
    Seen,
    Stream,
    our_matches,
    their_matches,
)

from divertor.rules.types.contract import Settings

Event = tuple[float, dict[str, Any]]


def stream(kind: str, options: dict[str, Any], *polls: list[Event], every: float = 10) -> Stream:
    """Events (second, fields) by polls; a poll without any only lets time pass."""
    batches = []
    for number, events in enumerate(polls, 1):
        seen = tuple(Seen(START + int(second * SECOND), fields) for second, fields in events)
        batches.append(Batch(seen, START + int(number * every * SECOND)))
    return Stream(kind, options, tuple(batches), settings=Settings())


def users(*names: Any) -> list[Event]:
    return [(second, {"user": name}) for second, name in enumerate(names)]


def of_a(*countries: Any) -> list[Event]:
    return [(second, {"user": "a", "country": country}) for second, country in enumerate(countries)]


CHANGE = {"query_key": "user", "compare_key": "country", "ignore_null": False}
TEN = {"seconds": 10}

#: What it is about, a stream, how many matches there and here.
DIFFERENCES: list[tuple[str, Stream, int, int]] = [
    (
        "frequency: a key is forgotten on time, not at the next poll",
        stream("frequency", {"num_events": 2, "timeframe": TEN}, [(0, {})], [(5, {})], every=8),
        1,
        0,
    ),
    (
        "blacklist: 5 is on it as 5",
        stream("blacklist", {"compare_key": "user", "blacklist": ["5"]}, users(5)),
        0,
        1,
    ),
    (
        "blacklist: wildcards are understood",
        stream("blacklist", {"compare_key": "user", "blacklist": ["adm*"]}, users("admin")),
        0,
        1,
    ),
    (
        "blacklist: networks are understood",
        stream("blacklist", {"compare_key": "user", "blacklist": ["10.0.0.0/8"]}, users("10.1.2.3")),
        0,
        1,
    ),
    (
        "whitelist: networks are understood",
        stream(
            "whitelist",
            {"compare_key": "user", "whitelist": ["10.0.0.0/8"], "ignore_null": False},
            users("10.1.2.3"),
        ),
        1,
        0,
    ),
    (
        "change: events without the query_key are not looked at",
        stream("change", CHANGE, [(0, {"country": "de"}), (1, {"country": "nl"})]),
        1,
        0,
    ),
    (
        "change: late events are not looked at",
        stream("change", CHANGE, [(5, {"user": "a", "country": "de"}), (1, {"user": "a", "country": "nl"})]),
        1,
        0,
    ),
    ("change: 0 is a value", stream("change", {**CHANGE, "ignore_null": True}, of_a("de", 0)), 0, 1),
    (
        "new_term: what was not seen for the window is new again",
        stream("new_term", {"fields": "user", "terms_window_size": TEN}, users("a"), [(15, {"user": "a"})]),
        1,
        2,
    ),
    ("new_term: 0 and false are values", stream("new_term", {"fields": "user"}, users(0, False)), 0, 2),
    (
        "new_term: each element of a list is a value",
        stream("new_term", {"fields": "user"}, users(["a", "b"], "b", ["b", "a"])),
        3,
        1,
    ),
    (
        "cardinality: only what is not among them fires",
        stream(
            "cardinality",
            {"cardinality_field": "user", "timeframe": TEN, "max_cardinality": 1},
            users(*"abab"),
        ),
        3,
        1,
    ),
    (
        "cardinality: what is exactly the timeframe old no longer counts",
        stream(
            "cardinality",
            {"cardinality_field": "user", "timeframe": TEN, "max_cardinality": 1},
            [(0, {"user": "a"}), (10, {"user": "b"})],
        ),
        1,
        0,
    ),
    (
        "cardinality: each element of a list is a value",
        stream(
            "cardinality",
            {"cardinality_field": "user", "timeframe": TEN, "max_cardinality": 1},
            users(["a", "b"]),
        ),
        0,
        1,
    ),
    (
        "cardinality: too few is told again while it lasts",
        stream(
            "cardinality",
            {"cardinality_field": "user", "timeframe": TEN, "min_cardinality": 1},
            users("a"),
            *[[]] * 5,
        ),
        1,
        6,
    ),
]


@pytest.mark.parametrize(
    ("given", "theirs", "ours"), [row[1:] for row in DIFFERENCES], ids=[row[0] for row in DIFFERENCES]
)
def test_the_number_of_matches_differs(oracle: Oracle, given: Stream, theirs: int, ours: int) -> None:
    there, here = their_matches(oracle, [given])[0], our_matches(given)
    assert (sum(map(len, there)), sum(map(len, here))) == (theirs, ours)


def test_all_differences_were_looked_at() -> None:
    assert len(DIFFERENCES) == 15


def test_the_match_of_a_frequency_shows_the_newest_there_and_the_last_to_arrive_here(oracle: Oracle) -> None:
    given = stream("frequency", {"num_events": 2, "timeframe": TEN}, [(5, {"n": 1}), (1, {"n": 2})])
    assert [one["n"] for one in their_matches(oracle, [given])[0][0]] == [1]
    assert [one["n"] for one in our_matches(given)[0]] == [2]


def test_a_match_of_new_term_names_its_own_field_only(oracle: Oracle) -> None:
    options = {"fields": ["ip", "user"], "alert_on_missing_field": True}
    given = stream("new_term", options, users("a"))
    assert "missing_field" in their_matches(oracle, [given])[0][0][1]
    assert "missing_field" not in our_matches(given)[0][1]
