"""What actions a rule may take, as they are written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from divertor.errors import InputError
from divertor.model.isolation import KeyKind, KeySelector
from divertor.rules import Rule
from divertor.rules.limits import Limiter
from divertor.rules.rule import IsolateOptions, Limit

Rules = Callable[..., Rule]


def options(rule: Rules, alert: Any) -> Any:
    (spec,) = rule(alert=alert).alerts
    return next(iter(spec.options.values()))


def test_lengths_of_an_isolation_grow(rule: Rules) -> None:
    made: IsolateOptions = options(rule, {"isolate": {"for": ["1h", "24h", "forever"]}})
    assert made.durations == (timedelta(hours=1), timedelta(hours=24), None)


def test_a_key_may_be_in_a_field_of_the_match(rule: Rules) -> None:
    made = options(rule, {"isolate": {"keys": ["cookie session", {"client address": "request.remote"}]}})
    assert made.keys == (KeySelector(KeyKind.COOKIE, "session"), KeySelector(KeyKind.ADDRESS))
    assert made.fields == {KeySelector(KeyKind.ADDRESS): "request.remote"}


def test_limits_are_a_number_a_minute_and_a_share(rule: Rules) -> None:
    made = options(rule, {"isolate": {"limit": {"per_minute": 20, "traffic": "5%"}}})
    assert made.limit == Limit(20, 5)


def test_a_release_may_be_named_by_its_gateway_alone(rule: Rules) -> None:
    assert options(rule, {"release": "shop/web/9000"}).gateway == "shop/web/9000"


REFUSED = [
    ({"isolate": {"four": "1h"}}, "four", "'for'"),
    ({"isolate": {"for": "soon"}}, "soon", "30s"),
    ({"isolate": {"keys": [{"cookie a": "x", "cookie b": "y"}]}}, "2 keys", "one"),
    ({"isolate": {"keys": ["cake"]}}, "cake", "cookie NAME"),
    ({"isolate": {"limit": {"per_minute": 0}}}, "per_minute", "whole number"),
    ({"isolate": {"limit": {"traffic": "150%"}}}, "150%", "percentage"),
    ({"isolate": {"limit": {"per_hour": 1}}}, "per_hour", ""),
    ({"webhook": {}}, "url", "url"),
    ({"webhook": {"url": "ftp://x"}}, "web address", "http"),
    ({"webhook": {"url": ["http://a", "http://b"]}}, "list", "second webhook"),
    ({"event": {"type": "Not a type"}}, "Not a type", "lower case"),
    ({"event": {}}, "type", "type"),
    ({"release": {"gate": "x"}}, "gate", "gateway"),
]


@pytest.mark.parametrize(("alert", "said", "expected"), REFUSED)
def test_what_makes_no_sense_is_refused_with_its_place(
    rule: Rules, alert: Any, said: str, expected: str
) -> None:
    with pytest.raises(InputError) as refused:
        rule(alert=[alert])
    assert said in str(refused.value) and expected in refused.value.expected
    assert refused.value.position.line == 1


def test_all_refusals_are_tried() -> None:
    assert len(REFUSED) == 13


def test_a_rule_stops_at_its_limit_and_goes_on_when_resumed() -> None:
    limiter, limit = Limiter(), Limit(per_minute=2)
    assert [limiter.why_not("r", limit, 1, None, now) for now in (0.0, 1.0)] == ["", ""]
    assert "more than 2 new isolations" in limiter.why_not("r", limit, 1, None, 2.0)
    assert limiter.why_not("r", limit, 1, None, 1000.0) != ""
    assert limiter.resume("r") and limiter.why_not("r", limit, 1, None, 1000.0) == ""


def test_isolations_of_more_than_a_minute_ago_do_not_count() -> None:
    limiter, limit = Limiter(), Limit(per_minute=1)
    assert [limiter.why_not("r", limit, 1, None, now) for now in (0.0, 60.0, 120.0)] == ["", "", ""]


def test_a_rule_stops_when_too_much_traffic_is_isolated() -> None:
    limiter, limit = Limiter(), Limit(traffic=5)
    assert limiter.why_not("r", limit, 1, 0.05, 0.0) == ""
    assert limiter.why_not("r", limit, 1, None, 0.0) == ""
    assert "5% of all requests" in limiter.why_not("r", limit, 1, 0.06, 0.0)


def test_rules_are_counted_apart() -> None:
    limiter, limit = Limiter(), Limit(per_minute=1)
    assert [limiter.why_not(name, limit, 1, None, 0.0) for name in ("a", "b")] == ["", ""]


@given(st.lists(st.floats(0, 600), max_size=60).map(sorted), st.integers(1, 5))
def test_no_minute_holds_more_isolations_than_the_limit(times: list[float], most: int) -> None:
    limiter, limit = Limiter(), Limit(per_minute=most)
    done = [now for now in times if not limiter.why_not("r", limit, 1, None, now)]
    assert all(len([each for each in done if at <= each < at + 60]) <= most for at in done)
