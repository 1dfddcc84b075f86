"""The process-wide sensor, the one call that turns everything on, and the reason why it may stay off.

Everything else in the package takes its sensor as an argument; this module is the edge that reads the
environment.
"""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Mapping
from typing import Any

from divertor_sensor.faults import LOG
from divertor_sensor.sensor import Sensor
from divertor_sensor.settings import Settings, read_settings
from divertor_sensor.unsupported import unsupported, watch

_lock = threading.Lock()
_sensor: Sensor | None = None
_refusal = ""


def sensor() -> Sensor:
    """The process-wide sensor, configured from the environment when nobody did it before."""
    return _sensor if _sensor is not None else configure(settings_from(os.environ))


def configure(settings: Settings) -> Sensor:
    """Make a sensor with `settings` the process-wide one. Requests under way keep the one they began with."""
    global _sensor
    with _lock:
        _sensor = Sensor(settings)
        return _sensor


def refusal() -> str:
    """Why no request of this process is guarded; empty as long as they are."""
    return _refusal


def refuse(reason: str) -> None:
    """Follow no request from now on, and say so once: guarding half of what happens would be worse."""
    global _refusal
    if not _refusal:
        _refusal = reason
        LOG.error("not guarding this process: %s", reason)


def settings_from(environ: Mapping[str, str]) -> Settings:
    """The settings in `environ`; each value that cannot be used is logged once as a warning."""
    settings, warnings = read_settings(environ)
    for warning in warnings:
        LOG.warning("%s", warning)
    return settings


def instrument(settings: Settings | None = None) -> None:
    """Guard this process: sinks, threads, frameworks and servers, imported already or later.

    Call it as early as possible; a second call only changes the settings. Without `settings` the
    environment is read. It never raises into the host, except under `DIVERTOR_SENSOR_STRICT=1`. An
    interpreter that is not supported is left as it is (`refusal` says why).
    """
    # A virtual environment runs its start-up hooks twice: the second time there is nothing to read or tell.
    current = sensor() if settings is None else configure(settings)
    reason = unsupported()
    if reason:
        refuse(reason)
        return
    try:
        from divertor_sensor import frameworks, sinks, threads

        watch(refuse)
        sinks.instrument()
        threads.instrument()
        frameworks.instrument(sensor)
    except Exception as problem:
        current.faults.contain("instrumentation", problem)


def protect(app: Any = None, settings: Settings | None = None) -> Any:
    """`instrument`, and give `app` back, guarded.

    The app of a framework that is hooked through its class is returned as it is; any other WSGI or ASGI
    callable is wrapped in the middleware of its protocol.
    """
    from divertor_sensor.frameworks import is_hooked
    from divertor_sensor.frameworks.asgi import DivertorASGI
    from divertor_sensor.frameworks.wsgi import DivertorWSGI

    instrument(settings)
    if app is None or _refusal or is_hooked(app):
        return app
    return DivertorASGI(app) if _is_async(app) else DivertorWSGI(app)


def _is_async(app: Any) -> bool:
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(getattr(app, "__call__", None))  # noqa: B004
