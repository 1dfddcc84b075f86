"""Health checks: who is asked when, what the answers mean, and the asking itself.

`HealthBoard` keeps score and reads no clock; `HealthMonitor` is the edge that sends the requests. An instance
is unhealthy after `failures` checks in a row went wrong, and healthy again after one that went right.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

import httpx

from divertor.model.artifacts import HealthCheck
from divertor.runtime.instances import ObservedInstance, PlannedInstance


@dataclass(frozen=True, slots=True)
class Target:
    """One check of one run of an instance; a new `run` is a new target, with a clean record."""

    instance: str
    run: int
    host: str
    port: int
    check: HealthCheck


@dataclass(frozen=True, slots=True)
class _Record:
    due: float
    failures: int = 0

    def is_bad(self, target: Target) -> bool:
        return self.failures >= max(1, target.check.failures)


def targets(planned: Iterable[PlannedInstance], observed: Iterable[ObservedInstance]) -> list[Target]:
    """What to ask: every check of every planned instance that is running."""
    runs = {instance.name: instance.run for instance in observed if instance.state.value == "running"}
    found = []
    for instance in planned:
        for check in instance.service.health_checks:
            port = instance.port(check.port)
            if port is not None and instance.name in runs:
                found.append(Target(instance.name, runs[instance.name], instance.host, port, check))
    return found


class HealthBoard:
    """The score of every target. Times are steady seconds, given by the caller."""

    def __init__(self) -> None:
        self._records: dict[Target, _Record] = {}

    def update(self, wanted: Iterable[Target], now: float) -> None:
        """Makes `wanted` the targets; one that stays keeps its record, a new one waits its initial delay."""
        self._records = {
            target: self._records.get(target, _Record(now + target.check.initial_delay)) for target in wanted
        }

    def take_due(self, now: float) -> list[Target]:
        """Who is to be asked now; nobody is due again before the answer was recorded."""
        due = [target for target, record in self._records.items() if record.due <= now]
        for target in due:
            self._records[target] = replace(self._records[target], due=math.inf)
        return due

    def next_due(self) -> float | None:
        """When the next one is to be asked; None when nobody is waiting for that."""
        due = min((record.due for record in self._records.values()), default=math.inf)
        return None if due == math.inf else due

    def record(self, target: Target, well: bool, now: float) -> bool:
        """Takes an answer; whether the target became unhealthy with it. Answers of former targets are
        ignored.
        """
        record = self._records.get(target)
        if record is None:
            return False
        after = replace(record, failures=0 if well else record.failures + 1, due=now + target.check.interval)
        self._records[target] = after
        return after.is_bad(target) and not record.is_bad(target)

    def unhealthy(self) -> frozenset[str]:
        """The names of the instances with at least one check that failed too often."""
        return frozenset(target.instance for target, record in self._records.items() if record.is_bad(target))


async def ask(target: Target) -> bool:
    """Whether the instance answers its check with a status from 200 to 399 in time. The body is not read."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    url = f"{target.check.protocol.lower()}://{host}:{target.port}{target.check.path}"
    try:
        async with asyncio.timeout(target.check.timeout):
            # An instance's certificate is not for this address, and no proxy leads to it.
            async with httpx.AsyncClient(trust_env=False, verify=False, timeout=None) as client:
                async with client.stream("GET", url) as response:
                    return 200 <= response.status_code < 400
    except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError):
        return False


#: Sends one check; see `ask`.
Ask: TypeAlias = Callable[[Target], Awaitable[bool]]


class HealthMonitor:
    """Asks whenever somebody is due. `changed` is called with the instances that became unhealthy and, with
    none, when one became healthy again.
    """

    def __init__(
        self, clock: Callable[[], float], changed: Callable[[frozenset[str]], None], ask: Ask = ask
    ) -> None:
        self._clock = clock
        self._changed = changed
        self._ask = ask
        self._board = HealthBoard()
        self._updated = asyncio.Event()

    def watch(self, wanted: Iterable[Target]) -> None:
        """Makes `wanted` the targets."""
        self._board.update(wanted, self._clock())
        self._updated.set()

    def unhealthy(self) -> frozenset[str]:
        """The names of the instances that are unhealthy now."""
        return self._board.unhealthy()

    async def run(self) -> None:
        """Asks for ever, each target on its own, so that a slow one delays nobody; ends with cancellation."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._updated.clear()
                for target in self._board.take_due(self._clock()):
                    tasks.create_task(self._judge(target))
                await self._wait(self._board.next_due())

    async def _judge(self, target: Target) -> None:
        well = await self._ask(target)
        before = self._board.unhealthy()
        became = self._board.record(target, well, self._clock())
        self._updated.set()
        if became or self._board.unhealthy() != before:
            self._changed(frozenset({target.instance}) if became else frozenset())

    async def _wait(self, due: float | None) -> None:
        delay = None if due is None else max(0.0, due - self._clock())
        try:
            async with asyncio.timeout(delay):
                await self._updated.wait()
        except TimeoutError:
            pass
