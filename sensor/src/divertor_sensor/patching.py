"""The one place that touches wrapt: puts a transparent proxy in place of a callable, now or on its import.

A wrapper gets `(wrapped, instance, args, kwargs)` and must pass the call on exactly as it came. Each library
that is looked into is an `Integration`, which remembers what became of it: `divertor-sensor doctor` shows
them.
"""

from __future__ import annotations

import copy
import pkgutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, TypeAlias

import wrapt  # type: ignore[import-untyped, unused-ignore]

from divertor_sensor.faults import LOG

Wrapper: TypeAlias = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]

#: Everything replaced so far, by module and dotted name: (owner, attribute, original). The transparency test
#: goes through it, so that no patch goes untested.
patched: dict[tuple[str, str], tuple[Any, str, Any]] = {}


@dataclass(slots=True)
class Integration:
    """What the sensor does with one module of the host.

    `kind` is `sink`, `framework`, `server` or `context`; `seen` tells that the module was imported; `problem`
    says why patching failed, or is empty; `replaced` are the names that were patched.
    """

    kind: str
    title: str
    module: str
    seen: bool = False
    problem: str = ""
    replaced: list[str] = field(default_factory=list)


#: By (title, module), in the order in which they were asked for.
integrations: dict[tuple[str, str], Integration] = {}


def integrate(kind: str, title: str, module: str, hook: Callable[[ModuleType], None]) -> None:
    """Call `hook` with `module` once it is imported, and remember what it did.

    A hook that raises leaves what it has patched so far, and never disturbs the import: a library that is not
    as expected is simply not guarded, and `doctor` says so. Asking twice for the same changes nothing.
    """
    key = (title, module)
    if key in integrations:
        return
    integration = integrations[key] = Integration(kind, title, module)

    def run(imported: ModuleType) -> None:
        if integrations.get(key) is not integration:
            return
        before = set(patched)
        integration.seen = True
        try:
            hook(imported)
        except Exception as problem:
            integration.problem = f"{type(problem).__name__}: {problem}"
            LOG.warning("%s is not guarded: %s", module, integration.problem)
        integration.replaced += [f"{owner}.{name}" for owner, name in patched if (owner, name) not in before]

    when_imported(module, run)


def wrap(module: ModuleType, name: str, wrapper: Wrapper) -> None:
    """Replace `module.name` (a dot reaches into a class); a name this version does not have is left alone."""
    owner: Any = module
    *outer, attribute = name.split(".")
    for part in outer:
        owner = getattr(owner, part, None)
    original = None if owner is None else owner.__dict__.get(attribute)
    if original is not None:
        put(module, name, owner, attribute, proxy(original, wrapper))


def proxy(original: Any, wrapper: Wrapper) -> Any:
    """A transparent stand-in for `original`, for the dictionary of a class that is made at run time."""
    return _Proxy(original, wrapper)


class _BoundProxy(wrapt.BoundFunctionWrapper):  # type: ignore[misc, type-arg, unused-ignore]
    """A proxied method of an object; copied and pickled as a method is, which wrapt's own refuses."""

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return getattr(copy.deepcopy(self.__self__, memo), self.__name__)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return getattr, (self.__self__, self.__name__)


class _Proxy(wrapt.FunctionWrapper):  # type: ignore[misc, type-arg, unused-ignore]
    """wrapt's proxy, which copies and pickles as a function does: as itself, and by its name."""

    __bound_function_wrapper__ = _BoundProxy

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        if "<locals>" in self.__qualname__:
            return self.__wrapped__.__reduce_ex__(protocol)  # which has no name either, and says so
        return pkgutil.resolve_name, (f"{self.__module__}:{self.__qualname__}",)


def share(module: ModuleType, name: str, value: Any) -> None:
    """Give `module.name` the replacement that another module already has, as they shared the original."""
    put(module, name, module, name, value)


def put(module: ModuleType, name: str, owner: Any, attribute: str, value: Any) -> None:
    """Set `owner.attribute`, once, and keep the original."""
    key = (module.__name__, name)
    if key not in patched:
        patched[key] = (owner, attribute, owner.__dict__[attribute])
        setattr(owner, attribute, value)


def restore_all(
    but: Collection[tuple[str, str]] = (), asked: Collection[tuple[str, str]] | None = None
) -> None:
    """Undo every replacement except those named in `but`, and forget the integrations that made them.

    With `asked`, the integrations named there stay with all they have replaced, and all others are forgotten,
    also those that still wait for an import.
    """
    kept = {f"{module}.{name}" for module, name in but}
    for key in asked or ():
        kept.update(integrations[key].replaced)
    for key in [key for key in reversed(patched) if ".".join(key) not in kept]:
        owner, attribute, original = patched.pop(key)
        setattr(owner, attribute, original)
    for key, each in list(integrations.items()):
        if not kept.issuperset(each.replaced) or (asked is not None and key not in asked):
            del integrations[key]


def when_imported(name: str, hook: Callable[[ModuleType], None]) -> None:
    """Call `hook` with the module: now if it is imported already, else as soon as it is."""
    wrapt.register_post_import_hook(hook, name)
