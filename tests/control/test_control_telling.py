"""From what happened to who did it, and to a line a person may safely read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.control.attackers import Attacker, attacker_of, reason_of, scope_of
from divertor.control.narration import Narrator, narrate, visible
from divertor.errors import InputError
from divertor.model.artifacts import IsolationPolicy
from divertor.model.events import Event
from divertor.model.isolation import KeyKind, KeySelector

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SESSION = KeySelector(KeyKind.COOKIE, "session")
API_KEY = KeySelector(KeyKind.HEADER, "X-Api-Key")
ADDRESS = KeySelector(KeyKind.ADDRESS)
POLICIES = {
    "shop/web": IsolationPolicy("web", "web:1", (SESSION, API_KEY, ADDRESS), timedelta(hours=1)),
    "shop/admin": IsolationPolicy("admin", "admin:1", (ADDRESS,)),
}
ME: dict[str, Any] = {"service": {"instance": {"id": "shop/web/web:2/0"}}, "client": {"address": "192.0.2.1"}}
HELD = {**ME, "divertor": {"session": {"cookie": "session"}}, "session": {"id": "abc"}}


def event(body: dict[str, Any], kind: str = "detection", *tags: str) -> Event:
    return Event("e1", kind, NOW, NOW, ("x",), tags, None, body)


def found(**names: Any) -> dict[str, Any]:
    return {**ME, "divertor": {"detection": names}, "detections": {"type": "Attack Wave"}}


def test_a_wave_of_probes_is_told_to_a_person() -> None:
    wave = event(found(type="attack_wave", payload="15 in 60 s: xss 15"), "probe")
    assert "WAVE      192.0.2.1 is trying attacks: 15 in 60 s: xss 15" in str(narrate(wave, False))


def test_a_probe_is_told_quietly() -> None:
    told = str(narrate(event(found(type="xss", payload="<script>"), "probe"), False))
    assert " probe " in told and "'<script>'; it reached nothing" in told


def test_a_simulated_detection_is_told_as_one() -> None:
    told = str(narrate(event(found(outcome="reported", simulated="blocked")), False))
    assert told.endswith("reported, simulated: it would have been blocked")


def test_an_unhandled_error_is_told_with_its_place() -> None:
    body = {**ME, "message": "ValueError: no", "code": {"file": {"path": "/app/a.py"}, "line": {"number": 3}}}
    assert str(narrate(event(body, "error"), False)).endswith("ValueError: no at /app/a.py:3")


@pytest.mark.parametrize(
    ("body", "attacker"),
    [
        (HELD, Attacker("shop/web", SESSION, "abc")),
        (ME, Attacker("shop/web", ADDRESS, "192.0.2.1")),
        ({**HELD, "divertor": {"session": {"cookie": "other"}}}, Attacker("shop/web", ADDRESS, "192.0.2.1")),
        ({**ME, "http": {"request": {"header": {"x-api-key": "k"}}}}, Attacker("shop/web", API_KEY, "k")),
        (
            {"divertor": {"scope": "shop/admin"}, "client": ME["client"]},
            Attacker("shop/admin", ADDRESS, "192.0.2.1"),
        ),
    ],
)
def test_the_first_key_an_event_carries_tells_who_it_was(body: dict[str, Any], attacker: Attacker) -> None:
    assert attacker_of(event(body), POLICIES) == attacker


def test_the_rule_may_ask_for_other_keys() -> None:
    assert attacker_of(event(HELD), POLICIES, (ADDRESS,)) == Attacker("shop/web", ADDRESS, "192.0.2.1")


def test_the_address_of_a_diverted_request_is_left_to_the_gateway() -> None:
    diverted = {"divertor": {"detection": {"outcome": "diverted"}}}
    assert attacker_of(event({**ME, **diverted}), POLICIES) is None


@pytest.mark.parametrize("body", [{}, {"service": {"instance": {"id": "other/web/x/0"}}}, {"service": "x"}])
def test_an_event_about_nothing_known_isolates_nobody(body: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="which application"):
        scope_of(event(body), POLICIES)


def test_where_there_is_one_application_it_is_meant() -> None:
    assert scope_of(event({}), {"shop/web": POLICIES["shop/web"]}) == "shop/web"


def test_an_event_that_tells_nobody_is_refused() -> None:
    with pytest.raises(InputError, match="who it was"):
        attacker_of(event({"service": ME["service"]}), POLICIES)


def test_the_reason_says_what_was_found_where() -> None:
    body = {
        "detections": {"type": "SQL injection"},
        "divertor": {"detection": {"parameter": "user"}},
        "code": {"file": {"path": "app.py"}, "line": {"number": 7}},
    }
    assert reason_of(event(body)) == "SQL injection in 'user' at app.py:7"


HOSTILE = st.text(
    st.characters(codec="utf-8") | st.sampled_from("\x1b\x9b\r\n\x07\u202e\u2028\x00\x7f"), max_size=300
)


@settings(max_examples=150, deadline=None)
@given(HOSTILE, st.sampled_from(["detection", "request", "isolation", "alert", "routing", "trouble"]))
def test_nothing_an_attacker_writes_steers_a_terminal(text: str, kind: str) -> None:
    body = {
        "message": text,
        "detections": {"type": text},
        "divertor": {
            "detection": dict.fromkeys(["parameter", "payload", "outcome"], text),
            "served_by": text,
        },
        "http": {"request": {"method": text}, "response": {"status_code": text}},
        "url": {"path": text},
        "client": {"address": text},
        "code": {"file": {"path": text}, "line": {"number": text}, "function": {"name": text}},
    }
    line = narrate(event(body, kind), color=False)
    assert line is not None and line.isprintable() and len(line) < 8000


@given(HOSTILE)
def test_a_shown_value_is_bounded(text: str) -> None:
    shown = visible(text, 10)
    assert shown.isprintable() and len(shown) <= 10 * len("\\U0010ffff") + 1


def test_colours_are_ours_alone() -> None:
    line = narrate(event({"message": "\x1b[31mred"}, "trouble"), color=True)
    assert line is not None and "\\x1b[31mred" in line and line.startswith("\x1b[2m")


@pytest.mark.parametrize(
    ("kind", "tags", "word"),
    [
        ("request", ("request:diverted",), "DIVERTED"),
        ("request", ("request:refused",), "REFUSED"),
        ("request", ("request:isolated",), "watched"),
        ("detection", (), "ATTACK"),
        ("isolation", (), "ISOLATION"),
    ],
)
def test_what_matters_is_told(kind: str, tags: tuple[str, ...], word: str) -> None:
    line = narrate(event({"message": "m"}, kind, *tags), color=False)
    assert line is not None and word in line


def test_what_does_not_matter_is_not_told() -> None:
    assert narrate(event({}, "metric"), color=False) is None


def test_a_flood_of_watched_requests_does_not_drown_the_log() -> None:
    tags = ("request:isolated",)
    second, next_second = datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2, 0, 0, 1, tzinfo=UTC)
    flood = [Event(str(n), "request", second, second, (), tags, None, {}) for n in range(100)]
    narrator = Narrator(color=False)
    assert sum(len(narrator.lines(event)) for event in flood) == 5
    later = narrator.lines(Event("x", "request", next_second, next_second, (), tags, None, {}))
    assert "… and 95 more requests" in later[0] and len(later) == 2
