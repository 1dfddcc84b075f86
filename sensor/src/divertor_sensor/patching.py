"""The one place that touches wrapt: puts a transparent proxy in place of a callable, now or on its import.

A wrapper gets `(wrapped, instance, args, kwargs)` and must pass the call on exactly as it came.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeAlias

import wrapt  # type: ignore[import-untyped, unused-ignore]

Wrapper: TypeAlias = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]

#: Everything replaced so far, by module and dotted name: (owner, attribute, original). The transparency test
#: goes through it, so that no patch goes untested.
patched: dict[tuple[str, str], tuple[Any, str, Any]] = {}


def wrap(module: ModuleType, name: str, wrapper: Wrapper) -> None:
    """Replace `module.name` (a dot reaches into a class); a name this version does not have is left alone."""
    owner: Any = module
    *outer, attribute = name.split(".")
    for part in outer:
        owner = getattr(owner, part, None)
    original = None if owner is None else owner.__dict__.get(attribute)
    if original is not None:
        put(module, name, owner, attribute, wrapt.FunctionWrapper(original, wrapper))


def share(module: ModuleType, name: str, value: Any) -> None:
    """Give `module.name` the replacement that another module already has, as they shared the original."""
    put(module, name, module, name, value)


def put(module: ModuleType, name: str, owner: Any, attribute: str, value: Any) -> None:
    """Set `owner.attribute`, once, and keep the original."""
    key = (module.__name__, name)
    if key not in patched:
        patched[key] = (owner, attribute, owner.__dict__[attribute])
        setattr(owner, attribute, value)


def restore_all() -> None:
    """Undo every replacement; hooks that wait for an import stay."""
    while patched:
        _, (owner, attribute, original) = patched.popitem()
        setattr(owner, attribute, original)


def when_imported(name: str, hook: Callable[[ModuleType], None]) -> None:
    """Call `hook` with the module: now if it is imported already, else as soon as it is."""
    wrapt.register_post_import_hook(hook, name)
