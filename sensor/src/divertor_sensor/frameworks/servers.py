"""The servers: the place where each takes the app it will call, so that an app without a framework is guarded
too, and middleware around a framework with it.

A server that was imported before the sensor, or that calls the app in another way, is covered by the
frameworks' own hooks, or by `divertor_sensor.protect(app)`. Not supported: granian's RSGI (said once in the
log), and uWSGI's way of loading an app without a framework.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from divertor_sensor.faults import LOG
from divertor_sensor.frameworks.hooking import Guards, after, replacing
from divertor_sensor.patching import Wrapper, integrate, wrap

#: gunicorn's workers that call a WSGI app; those of other projects are those projects' business.
_WSGI_WORKERS = frozenset({"sync", "gthread", "gevent", "gevent_wsgi", "gevent_pywsgi", "eventlet"})
_WSGI_CLASSES = ("SyncWorker", "ThreadWorker", "GeventWorker", "EventletWorker")
_ASGI_CLASSES = ("asgi", "ASGIWorker")


def instrument(guards: Guards) -> None:
    """Hook into the servers as they are imported."""

    def both(module: ModuleType) -> None:
        wrap(module, "ASGIWrapper.__init__", after("app", guards.over_asgi))
        wrap(module, "WSGIWrapper.__init__", after("app", guards.over_wsgi))

    _hook("gunicorn", "gunicorn.app.base", "BaseApplication.wsgi", _gunicorn(guards))
    _hook("uvicorn", "uvicorn.config", "Config.load", after("loaded_app", guards.over_asgi))
    integrate("server", "Hypercorn", "hypercorn.app_wrappers", both)
    integrate("unsupported", "Granian's RSGI", "granian.rsgi", lambda m: wrap(m, "_callback_wrapper", _rsgi))
    _hook("waitress", "waitress.server", "BaseWSGIServer.__init__", after("application", guards.over_wsgi))
    _hook("Granian", "granian.wsgi", "_callback_wrapper", replacing("callback", guards.over_wsgi))
    _hook("Granian", "granian.asgi", "_callback_wrapper", replacing("callback", guards.over_asgi))
    _hook("wsgiref", "wsgiref.handlers", "BaseHandler.run", replacing("application", guards.over_wsgi))
    _hook("Werkzeug", "werkzeug.serving", "BaseWSGIServer.__init__", after("app", guards.over_wsgi))
    _hook(
        "Tornado (WSGI)",
        "tornado.wsgi",
        "WSGIContainer.__init__",
        after("wsgi_application", guards.over_wsgi),
    )


def _hook(title: str, module: str, name: str, wrapper: Wrapper) -> None:
    integrate("server", title, module, lambda imported: wrap(imported, name, wrapper))


def _gunicorn(guards: Guards) -> Wrapper:
    """The app, by the protocol that the configured worker speaks."""

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        app = wrapped(*args, **kwargs)
        worker = str(getattr(getattr(instance, "cfg", None), "worker_class_str", ""))
        if worker in _WSGI_WORKERS or worker.endswith(_WSGI_CLASSES):
            return guards.over_wsgi(app)
        return guards.over_asgi(app) if worker.endswith(_ASGI_CLASSES) else app

    return wrapper


def _rsgi(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    LOG.warning("RSGI is not supported: requests that come this way are not guarded; use --interface asgi")
    return wrapped(*args, **kwargs)
