"""What a million live keys take: the growth of the process's resident memory."""

from __future__ import annotations

import gc
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bench.rules.cases import BY_NAME, QUERY_KEY
from bench.rules.stream import START
from divertor.model.events import Event
from divertor.rules import Engine, load_rule
from divertor.rules.types.remembered import MAX_KEYS


def measure(kind: str, keys: int) -> dict[str, Any]:
    """Megabytes for `keys` different keys that are all alive, over as many rules of the type as that takes,
    each with its own keys; two events a key.
    """
    rules = -(-keys // MAX_KEYS)
    options: dict[str, Any] = {
        "type": kind,
        "index": "logs",
        "alert": "debug",
        "query_key": QUERY_KEY,
        **BY_NAME[kind].options,
    }
    if "timeframe" in options:
        options["timeframe"] = {"hours": 1}
    engine = Engine(
        load_rule(json.dumps({**options, "name": f"r{number}", "index": f"i{number}"}), "r.yaml")
        for number in range(rules)
    )
    gc.collect()
    before = _resident()
    for turn in range(2):
        for number in range(keys):
            engine.push(
                _event(turn * keys + number, number, number // MAX_KEYS), _moment(turn * keys + number)
            )
    gc.collect()
    return {"keys": keys, "rules": rules, "megabytes": (_resident() - before) / 1e6}


def _event(number: int, key: int, rule: int) -> Event:
    body = {"user": f"user-{key:012d}", "ip": "10.0.0.1", "bytes": 5, "country": "c1"}
    return Event(f"{number:032x}", "log", _moment(number), _moment(number), (f"i{rule}",), body=body)


def _moment(number: int) -> datetime:
    return START + timedelta(microseconds=number * 100)


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
