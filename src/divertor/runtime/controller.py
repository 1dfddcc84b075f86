"""The reconciler's edge: looks at what runs, plans, applies the plan, and tells what became of it.

One task does all of it, so two changes never race. It wakes when a deployment changes, when an instance does,
when a health check turns, when an instance has drained, and every `RESYNC` seconds to be sure. What cannot be
done now is tried again; nothing is stopped because something could not be told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime

from divertor.errors import DivertorError, NotFoundError
from divertor.model.deployments import Deployment
from divertor.runtime.driver import Drivers
from divertor.runtime.health import Ask, HealthMonitor, ask, targets
from divertor.runtime.instances import ObservedInstance, PlannedInstance
from divertor.runtime.ports import is_free, pick_port
from divertor.runtime.reconcile import DRAIN, Plan, Scene, plan, with_instances

#: Seconds between looks when nothing happens, and before a failed look is repeated.
RESYNC = 10.0
RETRY = 0.5


class Controller:
    """Keeps deployments running.

    `changed` gets a deployment, its instances and statuses filled in, whenever those change; it must not
    block. `failed` gets what could not be done, in words. `routed` gives the names of the instances the
    gateway still sends requests to. `clock` is steady seconds, `wall` the time of day.
    """

    def __init__(
        self,
        drivers: Drivers,
        *,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
        changed: Callable[[Deployment], None],
        failed: Callable[[str], None],
        routed: Callable[[], frozenset[str]] = frozenset,
        ask: Ask = ask,
        drain: float = DRAIN,
    ) -> None:
        self._drivers = drivers
        self._clock = clock
        self._wall = wall
        self._changed = changed
        self._failed = failed
        self._routed = routed
        self._drain = drain
        self._deployments: dict[str, Deployment] = {}
        self._plans: dict[str, Plan] = {}
        self._applied: dict[str, Sequence[PlannedInstance]] = {}
        self._told: dict[str, Deployment] = {}
        self._unhealthy: set[str] = set()
        self._wake = asyncio.Event()
        self._monitor = HealthMonitor(clock, self._health_changed, ask)

    def deploy(self, deployment: Deployment) -> None:
        """Makes `deployment` what should run under its name, from the next moment on.

        :raises InputError: a service cannot be run as described; what runs stays as it was.
        """
        self._drivers.check(deployment)
        self._deployments[deployment.name] = deployment
        self._told.pop(deployment.name, None)
        self._wake.set()

    def remove(self, name: str) -> None:
        """Drains and stops everything of the deployment `name`.

        :raises NotFoundError: there is no such deployment.
        """
        if name not in self._deployments:
            raise NotFoundError(f"there is no deployment named {name}")
        self._deployments[name] = Deployment(name)
        self._wake.set()

    async def adopt(self, deployments: Iterable[Deployment]) -> None:
        """Makes `deployments` all there are, at the start of a control plane: what an earlier one started of
        them goes on, what belongs to none of them is stopped.

        :raises InputError: one of them cannot be run; nothing was stopped.
        :raises UnavailableError: a driver cannot tell what runs.
        """
        for deployment in deployments:
            self.deploy(deployment)
        for group in {seen.group for seen in await self._drivers.observe()} - self._deployments.keys():
            await self._drivers.apply(group, [])

    def nudge(self) -> None:
        """Something that runs has changed: look now."""
        self._wake.set()

    async def run(self, changes: AsyncIterator[object] | None = None) -> None:
        """Reconciles for ever, with a look whenever `changes` yields something; ends with cancellation."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._monitor.run())
            if changes is not None:
                tasks.create_task(self._follow(changes))
            while True:
                self._wake.clear()
                delay = await self._look()
                await self._sleep(delay)

    async def _follow(self, changes: AsyncIterator[object]) -> None:
        async for _ in changes:
            self._wake.set()

    async def _sleep(self, delay: float) -> None:
        try:
            async with asyncio.timeout(delay):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _look(self) -> float:
        """One look at everything; the seconds until the next."""
        try:
            await self._restart_unhealthy()
            observed = await self._drivers.observe()
            for name in list(self._deployments):
                await self._reconcile(name, observed)
            self._publish(await self._drivers.observe())
        except DivertorError as problem:
            self._failed(str(problem))
            return RETRY
        now = self._clock()
        deadlines = [planned.next_deadline for planned in self._plans.values() if planned.next_deadline]
        return max(0.01, min([RESYNC, *(deadline - now for deadline in deadlines)]))

    async def _reconcile(self, name: str, observed: Sequence[ObservedInstance]) -> None:
        scene = Scene(tuple(observed), pick_port, self._plans.get(name), self._routed(), is_free)
        decided = plan(self._deployments[name], scene, self._clock(), self._drain)
        self._plans[name] = decided
        if decided.start or decided.stop or self._applied.get(name) != decided.running:
            await self._drivers.apply(name, decided.running)
            self._applied[name] = decided.running
        if not decided.running and not self._deployments[name].clusters:
            for table in (self._deployments, self._plans, self._applied, self._told):
                table.pop(name, None)

    def _publish(self, observed: Sequence[ObservedInstance]) -> None:
        wanted = [instance for planned in self._plans.values() for instance in planned.wanted]
        self._monitor.watch(targets(wanted, observed))
        bad = self._monitor.unhealthy()
        for name, planned in self._plans.items():
            base = self._told.get(name, self._deployments[name])
            filled = with_instances(base, planned, observed, bad, self._wall())
            if self._told.get(name) != filled:
                self._told[name] = filled
                self._changed(filled)

    async def _restart_unhealthy(self) -> None:
        wanted = {instance.name: instance for planned in self._plans.values() for instance in planned.wanted}
        for name in sorted(self._unhealthy):
            if name in wanted:
                # Gone meanwhile: no restart needed. Not possible now: it stays on the list.
                with contextlib.suppress(NotFoundError):
                    await self._drivers.restart(wanted[name])
            self._unhealthy.discard(name)

    def _health_changed(self, became_unhealthy: frozenset[str]) -> None:
        self._unhealthy |= became_unhealthy
        self._wake.set()
