"""How a WSGI or ASGI callable comes under guard: as the method of a framework's class, or as the app that a
server was given.

Both are proxies (`divertor_sensor.patching`), so that the app keeps its type, name and attributes. Guarding
what is guarded already changes nothing: the inner layer finds the request current and steps aside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from divertor_sensor import context, runtime
from divertor_sensor.faults import LOG
from divertor_sensor.frameworks.asgi import DivertorASGI
from divertor_sensor.frameworks.wsgi import serve
from divertor_sensor.patching import Wrapper, proxy
from divertor_sensor.sensor import Sensor

#: Marks an environ or a scope whose request is followed.
_KEY = "divertor_sensor.request"


class Guards:
    """The wrappers of both protocols; `sensor` gives the one to use, for each request anew."""

    def __init__(self, sensor: Callable[[], Sensor]) -> None:
        self.sensor = sensor

    def wsgi(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The wrapper of a WSGI callable."""
        if runtime.refusal() or _is_followed(args):
            return wrapped(*args, **kwargs)
        return serve(wrapped, self.sensor(), *args, **kwargs)

    def asgi(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The wrapper of an ASGI 3 callable."""
        if runtime.refusal() or _is_followed(args):
            return wrapped(*args, **kwargs)
        return DivertorASGI(wrapped, self.sensor())(*args, **kwargs)

    def over_wsgi(self, app: Any) -> Any:
        """What a server shall call in place of a WSGI `app`."""
        return proxy(app, self.wsgi) if callable(app) else app

    def over_asgi(self, app: Any) -> Any:
        """What a server shall call in place of an ASGI 3 `app`."""
        return proxy(app, self.asgi) if callable(app) else app


def _is_followed(args: tuple[Any, ...]) -> bool:
    return bool(args) and _KEY in args[0] and context.current.get() is not None


def replacing(name: str, guard: Callable[[Any], Any]) -> Wrapper:
    """A wrapper that hands on the first argument, also called `name`, as `guard` gives it back."""

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return wrapped(guard(args[0]), *args[1:], **kwargs)
        if name in kwargs:
            kwargs = {**kwargs, name: guard(kwargs[name])}
        return wrapped(*args, **kwargs)

    return wrapper


def after(attribute: str, guard: Callable[[Any], Any]) -> Wrapper:
    """A wrapper of a method that leaves an app in `attribute` of its object: there it is put under guard."""

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = wrapped(*args, **kwargs)
        try:
            setattr(instance, attribute, guard(getattr(instance, attribute)))
        except Exception as problem:
            LOG.warning("the app of %s is not guarded there: %r", type(instance).__qualname__, problem)
        return result

    return wrapper
