"""Modes per signal, route and type: what applies, and what it leads to."""

from __future__ import annotations

import importlib
import pkgutil
import sqlite3
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from divertor_sensor import detectors, probes
from divertor_sensor.frameworks.wsgi import DivertorWSGI
from divertor_sensor.modes import TYPES, Mode, Modes, RouteRule
from divertor_sensor.reports.detection import Detection
from divertor_sensor.sensor import Sensor
from divertor_sensor.settings import Settings, read_settings

MakeSensor = Callable[..., Sensor]
ROUTES = "GET /health=off; /admin/*=block; /x=off:probe; /v=block:vulnerability; */raw/*.json=report"

#: Signal, method, path, what applies where attacks are diverted.
APPLIES = [
    ("attack", "GET", "/", Mode.DIVERT),
    ("attack", "GET", "/health", Mode.OFF),
    ("vulnerability", "GET", "/health", Mode.OFF),
    ("probe", "GET", "/health", Mode.OFF),
    ("attack", "POST", "/health", Mode.DIVERT),
    ("attack", "GET", "/health/", Mode.DIVERT),
    ("attack", "GET", "/admin/users", Mode.BLOCK),
    ("attack", "GET", "/admin", Mode.DIVERT),
    ("vulnerability", "GET", "/admin/users", Mode.REPORT),
    ("attack", "GET", "/x", Mode.DIVERT),
    ("probe", "GET", "/x", Mode.OFF),
    ("vulnerability", "GET", "/v", Mode.BLOCK),
    ("attack", "GET", "/a/raw/b/c.json", Mode.REPORT),
    ("attack", "GET", "/a/raw/b/c.jsonp", Mode.DIVERT),
    ("attack", "GET", "//health", Mode.DIVERT),
    ("attack", "GET", "/a/../health", Mode.DIVERT),
    ("attack", "GET", "/a/raw/../c.json", Mode.DIVERT),
    ("attack", "GET", "//admin/users", Mode.BLOCK),
    ("attack", "GET", "/shop/../admin/users", Mode.BLOCK),
    ("attack", "GET", "\\admin\\users", Mode.BLOCK),
]


@pytest.mark.parametrize(("signal", "method", "path", "mode"), APPLIES)
def test_the_first_route_that_applies_decides(signal: str, method: str, path: str, mode: Mode) -> None:
    settings, warnings = read_settings({"DIVERTOR_MODE": "divert", "DIVERTOR_ROUTES": ROUTES})
    assert not warnings and len(APPLIES) == 20
    assert settings.modes().find("sql_injection", signal, method, path) is mode


def test_a_pattern_of_many_stars_is_decided_at_once() -> None:
    rule = RouteRule("/" + "*a" * 200 + "b", Mode.BLOCK)
    assert not rule.applies("attack", "GET", "/" + "a" * 100_000)


def test_a_type_can_be_off_whatever_a_route_says() -> None:
    modes = Modes({"attack": Mode.DIVERT}, (RouteRule("/*", Mode.BLOCK),), (("xss", Mode.OFF),))
    assert modes.find("xss", "vulnerability", "GET", "/") is Mode.OFF
    assert modes.find("sql_injection", "attack", "GET", "/") is Mode.BLOCK


def test_a_types_own_mode_comes_after_the_routes_and_before_the_signals() -> None:
    modes = Modes({"attack": Mode.DIVERT}, (RouteRule("/a", Mode.BLOCK),), (("xss", Mode.REPORT),))
    found = [modes.find("xss", "attack", "GET", path) for path in ("/a", "/b")]
    assert found == [Mode.BLOCK, Mode.REPORT]


GOOD = [
    ("DIVERTOR_MODE", "simulate", {"mode": Mode.SIMULATE}),
    ("DIVERTOR_MODE_VULNERABILITY", "Divert", {"mode_vulnerability": Mode.DIVERT}),
    ("DIVERTOR_MODE_PROBE", "off", {"mode_probe": Mode.OFF}),
    ("DIVERTOR_ROUTES", "POST /a=b=off", {"routes": (RouteRule("/a=b", Mode.OFF, "POST"),)}),
    ("DIVERTOR_DETECTORS", "-xss, ssrf=block", {"detectors": (("xss", Mode.OFF), ("ssrf", Mode.BLOCK))}),
    ("DIVERTOR_SAMPLE", "100", {"sample": 100}),
]


@pytest.mark.parametrize(("name", "value", "expected"), GOOD)
def test_each_setting_of_modes_is_read(name: str, value: str, expected: dict[str, Any]) -> None:
    assert read_settings({name: value}) == (Settings(**expected), ())


BAD = [
    ("DIVERTOR_MODE_VULNERABILITY", "maybe"),
    ("DIVERTOR_MODE_PROBE", "block"),
    ("DIVERTOR_ROUTES", "/a"),
    ("DIVERTOR_ROUTES", "/a=stop"),
    ("DIVERTOR_ROUTES", "/a=block:everything"),
    ("DIVERTOR_ROUTES", "/a=block:probe"),
    ("DIVERTOR_ROUTES", "a=off"),
    ("DIVERTOR_ROUTES", "G3T /a=off"),
    ("DIVERTOR_DETECTORS", "xss"),
    ("DIVERTOR_DETECTORS", "-xss=report"),
    ("DIVERTOR_DETECTORS", "x y=off"),
    ("DIVERTOR_DETECTORS", "-sqli"),
    ("DIVERTOR_SAMPLE", "0.5"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_what_cannot_be_read_is_left_out_with_a_warning(name: str, value: str) -> None:
    settings, warnings = read_settings({name: value})
    assert settings == Settings() and len(warnings) == 1 and name in warnings[0]


def test_every_type_of_finding_can_be_named() -> None:
    names = [name for _, name, _ in pkgutil.iter_modules(detectors.__path__, f"{detectors.__name__}.")]
    found = {vars(importlib.import_module(name)).get("DETECTOR") for name in names}
    found_types = {each.type for each in found if each is not None}
    probed = {kind for kind, *_ in probes._PATTERNS}
    assert found_types | probed | {"attack_wave", "forced_browsing", "scanner"} == set(TYPES)


@pytest.mark.parametrize("text", ["POST /a=b=off", "/x*=block:vulnerability", "GET /=simulate"])
def test_a_route_is_shown_as_it_was_written(text: str) -> None:
    (route,) = read_settings({"DIVERTOR_ROUTES": text})[0].routes
    assert str(route) == text


def test_a_bad_route_does_not_take_the_others_with_it() -> None:
    settings, warnings = read_settings({"DIVERTOR_ROUTES": "/a=nothing; /b=off;"})
    assert settings.routes == (RouteRule("/b", Mode.OFF),) and len(warnings) == 1


def careless(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Looks up whatever the body says."""
    text = environ["wsgi.input"].read().decode()
    database = sqlite3.connect(":memory:")
    try:
        rows = database.execute(f"select 1 where 'a' = '{text}'").fetchall()
    except sqlite3.Error:
        rows = []
    finally:
        database.close()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr(rows).encode()]


GATEWAY = {"HTTP_X_DIVERTOR_ORIGIN": "http://shop.example/"}
ATTACK, HONEST = b"a' or 'b'='b", b"O'Brien"


def status(sensor: Sensor, body: bytes, path: str = "/") -> str:
    environ: dict[str, Any] = {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body)), **GATEWAY}
    environ |= {"PATH_INFO": path, "REMOTE_ADDR": "10.0.0.9"}
    setup_testing_defaults(environ)
    statuses: list[str] = []
    list(DivertorWSGI(careless, sensor)(environ, lambda status, headers: statuses.append(status[:3])))
    return statuses[0]


def test_simulation_stops_nothing_and_tells_what_would_have_happened(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    assert status(make_sensor(mode=Mode.SIMULATE), ATTACK) == "200"
    assert status(make_sensor(mode=Mode.SIMULATE, divert_token=""), ATTACK) == "200"
    told = [(found.outcome, found.simulated) for found in kept]
    assert told == [("reported", "diverted"), ("reported", "blocked")]
    assert "reported (would be diverted)" in kept[0].summary()


def test_a_vulnerability_is_stopped_where_that_was_asked_for(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    assert status(make_sensor(mode_vulnerability=Mode.BLOCK), HONEST) == "403"
    assert [(found.signal, found.outcome) for found in kept] == [("vulnerability", "blocked")]


def test_a_route_blocks_where_others_divert(make_sensor: MakeSensor) -> None:
    sensor = make_sensor(routes=(RouteRule("/admin/*", Mode.BLOCK),))
    assert [status(sensor, ATTACK, path) for path in ("/admin/a", "/shop")] == ["403", "307"]


def test_a_route_that_is_off_is_neither_stopped_nor_reported(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    sensor = make_sensor(routes=(RouteRule("/health", Mode.OFF),))
    assert (status(sensor, ATTACK, "/health"), kept) == ("200", [])


def test_a_route_of_its_own_diverts_where_others_are_only_reported(make_sensor: MakeSensor) -> None:
    sensor = make_sensor(mode=Mode.REPORT, routes=(RouteRule("/a", Mode.DIVERT),))
    assert [status(sensor, ATTACK, path) for path in ("/a", "/b")] == ["307", "200"]


def test_the_file_that_holds_diverting_back_holds_back_routes_too(
    make_sensor: MakeSensor, tmp_path: Any
) -> None:
    (tmp_path / "mode").write_text("report")
    sensor = make_sensor(mode_file=str(tmp_path / "mode"), routes=(RouteRule("/a", Mode.DIVERT),))
    assert status(sensor, ATTACK, "/a") == "200"


def test_a_rule_that_stops_holds_for_head_and_for_a_slash_more() -> None:
    modes = Modes({"attack": Mode.REPORT}, (RouteRule("/a", Mode.BLOCK, "GET"),))
    for method, path in (("GET", "/a"), ("HEAD", "/a"), ("GET", "/a/"), ("HEAD", "/b/../a/")):
        assert modes.find("xss", "attack", method, path) is Mode.BLOCK
    assert modes.find("xss", "attack", "POST", "/a") is Mode.REPORT


def test_a_rule_that_stops_less_holds_for_neither() -> None:
    modes = Modes({"attack": Mode.DIVERT}, (RouteRule("/a", Mode.OFF, "GET"),))
    for method, path in (("HEAD", "/a"), ("GET", "/a/")):
        assert modes.find("xss", "attack", method, path) is Mode.DIVERT
