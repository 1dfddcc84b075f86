"""What is told of a measurement: Vamp's names and tags, and never zero for what is not known."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from divertor.gateway.measurement import (
    ALIASES,
    MAX_EVENTS,
    METRICS,
    TOLD,
    Measurement,
    Target,
    events,
    metric,
)
from divertor.gateway.metrics import Measured

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ROUTE = Target("routes", "shop/9051", "shop/web", upstreams=("u",))
BUSY = Measured(10.0, 20, 5, 1, 2, {(4.0, 0.1): 20})


def test_every_number_has_its_name() -> None:
    assert Measurement(ROUTE, BUSY, 0.5).to_json() == {
        "kind": "routes",
        "gateway": "shop/9051",
        "route": "shop/web",
        "window": 10.0,
        "rate": 2.0,
        "requests": 20,
        "errors": 25.0,
        "connect_failures": 1,
        "active": 2,
        "responseTime": 4.5,
        "p50": 4.5,
        "p90": 4.9,
        "p99": 4.99,
        "health": 0.5,
    }


def test_another_spelling_means_the_same_metric() -> None:
    assert all(metric(alias) is METRICS[name] for alias, name in ALIASES.items()) and metric("speed") is None


def test_events_carry_vamps_tags_and_the_number_as_value() -> None:
    found = {event.tags[-1]: event for event in events([Measurement(ROUTE, BUSY)], NOW)}
    assert {tag: event.value for tag, event in found.items()} == {
        "metrics:rate": 2.0,
        "metrics:errors": 25.0,
        "metrics:responseTime": 4.5,
    }
    rate = found["metrics:rate"]
    assert rate.tags == ("gateways:shop/9051", "routes:shop/web", "metrics:rate") and rate.type == "metrics"
    assert rate.get("metrics.p99") == 4.99 and json.dumps(rate.to_json())


def test_what_nobody_asked_is_no_event_and_an_unknown_number_neither() -> None:
    assert events([Measurement(ROUTE, Measured(10.0))], NOW) == []
    fresh = Measurement(ROUTE, Measured(10.0, 3))  # durations follow within five seconds
    assert {event.tags[-1] for event in events([fresh], NOW)} == {"metrics:rate", "metrics:errors"}


def test_of_thousands_the_busiest_become_events() -> None:
    many = [
        Measurement(Target("routes", "g", f"r{number}"), Measured(10.0, number, 0, 0, 0, {(1.0, 0.1): 1}))
        for number in range(5000)
    ]
    found = events(many, NOW)
    assert len(found) == MAX_EVENTS and len({event.id for event in found}) == MAX_EVENTS
    told = {event.tags[1] for event in found}
    assert told == {f"routes:r{number}" for number in range(5000 - MAX_EVENTS // len(TOLD), 5000)}
