"""Classes of the user's own, by dotted path: beside `files.py` the place of this package that is not pure,
because importing runs their code.

Classes that were written for ElastAlert import from its package. Where that is not installed, stand-ins
with its names are imported instead: `elastalert.ruletypes.RuleType`, `elastalert.enhancements`, the base
class of `elastalert.alerts`, and what such classes use of `elastalert.util`.
"""

from __future__ import annotations

import importlib
import json
import logging
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

from divertor.model.events import format_time, parse_time
from divertor.rules.document import lookup
from divertor.rules.running.enhancements import BaseEnhancement, DropMatchException, Maker, TimeEnhancement
from divertor.rules.running.projection import plain
from divertor.rules.types.custom import RuleType

#: `package.module.Class`: names, at least one dot.
DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")


def class_at(path: str) -> Any:
    """The class.

    :raises ValueError: the path is none, its module cannot be imported or has no such class.
    """
    if not DOTTED.fullmatch(path):
        raise ValueError(f"{path[:80]!r} is no module.Class")
    module, _, name = path.rpartition(".")
    try:
        found = getattr(_imported(module), name, None)
    except Exception as fault:
        # A boundary: importing runs the user's code.
        raise ValueError(f"{module} cannot be imported ({type(fault).__name__}: {fault})"[:300]) from fault
    if not isinstance(found, type):
        raise ValueError(f"{module} has no class {name}")
    return found


def rule_type_at(path: str) -> Any:
    """The class of a rule type.

    :raises ValueError: as `class_at`, or it is no rule type.
    """
    found = class_at(path)
    if not any(callable(getattr(found, name, None)) for name in ("add_data", "step")):
        raise ValueError(f"{path} has neither add_data nor step")
    return found


def enhancement_at(path: str) -> Maker:
    """The class of an enhancement.

    :raises ValueError: as `class_at`, or it is no enhancement.
    """
    found = class_at(path)
    if not callable(getattr(found, "process", None)):
        raise ValueError(f"{path} has no process(match)")
    maker: Maker = found
    return maker


def _imported(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "elastalert":
            raise
    _stand_in()
    return importlib.import_module(module)


def _stand_in() -> None:
    """Have `elastalert` be there, with what rule types import of it."""
    for name, content in _MODULES.items():
        module = sys.modules.setdefault(name, ModuleType(name))
        module.__dict__.update(content)
        module.__path__ = []
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


class EAException(Exception):
    """What ElastAlert's code raises."""


class Alerter:
    """What alerters of users derive from; what is missing here is added by whoever runs them."""

    required_options: frozenset[str] = frozenset()

    def __init__(self, rule: Mapping[str, Any]) -> None:
        self.rule = rule

    def alert(self, matches: list[dict[str, Any]]) -> None:
        raise NotImplementedError

    def get_info(self) -> dict[str, Any]:
        return {"type": type(self).__name__}


class BasicMatchString:
    """A match in words: the rule's name and the fields."""

    def __init__(self, rule: Mapping[str, Any], match: Mapping[str, Any]) -> None:
        self.rule = rule
        self.match = match

    def __str__(self) -> str:
        fields = "".join(f"{name}: {self.match[name]}\n" for name in sorted(self.match))
        return f"{self.rule.get('name', '')}\n\n{fields}"


class DateTimeEncoder(json.JSONEncoder):
    """Writes times as ISO 8601."""

    def default(self, o: Any) -> Any:
        return o.isoformat() if hasattr(o, "isoformat") else super().default(o)


def ts_to_dt(timestamp: Any) -> datetime:
    return timestamp if isinstance(timestamp, datetime) else parse_time(str(timestamp))


def dt_to_ts(moment: Any) -> str:
    return format_time(moment) if isinstance(moment, datetime) else str(moment)


def ts_now() -> datetime:
    return datetime.now(UTC)


def pretty_ts(timestamp: Any, tz: bool = True, ts_format: str | None = None) -> str:
    moment = ts_to_dt(timestamp)
    shown = moment.astimezone() if tz else moment
    return shown.strftime(ts_format or "%Y-%m-%d %H:%M %Z")


def lookup_es_key(document: Mapping[str, Any], path: str) -> Any:
    return lookup(document, path)


def hashable(value: Any) -> Any:
    """Itself, or a list or dict as a text."""
    return json.dumps(plain(value), sort_keys=True) if isinstance(value, list | dict) else value


def total_seconds(length: timedelta | None) -> float:
    return 0 if length is None else length.total_seconds()


def new_get_event_ts(name: str) -> Callable[[Any], Any]:
    return lambda event: lookup(event[0], name)


_MODULES: dict[str, dict[str, Any]] = {
    "elastalert": {},
    "elastalert.alerts": {
        "Alerter": Alerter,
        "BasicMatchString": BasicMatchString,
        "DateTimeEncoder": DateTimeEncoder,
    },
    "elastalert.enhancements": {
        "BaseEnhancement": BaseEnhancement,
        "DropMatchException": DropMatchException,
        "TimeEnhancement": TimeEnhancement,
    },
    "elastalert.ruletypes": {"RuleType": RuleType},
    "elastalert.util": {
        "EAException": EAException,
        "dt_to_ts": dt_to_ts,
        "elastalert_logger": logging.getLogger("divertor.custom"),
        "hashable": hashable,
        "lookup_es_key": lookup_es_key,
        "new_get_event_ts": new_get_event_ts,
        "pretty_ts": pretty_ts,
        "total_seconds": total_seconds,
        "ts_now": ts_now,
        "ts_to_dt": ts_to_dt,
    },
}
