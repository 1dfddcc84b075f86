"""Exceptions that a framework turns into an error page, so that the protocol's wrapper never sees them.

Each framework has one function through which they all go; here it is told apart what is an answer (a 404 by
exception) from what is a failure. Reporting is `divertor_sensor.behaviour`'s; the exception goes its way.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import ModuleType
from typing import Any

from divertor_sensor import context
from divertor_sensor.behaviour import failed
from divertor_sensor.patching import integrate, wrap

#: (framework, module, function), each given the exception, or what `sys.exc_info` gives.
_FUNCTIONS = (
    ("Flask errors", "flask.app", "Flask.handle_exception"),
    ("Django errors", "django.core.handlers.exception", "handle_uncaught_exception"),
    ("Quart errors", "quart.app", "Quart.handle_exception"),
    ("Falcon errors", "falcon.app", "App._python_error_handler"),
    ("Falcon errors", "falcon.asgi.app", "App._python_error_handler"),
    ("Pyramid errors", "pyramid.tweens", "_error_handler"),
    (
        "Litestar errors",
        "litestar.middleware._internal.exceptions.middleware",
        "ExceptionHandlerMiddleware.handle_request_exception",
    ),
    ("Tornado errors", "tornado.web", "RequestHandler._handle_request_exception"),
    ("aiohttp errors", "aiohttp.web_protocol", "RequestHandler.handle_error"),
)
_FAILED = 500


def instrument() -> None:
    """Hook into the frameworks' error handling as they are imported."""
    for title, module, name in _FUNCTIONS:
        integrate("framework", title, module, partial(wrap, name=name, wrapper=_given))
    integrate("framework", "Bottle errors", "bottle", _bottle)


def _bottle(module: ModuleType) -> None:
    wrap(module, "Bottle._handle", _returned)


def _given(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    _tell(next(_exceptions((*args, *kwargs.values())), None))
    return wrapped(*args, **kwargs)


def _returned(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """For Bottle, whose answer carries the exception that it stands for."""
    answer = wrapped(*args, **kwargs)
    problem = getattr(answer, "exception", None)
    if isinstance(problem, Exception):
        _tell(problem)
    return answer


def _exceptions(values: tuple[Any, ...]) -> Iterator[Exception]:
    for value in values:
        if isinstance(value, Exception):
            yield value
        elif type(value) is tuple:
            yield from _exceptions(value)


def _tell(problem: Exception | None) -> None:
    request = context.current.get()
    if request is not None and problem is not None and _is_failure(problem):
        failed(request, problem)


def _is_failure(problem: Exception) -> bool:
    """Not an answer below 500, nor Tornado's way to end a request."""
    for name in ("status_code", "code", "status"):
        status = getattr(problem, name, None)
        if isinstance(status, int):
            return status >= _FAILED
    return type(problem).__name__ != "Finish"
