"""`divertor-sensor doctor` in processes of its own, with the real libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import divertor_sensor
from divertor_sensor import unsupported
from divertor_sensor.doctor import shown
from divertor_sensor.modes import Mode, RouteRule
from divertor_sensor.settings import Settings

SOURCE = str(Path(divertor_sensor.__file__).parents[1])
APPS = """
import flask
app = flask.Flask("shop")
def plain(environ, start_response): ...
"""


#: A module that brings nothing with it, where the libraries do not matter.
NOTHING = "json"


def doctor(*arguments: str, folder: Path | None = None, **environ: str) -> tuple[int, str]:
    """Its exit status, and what it prints."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("DIVERTOR", "PYTHON"))}
    path = os.pathsep.join([SOURCE, *([str(folder)] if folder else [])])
    done = subprocess.run(
        [sys.executable, "-m", "divertor_sensor", "doctor", *arguments],
        env={**clean, "PYTHONPATH": path, **environ},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, done.stdout


def diagnosis(*arguments: str, folder: Path | None = None, **environ: str) -> tuple[int, dict[str, Any]]:
    status, text = doctor("--json", *arguments, folder=folder, **environ)
    return status, json.loads(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APPS)
    return tmp_path


def test_all_that_is_installed_here_is_guarded() -> None:
    status, found = diagnosis()
    assert (status, found["problems"], found["gil"]) == (0, [], True)
    by_kind = {kind: set() for kind in ("sink", "framework", "server", "context")}  # type: ignore[var-annotated]
    for each in found["libraries"]:
        if each["kind"] in by_kind and each["state"] != "not installed":
            assert each["state"] == "guarded", each
            by_kind[each["kind"]].add(each["title"])
    assert by_kind["framework"] >= {"Flask", "Django", "Starlette, FastAPI", "Quart", "Falcon", "Litestar"}
    assert by_kind["framework"] >= {"Bottle", "Pyramid", "aiohttp", "Tornado"}
    assert by_kind["server"] >= {"gunicorn", "uvicorn", "Hypercorn", "waitress", "Granian", "wsgiref"}
    assert "SQLite" in by_kind["sink"] and "open" in found["audit_events"]


def test_an_app_of_a_framework_is_told_apart_from_one_without(folder: Path) -> None:
    status, found = diagnosis("shop:app", folder=folder)
    states = {each["title"]: each["state"] for each in found["libraries"]}
    assert (status, states["Flask"], states["Django"]) == (0, "guarded", "not imported")
    assert (states["aiohttp"], states["aiohttp client"]) == ("not imported", "not imported")
    assert "guarded by its framework's class" in found["app"]
    assert "protect(app)" in diagnosis("shop:plain", folder=folder)[1]["app"]


@pytest.mark.parametrize(("name", "told"), [("shop:nothing", "has no nothing"), ("shp", "not imported")])
def test_an_app_that_is_not_there_is_a_problem(folder: Path, name: str, told: str) -> None:
    status, found = diagnosis(name, folder=folder)
    assert status == 1 and told in found["problems"][0]


def test_a_library_that_is_not_as_expected_is_a_problem(folder: Path) -> None:
    (folder / "waitress").mkdir()
    (folder / "waitress" / "__init__.py").write_text("")
    (folder / "waitress" / "server.py").write_text("")
    status, text = doctor("waitress.server", folder=folder)
    assert status == 1 and "waitress.server): this version has none of what" in text


def test_bad_settings_are_problems_and_secrets_are_not_shown() -> None:
    status, text = doctor(
        NOTHING, DIVERTOR_MODE="divert", DIVERTOR_TRUSTED_HOPS="x", DIVERTOR_INGEST_TOKEN="s3cret"
    )
    assert status == 1 and "attacks are blocked" in text and "DIVERTOR_TRUSTED_HOPS is 'x'" in text
    assert "set (hidden)" in text and "s3cret" not in text


def test_modes_are_shown_as_they_are_set() -> None:
    told = shown(Settings(routes=(RouteRule("/a", Mode.OFF, "GET"),), detectors=(("xss", Mode.BLOCK),)))
    assert (told["routes"], told["detectors"]) == ("GET /a=off", "xss=block")


def test_an_address_is_shown_without_who_logs_in() -> None:
    told = shown(Settings(endpoint="http://me:pass@127.0.0.1:1", divert_token="t0ken"))
    assert told["endpoint"] == "http://127.0.0.1:1" and "t0ken" not in str(told)


def test_an_endpoint_that_is_there_gets_an_empty_export(collector: Any) -> None:
    status, found = diagnosis(NOTHING, DIVERTOR_ENDPOINT=collector.url, DIVERTOR_INGEST_TOKEN="in")
    assert (status, found["endpoint"]) == (0, "answers 200")
    path, headers, body = collector.requests.get(timeout=10)
    assert (path, headers["authorization"], body) == ("/v1/logs", "Bearer in", {"resourceLogs": []})


def test_an_endpoint_that_refuses_or_is_not_there_is_a_problem(collector: Any, port: int) -> None:
    collector.statuses.append(401)
    assert "status 401" in diagnosis(NOTHING, DIVERTOR_ENDPOINT=collector.url)[1]["problems"][0]
    assert (
        "is not reached" in diagnosis(NOTHING, DIVERTOR_ENDPOINT=f"http://127.0.0.1:{port}")[1]["problems"][0]
    )


GEVENT = """
saved = {}
def patch_thread():
    saved["threading"] = {}
def patch_all():
    patch_thread()
"""
LATER = """
import logging; logging.basicConfig()
import divertor_sensor, divertor_sensor.runtime as r
divertor_sensor.instrument(); import gevent.monkey; assert not r.refusal()
gevent.monkey.patch_all(); print(r.refusal())
def app(environ, start_response): return []
assert divertor_sensor.protect(app) is app
"""


@pytest.fixture
def gevent(folder: Path) -> Path:
    """What gevent shows of itself, in a package of that name."""
    (folder / "gevent").mkdir()
    (folder / "gevent" / "__init__.py").write_text("")
    (folder / "gevent" / "monkey.py").write_text(GEVENT)
    return folder


def test_gevent_is_refused_as_soon_as_it_patches(gevent: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([SOURCE, str(gevent)])}
    done = subprocess.run([sys.executable, "-c", LATER], env=environ, capture_output=True, text=True)
    assert "gevent has patched" in done.stdout and done.returncode == 0, done.stderr
    assert done.stderr.count("not guarding this process") == 1


def test_gevent_that_has_patched_before_is_refused(gevent: Path) -> None:
    (gevent / "shop.py").write_text("import gevent.monkey; gevent.monkey.patch_all()")
    status, found = diagnosis("shop", folder=gevent)
    assert status == 1 and "gevent has patched" in found["problems"][0]


def test_an_interpreter_without_its_gil_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unsupported.unsupported() == ""
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert "PYTHON_GIL=1" in unsupported.unsupported()
