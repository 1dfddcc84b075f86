"""Whom a request is served for, told by the frameworks that know: Django's authentication and Flask-Login.

The user is taken when the app itself has asked for it, and never asked for: no query is made that the app did
not make.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from divertor_sensor import context
from divertor_sensor.patching import integrate, wrap
from divertor_sensor.users import set_user


def instrument() -> None:
    """Hook into Django's authentication and Flask-Login as they are imported."""
    integrate("context", "Django's users", "django.contrib.auth", _django)
    integrate(
        "context",
        "Flask-Login",
        "flask_login.login_manager",
        lambda module: wrap(module, "LoginManager._update_request_context_with_user", _flask_login),
    )


def _django(module: ModuleType) -> None:
    wrap(module, "get_user", _loaded)
    wrap(module, "aget_user", _loaded_later)
    wrap(module, "login", _logged_in)
    wrap(module, "alogin", _logged_in)


def _loaded(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    user = wrapped(*args, **kwargs)
    _tell_django(user)
    return user


def _loaded_later(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    async def load() -> Any:
        user = await wrapped(*args, **kwargs)
        _tell_django(user)
        return user

    return load()


def _logged_in(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = wrapped(*args, **kwargs)
    _tell_django(args[1] if len(args) > 1 else kwargs.get("user"))
    return result


def _tell_django(user: Any) -> None:
    """The primary key, of an instance that is loaded; looked up where Django keeps it, so that a field that
    is not loaded stays so.
    """
    request = context.current.get()
    if request is None or not getattr(user, "is_authenticated", False):
        return
    try:
        key = user.__dict__.get(user._meta.pk.attname)
    except Exception as problem:
        request.sensor.faults.contain("Django's user", problem)
        return
    if key is not None:
        set_user(key)


def _flask_login(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = wrapped(*args, **kwargs)
    request = context.current.get()
    user = args[0] if args else kwargs.get("user")
    if request is not None and user is not None:
        try:
            with context.suspended():
                key = user.get_id()
        except Exception as problem:
            request.sensor.faults.note("Flask-Login's user", problem)
        else:
            set_user("" if key is None else key)
    return result
