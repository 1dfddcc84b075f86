"""The access log across growth, rotation and restarts: no line lost, none told twice after `confirm`."""

from __future__ import annotations

import json
import os
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.gateway import following
from divertor.gateway.access import AccessLog, Added, Seen, parse_line
from divertor.model.isolation import KeyKind


def line(number: int, route: str = "g#isolated", **more: Any) -> bytes:
    fields = {
        "time": "2026-01-02T03:04:05.000006Z",
        "route": route,
        "scope": "shop/web",
        "path": f"/{number}",
    }
    return json.dumps({**fields, **more}).encode() + b"\n"


def paths(seen: list[Seen]) -> list[str]:
    return [each.fields["path"] for each in seen]


def drain(log: AccessLog) -> list[str]:
    found: list[str] = []
    while batch := log._read():
        found += paths(batch)
    return found


def write(path: Path, *lines: bytes) -> None:
    with path.open("ab") as out:
        out.writelines(lines)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "isolated.log"


@pytest.mark.parametrize(
    ("route", "kind"),
    [("g#divert", "diverted"), ("g#isolated", "isolated"), ("r", "refused"), (None, "refused")],
)
def test_the_route_tells_what_happened(route: Any, kind: str) -> None:
    seen = parse_line(line(1, route), 0)
    assert seen is not None and seen.kind == kind and seen.time == datetime(2026, 1, 2, 3, 4, 5, 6, UTC)


def test_a_key_the_gateway_isolated_is_told() -> None:
    seen = parse_line(line(1, added="cookie|session|abc cookie|session|%FF%7C%20 address||192.0.2.1"), 0)
    assert seen is not None and seen.added == (
        Added(KeyKind.COOKIE, "session", "abc"),
        Added(KeyKind.COOKIE, "session", "\udcff| "),
        Added(KeyKind.ADDRESS, "", "192.0.2.1"),
    )


@pytest.mark.parametrize("added", ["", "cookie|session", "telepathy||x", "%%%", None, 7])
def test_a_key_that_is_cut_short_is_left_out(added: Any) -> None:
    seen = parse_line(line(1, added=added), 0)
    assert seen is not None and seen.added == ()


def test_the_event_does_not_hold_the_isolated_key() -> None:
    seen = parse_line(line(1, added="cookie|session|hush-hush"), 0)
    assert seen is not None
    event = seen.event(datetime(2026, 1, 2, tzinfo=UTC), "web:1.0.0")
    assert "hush-hush" not in json.dumps(event.body) and event.tags == ("request:isolated", "deployment:shop")
    assert event.body["divertor"]["served_by"] == "web:1.0.0"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80) | st.text(max_size=40).map(lambda text: json.dumps({"route": text}).encode()))
def test_a_damaged_line_is_no_line(data: bytes) -> None:
    assert parse_line(data, 0) is None


def test_lines_are_told_as_they_are_written(path: Path) -> None:
    log = AccessLog(path)
    assert drain(log) == []
    write(path, line(1))
    assert drain(log) == ["/1"]
    write(path, line(2), b"damaged\n", line(3)[:10])
    assert drain(log) == ["/2"]
    write(path, line(3)[10:])
    assert drain(log) == ["/3"]


def test_the_same_request_has_the_same_id_after_a_restart(path: Path) -> None:
    write(path, line(1), line(1))
    first, again = AccessLog(path)._read(), AccessLog(path)._read()
    assert first == again and first[0].id != first[1].id


def test_only_what_was_not_confirmed_is_told_again(path: Path) -> None:
    log = AccessLog(path)
    write(path, line(1))
    drain(log)
    log.confirm()
    write(path, line(2))
    assert drain(log) == ["/2"] == drain(AccessLog(path))


def test_the_rest_of_a_log_put_aside_is_read_before_the_new_one(path: Path) -> None:
    log = AccessLog(path)
    write(path, line(1))
    drain(log)
    log.put_aside()
    write(path.with_suffix(".old"), line(2))  # Envoy has not reopened it yet
    assert drain(log) == ["/2"]
    write(path.with_suffix(".old"), line(3))
    write(path, line(4))
    assert drain(log) == ["/3", "/4"]
    log.confirm()
    assert not path.with_suffix(".old").exists()


def test_a_second_rotation_waits_for_the_first(path: Path) -> None:
    log = AccessLog(path)
    write(path, line(1))
    log.put_aside()
    write(path, line(2))
    log.put_aside()
    assert drain(log) == ["/1", "/2"]


def test_a_log_that_was_cut_short_is_read_from_its_start(path: Path) -> None:
    log = AccessLog(path)
    write(path, line(1), line(2))
    drain(log)
    os.truncate(path, 0)
    write(path, line(3))
    assert drain(log) == ["/3"]


def test_a_restored_copy_of_the_state_tells_nothing_again(path: Path) -> None:
    """A copy has another inode; what was released meanwhile must not be isolated once more."""
    write(path, line(1), line(2))
    log = AccessLog(path)
    drain(log)
    log.confirm()
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)
    write(path, line(3))
    assert drain(AccessLog(path)) == ["/3"]


@pytest.mark.parametrize("mark", ["", "x", "1", "1 2 3", "-1 -1", "\0"])
def test_a_damaged_position_means_from_the_start(path: Path, mark: str) -> None:
    write(path, line(1))
    path.with_suffix(".position").write_text(mark)
    assert drain(AccessLog(path)) == ["/1"]


def test_long_lines_and_long_logs_are_read_in_pieces(path: Path) -> None:
    write(path, *(line(number, user_agent="x" * 400_000) for number in range(6)))
    assert drain(AccessLog(path)) == [f"/{number}" for number in range(6)] and following.CHUNK < 6 * 400_000


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_or_doubled_in_any_order_of_events(path: Path, seed: int) -> None:
    """Envoy writes (to the log it has open), the agent rotates, reads, confirms, and is killed in between."""
    rng = random.Random(seed)
    log, written = AccessLog(path), 0
    told: list[str] = []
    unconfirmed: list[str] = []
    path.touch()
    envoy = path.open("ab", buffering=0)
    for _ in range(120):
        match rng.choice("wwwrrrcpok"):
            case "w":
                envoy.write(line(written))
                written += 1
            case "r":
                unconfirmed += paths(log._read())
            case "c":
                log.confirm()
                told, unconfirmed = told + unconfirmed, []
            case "p":
                log.put_aside()
            case "o":
                envoy.close()
                envoy = path.open("ab", buffering=0)
            case "k":
                log, unconfirmed = AccessLog(path), []
    envoy.close()
    path.touch()
    assert told + unconfirmed + drain(log) == [f"/{number}" for number in range(written)]
