"""How a rule is doing, in words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from divertor.cli.health import details, quiet, trouble, unheard

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
TEN = "2026-01-02T10:00:00.000000Z"
RULE: dict[str, Any] = {
    "name": "many",
    "type": "any",
    "enabled": True,
    "index": ["web-*", "db"],
    "matches": 3,
    "last_match": TEN,
    "matches_since": "2026-01-01T00:00:00.000000Z",
    "last_event": TEN,
    "watched_since": "2026-01-01T00:00:00.000000Z",
    "silenced": None,
    "alerts": ["slack"],
    "error": "",
}


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, "no event of web-*, db for 2h"),
        ({"last_event": "2026-01-02T11:30:00.000000Z"}, ""),
        ({"last_event": None}, "no event of web-*, db has come since 2026-01-01 00:00:00"),
        ({"last_event": None, "watched_since": "2026-01-02T11:59:00.000000Z"}, ""),
        ({"last_event": None, "watched_since": None}, ""),
        ({"enabled": False}, ""),
        ({"index": ["bitsensor"]}, ""),
        ({"index": ["divertor-trouble"]}, ""),
        ({"index": ["divertor-log"]}, "no event of divertor-log for 2h"),
        ({"index": ["*"]}, "no event of * for 2h"),
    ],
)
def test_a_rule_to_which_nothing_comes_says_so(changes: dict[str, Any], expected: str) -> None:
    assert unheard({**RULE, **changes}, NOW) == expected


def test_a_rule_of_an_older_stack_is_not_said_to_hear_nothing() -> None:
    assert unheard({"name": "many", "type": "any"}, NOW) == ""


@pytest.mark.parametrize(
    "silence, expected",
    [
        (None, ""),
        ({"mute": True, "until": TEN, "by": "ann"}, "muted until 2026-01-02 10:00:00 by ann"),
        ({"mute": False, "partly": True, "until": None, "by": "ann"}, "partly silenced by ann"),
        ({"mute": False, "partly": False, "until": None, "by": ""}, "silenced"),
    ],
)
def test_what_keeps_a_rule_quiet_is_told_in_words(silence: dict[str, Any] | None, expected: str) -> None:
    assert quiet({"silenced": silence}) == expected


def test_what_nobody_can_say_now_is_not_passed_over() -> None:
    assert quiet({"silenced": None, "silences_known": False}) == "unknown: the broker is away"


def test_what_stopped_a_rule_goes_before_what_ails_it() -> None:
    assert trouble({**RULE, "error": "bad"}, {"many": "more than 2"}) == "stopped: more than 2"
    assert trouble({**RULE, "error": "bad"}, {}) == "bad" and trouble(RULE, {}) == ""


def test_the_details_say_only_what_there_is() -> None:
    told = dict(details(RULE, 2, "", NOW))
    assert told["last event"] == "2026-01-02 10:00:00 (2h ago)"
    assert told["matches"] == "3 since 2026-01-01 00:00:00"
    assert told["waiting"] == "2 messages wait to be delivered; see `divertor alerts`"
    assert "quiet" not in told and "trouble" not in told and "waiting" not in dict(details(RULE, 0, "", NOW))
