"""Rates, errors and percentiles from what Envoy shows, also when it was started anew."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.gateway.metrics import (
    PATTERN,
    Measured,
    Sample,
    added,
    measured,
    merged,
    of_listener,
    of_upstream,
    parse_stats,
    quantile,
    together,
)

VERSION = of_upstream("shop/shop/shop:1.0.0/web")
COUNTS = st.integers(0, 1000)
BINS = st.dictionaries(
    st.sampled_from([(0.0, 0.0), (2.0, 0.1), (10.0, 1.0), (250.0, 10.0), (1000.0, 100.0)]),
    st.integers(1, 500),
)


def stats(counters: dict[str, int], bins: dict[tuple[float, float], int] | None = None) -> dict[str, Any]:
    """As Envoy writes it."""
    totals = [
        {"lower_bound": low, "width": width, "count": count} for (low, width), count in (bins or {}).items()
    ]
    details = [{"name": VERSION.duration, "totals": totals, "intervals": [], "percentiles": []}]
    plain = [{"name": name, "value": value} for name, value in counters.items()]
    return {"stats": [*plain, {"histograms": {"supported_percentiles": [0, 50], "details": details}}]}


def look(
    at: float,
    requests: int,
    errors: int = 0,
    bins: dict[tuple[float, float], int] | None = None,
    begun: float = 0,
) -> Sample:
    return parse_stats(stats({VERSION.requests: requests, VERSION.errors: errors}, bins), at, begun)


def test_envoy_writes_an_underscore_for_a_colon() -> None:
    assert VERSION.requests == "cluster.shop/shop/shop_1.0.0/web.upstream_rq_completed"
    assert of_upstream("[127.0.0.1:80]").errors == "cluster.[127.0.0.1_80].upstream_rq_5xx"
    assert of_listener("shop/9051").duration == "http.shop/9051.downstream_rq_time"


def test_the_rate_is_what_was_added_by_the_time_it_took() -> None:
    interval = added(look(0, 100, 1), look(10, 150, 6))
    found = measured([interval], None, VERSION)
    assert (found.rate, found.requests, found.error_percent) == (5.0, 50, 10.0)


def test_what_nobody_asked_has_no_errors_rather_than_none_in_a_hundred() -> None:
    found = measured([added(look(0, 7), look(10, 7))], None, VERSION)
    assert (found.rate, found.error_percent, found.response_time, found.quantile(0.5)) == (
        0,
        None,
        None,
        None,
    )


def test_a_version_that_is_new_counts_from_nothing() -> None:
    assert added(Sample(0, 0), look(10, 5)).counters == {VERSION.requests: 5}


@settings(max_examples=100, deadline=None)
@given(COUNTS, COUNTS, BINS, BINS)
def test_after_a_restart_everything_envoy_shows_is_new(
    before: int, after: int, old: dict[tuple[float, float], int], new: dict[tuple[float, float], int]
) -> None:
    """Also when it shows more than it did before."""
    interval = added(look(100, before, bins=old), look(110, after, bins=new, begun=105))
    found = measured([interval], None, VERSION)
    assert found.requests == after and dict(found.durations) == new


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(COUNTS, st.booleans()), min_size=2, max_size=20))
def test_the_sum_of_all_looks_is_what_happened(steps: list[tuple[int, bool]]) -> None:
    """Requests between looks, and restarts right before some: none counted twice, none lost but those that a
    dying Envoy took along."""
    begun, total, told, expected = 0.0, 0, 0, 0
    last = look(0, 0)
    for number, (requests, restarted) in enumerate(steps, 1):
        if restarted:
            begun, total = number * 10 - 5, 0
        total += requests
        expected += requests
        now = look(number * 10, total, begun=begun)
        told += measured([added(last, now)], None, VERSION).requests
        last = now
    assert told == expected


def test_a_version_that_went_and_came_back_is_not_negative() -> None:
    interval = added(look(0, 100, bins={(1.0, 0.1): 100}), look(10, 3, bins={(2.0, 0.1): 3}))
    assert interval.counters[VERSION.requests] == 3
    assert interval.histograms[VERSION.duration] == {(2.0, 0.1): 3}


@pytest.mark.parametrize(
    ("bins", "share", "expected"),
    [
        ({(0.0, 0.0): 100}, 0.5, 0.5),
        ({(7.0, 0.1): 100}, 0.99, 7.99),
        ({(10.0, 1.0): 50, (20.0, 1.0): 50}, 0.5, 11.0),
        ({(10.0, 1.0): 50, (20.0, 1.0): 50}, 0.75, 20.5),
        ({(100.0, 10.0): 10}, 0.9, 109.0),
        ({(1.0, 0.1): 99, (5000.0, 100.0): 1}, 0.99, 2.0),
        ({(1.0, 0.1): 99, (5000.0, 100.0): 1}, 1.0, 5100.0),
        ({}, 0.5, None),
    ],
)
def test_a_percentile_is_within_its_bin(
    bins: dict[tuple[float, float], int], share: float, expected: float | None
) -> None:
    assert quantile(bins, share) == (None if expected is None else pytest.approx(expected))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_percentile_is_at_most_a_millisecond_from_the_sorted_values(
    values: list[int], share: float
) -> None:
    bins = merged({(float(value), 0.0 if value == 0 else 0.1): 1} for value in values)
    rank = min(len(values) - 1, max(0, int(len(values) * share + 0.999999) - 1))
    found = quantile(bins, share)
    assert found is not None and sorted(values)[rank] <= found <= sorted(values)[rank] + 1


def test_several_versions_together_are_one() -> None:
    one, two = Measured(10, 5, 1, 0, 1, {(1.0, 0.1): 5}), Measured(10, 15, 0, 2, 0, {(1.0, 0.1): 15})
    both = together([one, two])
    assert (both.rate, both.errors, both.connect_failures, both.active) == (2.0, 1, 2, 1)
    assert both.durations == {(1.0, 0.1): 20}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("cluster.shop/shop/shop_1.0.0/web.upstream_rq_time", True),
        ("cluster.shop/shop/shop_1.0.0/internal.upstream_rq_time", True),
        ("cluster.shop/shop/journal/signal.upstream_rq_5xx", True),
        ("cluster.a/b/c/d?a/b/x?(1.0.0).upstream_rq_completed", True),
        ("cluster.[127.0.0.1_80].membership_healthy", True),
        ("http.shop/9051.downstream_rq_5xx", True),
        ("cluster.shop/shop/shop_1.0.0/web.external.upstream_rq_time", False),
        ("cluster.shop/shop/shop_1.0.0/web.internal.upstream_rq_completed", False),
        ("cluster.shop/shop/shop_1.0.0/web.upstream_rq_503", False),
        ("cluster.shop/shop/shop_1.0.0/web.upstream_cx_total", False),
        ("listener.127.0.0.1_80.http.shop/9051.downstream_rq_5xx", False),
    ],
)
def test_only_names_that_matter_are_asked_for(name: str, wanted: bool) -> None:
    assert (re.search(PATTERN, name) is not None) is wanted


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["stats", "name", "value", "histograms", "details", "totals", "count", "width", "lower_bound"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(JSON | st.fixed_dictionaries({"stats": st.lists(JSON, max_size=4)}))
def test_nothing_envoy_could_answer_is_an_error(data: Any) -> None:
    sample = parse_stats(data, 1, 0)
    assert all(isinstance(value, int) for value in sample.counters.values())
