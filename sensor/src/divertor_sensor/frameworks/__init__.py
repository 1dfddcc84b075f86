"""The frameworks: what makes a request current, and replaces its response once it was interrupted.

`wsgi` and `asgi` hold the two protocols as middleware for any app; this module hooks them into Flask and
Starlette (and so FastAPI) at class level, whatever server runs them.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from divertor_sensor.frameworks.asgi import DivertorASGI
from divertor_sensor.frameworks.wsgi import DivertorWSGI
from divertor_sensor.patching import integrate, wrap

if TYPE_CHECKING:
    from divertor_sensor.sensor import Sensor


def instrument(sensor: Callable[[], Sensor]) -> None:
    """Hook into Flask and Starlette as they are imported; `sensor` gives the one to use, for each request."""

    def wsgi_app(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return DivertorWSGI(wrapped, sensor())(*args, **kwargs)

    def call(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return DivertorASGI(wrapped, sensor())(*args, **kwargs)

    def flask(module: ModuleType) -> None:
        wrap(module, "Flask.wsgi_app", wsgi_app)

    def starlette(module: ModuleType) -> None:
        wrap(module, "Starlette.__call__", call)

    integrate("framework", "Flask", "flask.app", flask)
    integrate("framework", "Starlette", "starlette.applications", starlette)
