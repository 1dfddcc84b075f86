"""Deserialisation sinks: what pickles ask for, `marshal.loads`, and PyYAML's unsafe loaders.

The interpreter announces each global that any unpickler is about to look up (event `pickle.find_class`, also
from C and from subclasses that ask their base), before a gadget is imported or called. PyYAML announces
nothing: the two methods by which its constructors look up names are patched.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from divertor_sensor import context
from divertor_sensor.detectors.deserialisation import DETECTOR, is_data
from divertor_sensor.guard import check
from divertor_sensor.patching import integrate, wrap
from divertor_sensor.request import Request
from divertor_sensor.sinks.audit import listen

_IMPORTERS = ("importlib", "zipimport")


def instrument() -> None:
    """Listen to the events, and patch PyYAML."""
    listen("pickle.find_class", _on_find_class)
    listen("marshal.loads", _on_marshal)
    integrate("sink", "PyYAML", "yaml.constructor", _patch_yaml)


def _on_find_class(request: Request, args: tuple[Any, ...]) -> None:
    module, name = args
    if isinstance(module, str) and isinstance(name, str) and not is_data(module, name):
        check(request, DETECTOR, "pickle", f"{module}:{name}", 3)


def _on_marshal(request: Request, args: tuple[Any, ...]) -> None:
    if not str(sys._getframe(2).f_globals.get("__name__")).startswith(_IMPORTERS):
        try:
            data = bytes(args[0])
        except (TypeError, ValueError):  # a buffer the call itself will refuse
            return
        check(request, DETECTOR, "marshal.loads", data.decode("latin-1"), 3)


def _patch_yaml(module: ModuleType) -> None:
    wrap(module, "FullConstructor.find_python_name", _yaml_name)
    wrap(module, "FullConstructor.find_python_module", _yaml_module)


def _yaml_name(
    wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    name = args[0] if args else kwargs.get("name")
    if isinstance(name, str) and _is_unsafe(args, kwargs):
        module, _, last = name.rpartition(".")
        _judge(module or "builtins", last)
    return wrapped(*args, **kwargs)


def _yaml_module(
    wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    name = args[0] if args else kwargs.get("name")
    if isinstance(name, str) and _is_unsafe(args, kwargs):
        _judge(name, "")
    return wrapped(*args, **kwargs)


def _judge(module: str, name: str) -> None:
    request = context.current.get()
    if request is not None and not is_data(module, name):
        check(request, DETECTOR, "yaml", f"{module}:{name}", 3)


def _is_unsafe(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the loader makes whatever a document names; others only know classes, and refuse to call."""
    return bool(args[2] if len(args) > 2 else kwargs.get("unsafe"))
