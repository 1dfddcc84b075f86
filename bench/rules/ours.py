"""Divertor's side of the benchmark: `python -m bench.rules.ours PART [ARGUMENT]`, one JSON document.

Everything an event costs is in its figure: reading the bus's JSON, the filter, the lookups, the window, the
silence after an alert, the match, and a tick for every second of the stream. CPU seconds, because the
machine's other work is none of ours.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.rules import many, memory, pace
from bench.rules.cases import BY_NAME, QUERY_KEY
from bench.rules.stream import bodies, messages, record
from divertor.bus import Batch
from divertor.bus.decoding import Reader
from divertor.collecting import collect_rarely
from divertor.control.judging import Judge
from divertor.rules import Rule, load_rule

EVENTS = 60_000


def main() -> None:
    part, *arguments = sys.argv[1:]
    collect_rarely()  # as the control plane and the rules' workers do
    print(json.dumps(PARTS[part](*arguments)))


def of_type(kind: str) -> dict[str, Any]:
    case = BY_NAME[kind]
    rule = rule_of(
        {"type": kind, "query_key": QUERY_KEY, "filter": [{"term": {"type": "log"}}], **case.options}
    )
    data = messages(record(number, body) for number, body in enumerate(bodies(EVENTS)))
    return judged([rule], data)


def of_many(count: str) -> dict[str, Any]:
    rules = [rule_of(options) for options in many.rules(int(count))]
    data = messages(many.records(EVENTS // 3))
    return judged(rules, data) | {"rules": len(rules)}


def of_pace(count: str, rate: str) -> dict[str, Any]:
    rules = [rule_of(options) for options in many.rules(int(count))]
    return pace.measure(rules, messages(many.records(EVENTS // 3)), float(rate))


def of_memory(kind: str, keys: str) -> dict[str, Any]:
    return memory.measure(kind, int(keys))


def rule_of(options: dict[str, Any]) -> Rule:
    base = {"name": "r", "index": "logs", "alert": "debug"}
    return load_rule(json.dumps({**base, **options}), "r.yaml")


def judged(rules: Sequence[Rule], data: Sequence[bytes]) -> dict[str, Any]:
    """The CPU seconds for all messages, and what they found: what a worker does between the broker and the
    outbox.
    """
    gc.collect()
    reader, judge = Reader(), Judge(rules)
    found = events = 0
    started = time.process_time()
    for number, message in enumerate(data, start=1):
        decoded, bad = reader.decode(message)
        assert not bad
        found += len(judge.take(Batch(number, tuple(decoded), 0)))
        events += len(decoded)
    seconds = time.process_time() - started
    faults = {name: health.fault for name, health in judge.engine.health().items() if health.faults}
    assert not faults, faults
    return {"seconds": seconds, "events": events, "matches": found}


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "type": of_type,
    "many": of_many,
    "pace": of_pace,
    "memory": of_memory,
}

if __name__ == "__main__":
    main()
