"""The frameworks and servers: what makes a request current, and replaces its response once it was
interrupted.

`wsgi` and `asgi` hold the two protocols as middleware for any app. Here they are hooked into the frameworks'
classes, whatever server runs them; `servers` hooks them in where a server takes its app, which needs no
framework. aiohttp and Tornado speak a protocol of their own and have a module each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from divertor_sensor.frameworks import aiohttp_web, failures, logins, servers, tornado_web
from divertor_sensor.frameworks.hooking import Guards
from divertor_sensor.patching import Wrapper, integrate, wrap

if TYPE_CHECKING:
    from divertor_sensor.sensor import Sensor

#: (framework, module, the method that is its WSGI app)
_WSGI = (
    ("Flask", "flask.app", "Flask.wsgi_app"),
    ("Django", "django.core.handlers.wsgi", "WSGIHandler.__call__"),
    ("Falcon", "falcon.app", "App.__call__"),
    ("Bottle", "bottle", "Bottle.__call__"),
    ("Pyramid", "pyramid.router", "Router.__call__"),
)
#: (framework, module, the method that is its ASGI app)
_ASGI = (
    ("Django", "django.core.handlers.asgi", "ASGIHandler.__call__"),
    ("Starlette, FastAPI", "starlette.applications", "Starlette.__call__"),
    ("Quart", "quart.app", "Quart.asgi_app"),
    ("Falcon", "falcon.asgi.app", "App.__call__"),
    ("Litestar", "litestar.app", "Litestar.__call__"),
)
#: (module, class) of apps that speak a protocol of their own, and are hooked below it.
_OTHER = (("aiohttp.web_app", "Application"), ("tornado.web", "Application"))


def instrument(sensor: Callable[[], Sensor]) -> None:
    """Hook into frameworks and servers as they are imported; `sensor` gives the one to use, for each
    request.
    """
    guards = Guards(sensor)
    for title, module, name in _WSGI:
        _hook(title, module, name, guards.wsgi)
    for title, module, name in _ASGI:
        _hook(title, module, name, guards.asgi)
    aiohttp_web.instrument(sensor)
    tornado_web.instrument(sensor)
    servers.instrument(guards)
    failures.instrument()
    logins.instrument()


def is_hooked(app: Any) -> bool:
    """Whether `app` is guarded through a class of its framework."""
    classes = {(module, name.partition(".")[0]) for _, module, name in (*_WSGI, *_ASGI)}.union(_OTHER)
    return any((kind.__module__, kind.__name__) in classes for kind in type(app).__mro__)


def _hook(title: str, module: str, name: str, wrapper: Wrapper) -> None:
    integrate("framework", title, module, lambda imported: wrap(imported, name, wrapper))
