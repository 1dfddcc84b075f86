"""Numbers about requests: from Envoy's counters and histograms to rates, errors and percentiles. Pure.

A `Sample` is one look at Envoy, an `Interval` what has been added between two of them, a `Measured` what that
says about one thing over some time. Envoy counts from its start: when it was started anew, or a version went
and came back, what it shows is what has been added. Who looks, and when: `stats`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

#: How many values of a histogram are from here (milliseconds), this wide.
Bins: TypeAlias = Mapping[tuple[float, float], int]

#: Counters, and bins of one histogram, that are read at most.
MAX_STATS = 500_000
MAX_BINS = 2_000
#: Seconds by which two sights of the same start of Envoy may differ: it tells whole ones.
SLACK = 2.5
#: Envoy tells a version's numbers a second time by origin, as `NAME.external.…` or `NAME.internal.…`. This is
#: the end of every other name: its expressions cannot say "not".
_ONCE = (
    "("
    + "|".join(
        ["[^l]", "[^a]l", "[^n]al", "[^r]nal", "[^e]rnal", "[^t]ernal", "[^xn]ternal", "[^ei][xn]ternal"]
        + ["[^.][ei][xn]ternal"]
    )
    + ")"
)
#: Which of Envoy's names are of interest: versions, ports, and what was not logged.
PATTERN = (
    rf"^cluster\..*{_ONCE}\.(upstream_(rq_(completed|5xx|time|active)|cx_connect_fail)"
    r"|membership_(total|healthy))$"
    r"|^http\..*\.downstream_rq_(completed|5xx|time|active)$"
    r"|^access_log\.process_ratelimit\.denied$"
)


@dataclass(frozen=True, slots=True)
class Names:
    """How Envoy calls what belongs to one thing that is measured; empty: it has no such number."""

    requests: str
    errors: str
    duration: str
    active: str
    connect_failures: str = ""
    instances: str = ""
    healthy: str = ""


def of_upstream(name: str) -> Names:
    """A version's numbers: what all gateways together have asked of it."""
    at = f"cluster.{_told(name)}"
    return Names(
        f"{at}.upstream_rq_completed",
        f"{at}.upstream_rq_5xx",
        f"{at}.upstream_rq_time",
        f"{at}.upstream_rq_active",
        f"{at}.upstream_cx_connect_fail",
        f"{at}.membership_total",
        f"{at}.membership_healthy",
    )


def of_listener(name: str) -> Names:
    """A port's numbers: what its customers got."""
    at = f"http.{_told(name)}.downstream_rq"
    return Names(f"{at}_completed", f"{at}_5xx", f"{at}_time", f"{at}_active")


def _told(name: str) -> str:
    """Envoy writes no colon into a name. So names that differ in colons only share their numbers."""
    return name.replace("://", "_").replace(":/", "_").replace(":", "_").replace("\0", "_")


@dataclass(frozen=True, slots=True)
class Sample:
    """What Envoy showed `at` a time; `begun`: when it was started (seconds, of one clock)."""

    at: float
    begun: float
    counters: Mapping[str, int] = field(default_factory=dict)
    histograms: Mapping[str, Bins] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Interval:
    """What was added within so many seconds. What did not change is not in it."""

    seconds: float
    counters: Mapping[str, int]
    histograms: Mapping[str, Bins]


@dataclass(frozen=True, slots=True)
class Measured:
    """Requests within `seconds`: `errors` of them were answered 5xx; durations in milliseconds."""

    seconds: float = 0.0
    requests: int = 0
    errors: int = 0
    connect_failures: int = 0
    #: Under way when Envoy was last asked.
    active: int = 0
    durations: Bins = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds if self.seconds > 0 else 0.0

    @property
    def error_percent(self) -> float | None:
        """None without requests: that nothing was asked says nothing."""
        return 100.0 * self.errors / self.requests if self.requests else None

    @property
    def response_time(self) -> float | None:
        """The mean, milliseconds."""
        count = sum(self.durations.values())
        middle = sum((low + max(width, 1.0) / 2) * each for (low, width), each in self.durations.items())
        return middle / count if count else None

    def quantile(self, share: float) -> float | None:
        """The time within which that share of the requests was answered, milliseconds."""
        return quantile(self.durations, share)


def quantile(bins: Bins, share: float) -> float | None:
    """Envoy counts whole milliseconds and cuts off what is beyond, so a bin is at least one wide: its values
    are taken as spread evenly over it."""
    left = sum(bins.values()) * share
    found = None
    for (low, width), count in sorted(bins.items()):
        if count > 0:
            found = low + max(width, 1.0) * min(1.0, max(0.0, left / count))
            if left <= count:
                break
            left -= count
    return found


def parse_stats(data: Any, at: float, begun: float) -> Sample:
    """A sample from `/stats?format=json&histogram_buckets=detailed`; what is no number is left out."""
    counters: dict[str, int] = {}
    histograms: dict[str, Bins] = {}
    for stat in _list(data, "stats")[:MAX_STATS]:
        if not isinstance(stat, Mapping):
            continue
        name, value = stat.get("name"), stat.get("value")
        if isinstance(name, str) and isinstance(value, int):
            counters[name] = value
        for each in _list(stat.get("histograms"), "details")[:MAX_STATS]:
            if isinstance(each, Mapping) and isinstance(each.get("name"), str):
                histograms[each["name"]] = dict(_bins(_list(each, "totals")))
    return Sample(at, begun, counters, histograms)


def _list(data: Any, name: str) -> list[Any]:
    found = data.get(name) if isinstance(data, Mapping) else None
    return found if isinstance(found, list) else []


def _bins(totals: list[Any]) -> Iterable[tuple[tuple[float, float], int]]:
    for each in totals[:MAX_BINS]:
        try:
            yield (float(each["lower_bound"]), float(each["width"])), int(each["count"])
        except (KeyError, TypeError, ValueError, OverflowError):
            continue


def added(before: Sample, now: Sample) -> Interval:
    """What happened between two looks."""
    anew = now.begun > before.begun + SLACK
    old_counters = {} if anew else before.counters
    old_bins = {} if anew else before.histograms
    counters = {}
    for name, value in now.counters.items():
        earlier = old_counters.get(name, 0)
        more = value if value < earlier else value - earlier
        if more:
            counters[name] = more
    histograms = {}
    for name, bins in now.histograms.items():
        if more_bins := _more(old_bins.get(name, {}), bins):
            histograms[name] = more_bins
    return Interval(now.at - before.at, counters, histograms)


def _more(before: Bins, now: Bins) -> Bins:
    if any(now.get(bin, 0) < count for bin, count in before.items()):
        before = {}
    found = {bin: count - before.get(bin, 0) for bin, count in now.items()}
    return {bin: count for bin, count in found.items() if count}


def measured(intervals: Sequence[Interval], last: Sample | None, names: Names) -> Measured:
    """What some intervals, and the last look, say about one thing."""
    return Measured(
        sum(each.seconds for each in intervals),
        _sum(intervals, names.requests),
        _sum(intervals, names.errors),
        _sum(intervals, names.connect_failures),
        gauge(last, names.active),
        merged(each.histograms.get(names.duration, {}) for each in intervals),
    )


def together(parts: Sequence[Measured]) -> Measured:
    """Several things as one, over the same time."""
    return Measured(
        max((each.seconds for each in parts), default=0.0),
        sum(each.requests for each in parts),
        sum(each.errors for each in parts),
        sum(each.connect_failures for each in parts),
        sum(each.active for each in parts),
        merged(each.durations for each in parts),
    )


def merged(several: Iterable[Bins]) -> Bins:
    """Histograms as one."""
    found: dict[tuple[float, float], int] = {}
    for bins in several:
        for bin, count in bins.items():
            found[bin] = found.get(bin, 0) + count
    return found


def gauge(last: Sample | None, name: str) -> int:
    """How many there are; what Envoy never told of, there is none of."""
    return 0 if last is None else last.counters.get(name, 0)


def _sum(intervals: Sequence[Interval], name: str) -> int:
    return sum(each.counters.get(name, 0) for each in intervals)
