"""How long an event takes to become an action at a steady pace.

Messages arrive on a schedule of their own, whether the engine is done or not. The engine's time is its CPU
time, so the queue is computed, not slept: a message starts when it has arrived and the one before is done.
What is measured runs from the arrival of the message to the moment the debug alerter has its notification;
every event whose rule alerts counts, and ticks take their time in between. What may hold everything up, the
ticks and Python's looking for cycles, is measured beside it, so that a long wait has its reason with it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from typing import Any

from bench.rules.stream import START
from divertor.alerts.contract import Delivery
from divertor.alerts.debug import Debug
from divertor.bus.decoding import Reader
from divertor.rules import Engine, Notification, Rule

#: Events in a message: what the ingest endpoint gathers within a few milliseconds at this pace.
PER_MESSAGE = 10


def measure(rules: Sequence[Rule], data: Sequence[bytes], rate: float) -> dict[str, Any]:
    """`rate`: events per second. Milliseconds from arrival to alert; `tick` and `collection`: the longest."""
    log = logging.getLogger("bench.rules")
    log.addHandler(logging.NullHandler())
    log.setLevel(logging.INFO)
    log.propagate = False
    alerter = Debug(log)
    decode = Reader().decode
    engine, lines = Engine(rules), [line for message in data for line in message.splitlines()]
    waits: list[float] = []
    # The first event with an index name has the rules for it put into an index; a service does that once.
    for event in decode(lines.pop(0))[0]:
        engine.push(event, event.received)
    gc.collect()
    gc.freeze()
    free, ticked, ticks = 0.0, START, [0.0]
    with collections_timed() as collections:
        for number, first in enumerate(range(0, len(lines), PER_MESSAGE)):
            message = b"\n".join(lines[first : first + PER_MESSAGE])
            arrived = number * PER_MESSAGE / rate
            begun = max(arrived, free)
            started = time.thread_time()
            for event in decode(message)[0]:
                if event.received - ticked >= timedelta(seconds=1):
                    ticked = datetime.fromtimestamp(int(event.received.timestamp()), UTC)
                    before = time.thread_time()
                    engine.advance(ticked)
                    ticks.append(time.thread_time() - before)
                matches = engine.push(event, event.received)
                for match in matches:
                    hand_over(alerter, Notification.of(match))
                    waits.append(begun + time.thread_time() - started - arrived)
            free = begun + time.thread_time() - started
    cuts = quantiles((wait * 1e3 for wait in waits), n=1000)
    return {
        "alerts": len(waits),
        "rate": rate,
        "p50": cuts[499],
        "p99": cuts[989],
        "max": max(waits) * 1e3,
        "tick": max(ticks) * 1e3,
        "collection": max(collections) * 1e3,
    }


@contextmanager
def collections_timed() -> Iterator[list[float]]:
    """Seconds of CPU that each look for cycles takes meanwhile; the first is 0, so that there is one."""
    taken, begun = [0.0], 0.0

    def told(phase: str, _info: dict[str, int]) -> None:
        nonlocal begun
        if phase == "start":
            begun = time.thread_time()
        else:
            taken.append(time.thread_time() - begun)

    gc.callbacks.append(told)
    try:
        yield taken
    finally:
        gc.callbacks.remove(told)


def hand_over(alerter: Debug, notification: Notification) -> None:
    """Deliver without an event loop: the debug alerter waits for nothing."""
    delivery = alerter.deliver(Delivery(notification, {}))
    assert asyncio.iscoroutine(delivery)
    try:
        delivery.send(None)
    except StopIteration:
        return
    raise AssertionError("the debug alerter waits")
