"""Interpreters in which the sensor would guard only half of what happens, and therefore does nothing.

gevent (greenlets that share a thread do not share a request's context in every version, and its patches come
after the sensor's), and a free-threaded build whose GIL is off (the sensor counts on single steps of the
interpreter being whole).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from divertor_sensor.patching import integrate, wrap

_GEVENT = "gevent has patched this process, which is not supported"


def unsupported() -> str:
    """Why this interpreter cannot be guarded, as far as it can be told now; empty when it can."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return "the GIL is off in this interpreter, which is not supported; start it with PYTHON_GIL=1"
    if getattr(sys.modules.get("gevent.monkey"), "saved", None):
        return _GEVENT
    return ""


def watch(refuse: Callable[[str], None]) -> None:
    """Call `refuse` with the reason when gevent patches the process later on."""

    def patching(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        refuse(_GEVENT)
        return wrapped(*args, **kwargs)

    def hook(module: ModuleType) -> None:
        for name in ("patch_all", "patch_thread"):
            wrap(module, name, patching)

    integrate("unsupported", "gevent", "gevent.monkey", hook)
