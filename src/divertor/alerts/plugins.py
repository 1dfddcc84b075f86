"""Enhancements of users, by the dotted path that a rule names: imported from where Python finds modules.

Code that was written for ElastAlert begins with `from elastalert.enhancements import …`. Where ElastAlert is
not installed, those names lead here: the base class, the exception that drops a match, and the few functions
that enhancements use.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

from divertor.model.events import format_time, parse_time
from divertor.rules.document import lookup
from divertor.rules.enhancements import BUILT_IN, BaseEnhancement, DropMatchException, Maker
from divertor.rules.rule import Clock
from divertor.rules.timing import pretty


def load_enhancement(path: str) -> Maker:
    """The class at a dotted path.

    :raises ValueError: there is none, or importing it fails; the message says why.
    """
    module, _dot, name = path.rpartition(".")
    _stand_in()
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as problem:  # a boundary: importing runs users' code
        raise ValueError(f"{path} cannot be imported: {type(problem).__name__}: {problem}"[:500]) from problem
    if not isinstance(found, type) or not callable(getattr(found, "process", None)):
        raise ValueError(f"{path} is no enhancement: a class with process(match)")
    maker: Maker = found
    return maker


def _stand_in() -> None:
    """Modules of ElastAlert's names, unless it is there."""
    if "elastalert" in sys.modules or importlib.util.find_spec("elastalert") is not None:
        return
    package = _module("elastalert", {"__path__": []})
    names = {"BaseEnhancement": BaseEnhancement, "DropMatchException": DropMatchException}
    package.enhancements = _module(  # type: ignore[attr-defined]
        "elastalert.enhancements", {**names, "TimeEnhancement": BUILT_IN["TimeEnhancement"]}
    )
    package.util = _module("elastalert.util", _UTIL)  # type: ignore[attr-defined]


def _module(name: str, names: Mapping[str, Any]) -> ModuleType:
    module = ModuleType(name, "What enhancements written for ElastAlert import.")
    vars(module).update(names)
    sys.modules[name] = module
    return module


class EAException(Exception):
    """What ElastAlert's functions raise."""


def _ts_to_dt(timestamp: Any) -> datetime:
    return timestamp if isinstance(timestamp, datetime) else parse_time(str(timestamp))


def _dt_to_ts(moment: Any) -> str:
    return format_time(moment) if isinstance(moment, datetime) else str(moment)


def _pretty_ts(timestamp: Any, tz: bool = True, ts_format: str | None = None) -> str:
    shown_as = ts_format or Clock().shown_as
    return pretty(_ts_to_dt(timestamp), Clock(local=tz, shown_as=shown_as))


def _ts_add(timestamp: Any, length: timedelta) -> str:
    return _dt_to_ts(_ts_to_dt(timestamp) + length)


def _ts_now() -> datetime:
    return datetime.now(UTC)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "dt_to_ts": _dt_to_ts,
    "lookup_es_key": lookup,
    "pretty_ts": _pretty_ts,
    "ts_add": _ts_add,
    "ts_now": _ts_now,
    "ts_to_dt": _ts_to_dt,
}
_UTIL: dict[str, Any] = {
    **_FUNCTIONS,
    "EAException": EAException,
    "elastalert_logger": logging.getLogger("divertor.rules"),
}
