"""`divertor-sensor doctor`: what is guarded in this installation, what is not, and why.

It turns the sensor on in its own process, imports what is installed of what the sensor looks into (or the
app's module instead), and reads what became of each. It changes nothing outside of its process, and sends the
endpoint an empty export, to see whether it takes one.
"""

from __future__ import annotations

import dataclasses
import http.client
import importlib
import importlib.util
import os
import platform
import site
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from divertor_sensor import patching, runtime
from divertor_sensor.settings import Settings, is_enabled, read_settings
from divertor_sensor.version import VERSION

#: Seconds that the endpoint is given to answer.
_PATIENCE = 3.0
#: Names shown on one line; JSON has them all.
_SHOWN = 3
_HOOK = "divertor_sensor_autostart.pth"

#: Libraries that do what the guarded ones do, and are not guarded: module and what can be done.
_NOT_GUARDED = {
    "asyncmy": "its statements are not judged; aiomysql's are",
    "cheroot": "wrap the app: divertor_sensor.protect(app)",
    "clickhouse_driver": "its statements are not judged",
    "daphne": "wrap the app: divertor_sensor.protect(app)",
    "duckdb": "its statements are not judged",
    "eventlet": "not tried",
    "gevent": "a process that gevent has patched is not guarded",
    "oracledb": "its statements are not judged",
    "pymssql": "its statements are not judged",
    "pyodbc": "its statements are not judged",
    "pyuwsgi": "frameworks are guarded; wrap an app without one: divertor_sensor.protect(app)",
    "sanic": "not guarded",
}


class State(StrEnum):
    """What became of an integration."""

    GUARDED = "guarded"
    ABSENT = "not installed"
    UNUSED = "not imported"
    FAILED = "not guarded"
    UNSUPPORTED = "not supported"


@dataclass(frozen=True, slots=True)
class Library:
    """One module the sensor looks into; `detail` names what was patched, or says why nothing was."""

    kind: str
    title: str
    module: str
    state: State
    detail: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that the doctor found. `problems` is what should be changed; empty when all is well."""

    sensor: str
    interpreter: str
    gil: bool
    enabled: bool
    start_up_hook: str
    settings: dict[str, str]
    endpoint: str
    app: str
    libraries: tuple[Library, ...]
    audit_events: tuple[str, ...]
    not_guarded: dict[str, str]
    problems: tuple[str, ...]


def examine(environ: Mapping[str, str], app: str = "") -> Diagnosis:
    """Look into this process, and into `app` (`MODULE` or `MODULE:NAME`) when it is given."""
    settings, problems = _settings(environ)
    endpoint, problem = _endpoint(settings)
    problems += [problem] if problem else []
    runtime.instrument(dataclasses.replace(settings, strict=False))
    told, problem = _app(app) if app else ("", "")
    problems += [each for each in (problem, runtime.refusal()) if each]
    libraries = tuple(_library(each, not app) for each in list(patching.integrations.values()))
    problems += [f"{each.title} ({each.module}): {each.detail}" for each in libraries if _is_wrong(each)]
    return Diagnosis(
        sensor=VERSION,
        interpreter=f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})",
        gil=getattr(sys, "_is_gil_enabled", lambda: True)(),
        enabled=is_enabled(environ),
        start_up_hook=_start_up_hook(),
        settings=shown(settings),
        endpoint=endpoint,
        app=told,
        libraries=libraries,
        audit_events=_audit_events(),
        not_guarded={name: why for name, why in _NOT_GUARDED.items() if _is_installed(name)},
        problems=tuple(problems),
    )


def shown(settings: Settings) -> dict[str, str]:
    """The settings as text; of secrets only whether they are there, of the endpoint not who logs in."""
    found = {}
    for each in dataclasses.fields(settings):
        value = getattr(settings, each.name)
        if "token" in each.name:
            found[each.name] = "set (hidden)" if value else "not set"
        elif each.name == "endpoint" and value:
            found[each.name] = _without_user(value)
        else:
            found[each.name] = _text(value)
    return found


def _text(value: object) -> str:
    if isinstance(value, (tuple, list, frozenset, set)):
        return ", ".join(map(_word, value)) or "none"
    return str(value) or "not set"


def _word(value: object) -> str:
    """One of several; the mode of a type comes as a pair."""
    return "=".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _settings(environ: Mapping[str, str]) -> tuple[Settings, list[str]]:
    settings, told = read_settings(environ)
    problems = list(told)
    if settings.mode == "divert" and not settings.divert_token:
        problems.append("DIVERTOR_MODE is divert without DIVERTOR_DIVERT_TOKEN: attacks are blocked")
    return settings, problems


def _endpoint(settings: Settings) -> tuple[str, str]:
    """What the endpoint says to an empty export, and what is wrong with that."""
    if not settings.endpoint:
        return "not set: reports go to the log", ""
    parts = urlsplit(settings.endpoint)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    headers = {"content-type": "application/json"}
    if settings.ingest_token:
        headers["authorization"] = f"Bearer {settings.ingest_token}"
    connection = kind(parts.hostname or "", parts.port, timeout=_PATIENCE)
    try:
        connection.request("POST", f"{parts.path}/v1/logs", b'{"resourceLogs": []}', headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as problem:
        return "not reached", f"the endpoint {_without_user(settings.endpoint)} is not reached: {problem}"
    finally:
        connection.close()
    if status < 300:
        return f"answers {status}", ""
    return f"answers {status}", f"the endpoint refuses reports with status {status}"


def _app(name: str) -> tuple[str, str]:
    """How the app is guarded, and what is wrong with it."""
    module_name, _, attribute = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as problem:
        return f"{name}: not imported", f"{module_name} is not imported: {type(problem).__name__}: {problem}"
    if not attribute:
        return f"{name}: imported", ""
    target: Any = module
    for part in attribute.split("."):
        target = getattr(target, part, None)
    if target is None:
        return f"{name}: not found", f"{module_name} has no {attribute}"
    return f"{name}: {_guarded_by(target)}", ""


def _guarded_by(app: object) -> str:
    from divertor_sensor.frameworks import is_hooked

    if is_hooked(app):
        return "guarded by its framework's class, whatever server runs it"
    return "guarded by the server, if that is one of those below; else use divertor_sensor.protect(app)"


def _library(integration: patching.Integration, load: bool) -> Library:
    state, detail = _state(integration, load)
    return Library(integration.kind, integration.title, integration.module, state, detail)


def _state(integration: patching.Integration, load: bool) -> tuple[State, str]:
    if integration.kind == "unsupported":
        return State.UNSUPPORTED if _is_installed(integration.module) else State.ABSENT, ""
    if not integration.seen and not _is_installed(integration.module):
        return State.ABSENT, ""
    if not integration.seen and not load:
        return State.UNUSED, ""
    problem = "" if integration.seen else _load(integration.module)
    if problem:
        return State.FAILED, f"not imported: {problem}"
    if not integration.seen:
        return State.ABSENT, ""
    if integration.problem:
        return State.FAILED, integration.problem
    if not integration.replaced and integration.kind in ("framework", "server"):
        return State.FAILED, "this version has none of what the sensor hooks into"
    return State.GUARDED, ", ".join(integration.replaced)


def _load(module: str) -> str:
    """Why `module` could not be imported; empty when it was, or when this version of its package has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(module)
    except ModuleNotFoundError as problem:
        missing = problem.name or ""
        return "" if module == missing or module.startswith(f"{missing}.") else str(problem)
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}"
    return ""


def _is_installed(module: str) -> bool:
    """Whether its top-level package is there; nothing is imported for that."""
    name = module.partition(".")[0]
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _is_wrong(library: Library) -> bool:
    return library.state is State.FAILED


def _audit_events() -> tuple[str, ...]:
    from divertor_sensor.sinks import audit

    return tuple(sorted(audit.events()))


def _start_up_hook() -> str:
    """Where the file is that makes `DIVERTOR_SENSOR=1` work; for an installation without it, what does."""
    for folder in _site_folders():
        if (Path(folder) / _HOOK).is_file():
            return str(Path(folder) / _HOOK)
    return "not installed: use `divertor-sensor run`, or instrument()"


def _site_folders() -> Iterable[str]:
    return [*site.getsitepackages(), site.getusersitepackages()]


def render(diagnosis: Diagnosis) -> str:
    """The diagnosis as text: facts, a table of the libraries, what is not guarded, and the problems."""
    facts = [
        ("sensor", diagnosis.sensor),
        ("interpreter", diagnosis.interpreter),
        ("GIL", "on" if diagnosis.gil else "off"),
        ("DIVERTOR_SENSOR", "on" if diagnosis.enabled else "off: nothing is guarded unless something asks"),
        ("start-up hook", diagnosis.start_up_hook),
        ("endpoint", diagnosis.endpoint),
        *([("app", diagnosis.app)] if diagnosis.app else []),
    ]
    installed = [each for each in diagnosis.libraries if each.state is not State.ABSENT]
    absent = sorted({each.title for each in diagnosis.libraries} - {each.title for each in installed})
    sections = [
        _columns(facts),
        "Settings\n" + _columns(list(diagnosis.settings.items())),
        "Libraries\n" + _columns([(e.kind, e.title, e.module, e.state, _short(e)) for e in installed]),
        "Not installed: " + (", ".join(absent) or "none"),
        "Audit events: " + (", ".join(diagnosis.audit_events) or "none"),
    ]
    if diagnosis.not_guarded:
        sections.append("Installed and not guarded\n" + _columns(list(diagnosis.not_guarded.items())))
    problems = "".join(f"\n  - {each}" for each in diagnosis.problems)
    sections.append("Problems" + problems if problems else "No problems.")
    return "\n\n".join(sections)


def _short(library: Library) -> str:
    """The detail for a line: names below their module, and not too many of them."""
    if library.state is not State.GUARDED:
        return library.detail
    names = [name.removeprefix(f"{library.module}.") for name in library.detail.split(", ")]
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _columns(rows: Iterable[tuple[str, ...]]) -> str:
    """Rows with their columns aligned, all but the last."""
    table = [tuple(map(str, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)][:-1]
    lines = []
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(lines)
