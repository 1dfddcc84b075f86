"""LDAP sinks: filters and names that ldap3's connections and python-ldap's objects are given.

They are looked at where the app hands them over, before anything is sent; a paged search goes through the
same methods. Not guarded: the name a connection is bound with.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from divertor_sensor import context
from divertor_sensor.detectors.ldap import DETECTOR, NAME
from divertor_sensor.guard import check
from divertor_sensor.patching import integrate, wrap

#: What of a call is judged: (position, parameter, what goes before it in the statement).
_Place = tuple[int, str, str]

_LDAP3: dict[str, tuple[_Place, ...]] = {
    "search": ((0, "search_base", NAME), (1, "search_filter", "")),
    "add": ((0, "dn", NAME),),
    "compare": ((0, "dn", NAME),),
    "delete": ((0, "dn", NAME),),
    "modify": ((0, "dn", NAME),),
    "modify_dn": ((0, "dn", NAME), (1, "relative_dn", NAME)),
}
_PYTHON_LDAP: dict[str, tuple[_Place, ...]] = {
    "search_ext": ((0, "base", NAME), (2, "filterstr", "")),
    "add_ext": ((0, "dn", NAME),),
    "compare_ext": ((0, "dn", NAME),),
    "delete_ext": ((0, "dn", NAME),),
    "modify_ext": ((0, "dn", NAME),),
    "rename": ((0, "dn", NAME), (1, "newrdn", NAME)),
}


def instrument() -> None:
    """Patch both libraries once they are imported."""
    integrate("sink", "LDAP", "ldap3.core.connection", _patching("Connection", "ldap3", _LDAP3))
    integrate("sink", "LDAP", "ldap.ldapobject", _patching("SimpleLDAPObject", "ldap", _PYTHON_LDAP))


def _patching(
    owner: str, library: str, methods: dict[str, tuple[_Place, ...]]
) -> Callable[[ModuleType], None]:
    def patch(module: ModuleType) -> None:
        for name, places in methods.items():
            wrap(module, f"{owner}.{name}", _judging(f"{library}.{owner}.{name}", places))

    return patch


def _judging(sink: str, places: tuple[_Place, ...]) -> Callable[..., Any]:
    def wrapper(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        request = context.current.get()
        if request is not None:
            for position, parameter, before in places:
                text = _text(args[position] if len(args) > position else kwargs.get(parameter))
                if text:
                    check(request, DETECTOR, sink, before + text)
        return wrapped(*args, **kwargs)

    return wrapper


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
