"""Drivers: how planned instances become running ones. One driver per type of deployable.

`ProcessDriver` runs commands through the supervisor; `AddressDriver` has nothing to run. A driver for
containers is one more class with the same four methods. `Drivers` gives each instance to the driver of its
type.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Protocol

from divertor.errors import InputError, Position
from divertor.model.artifacts import ADDRESS, COMMAND
from divertor.model.deployments import DeployedService, Deployment
from divertor.runtime.client import SupervisorClient
from divertor.runtime.command import CommandHost, command_process
from divertor.runtime.instances import (
    LOOPBACK,
    InstanceState,
    ObservedInstance,
    PlannedInstance,
    address_of,
    instance_name,
    services,
)
from divertor.runtime.process import ProcessSpec, ProcessState, ProcessStatus

#: What the supervisor's groups of instances are called, so that its other groups are left alone.
_GROUP = "deployment:"

_STATES = {
    ProcessState.STARTING: InstanceState.STARTING,
    ProcessState.RUNNING: InstanceState.RUNNING,
    ProcessState.BACKING_OFF: InstanceState.DOWN,
    ProcessState.STOPPED: InstanceState.DOWN,
    ProcessState.FAILED: InstanceState.DOWN,
}


class Driver(Protocol):
    """Runs the instances of one type of deployable. `type` is that type as blueprints write it."""

    type: str

    def check(self, instance: PlannedInstance) -> None:
        """Nothing, when `instance` can be run as described.

        :raises InputError: it cannot; nothing was started.
        """

    async def apply(self, deployment: str, instances: Sequence[PlannedInstance]) -> None:
        """Makes `instances` all that runs of `deployment`: starts, restarts what changed, stops what is gone.

        :raises UnavailableError: it cannot be done now; trying again is safe.
        """

    async def observe(self) -> list[ObservedInstance]:
        """What runs, of every deployment, including what an earlier control plane started.

        :raises UnavailableError: it cannot be told now.
        """

    async def restart(self, name: str) -> None:
        """Replaces the running instance `name` by a new run of the same.

        :raises NotFoundError: there is no such instance.
        """


class ProcessDriver:
    """Commands as operating-system processes, owned by the supervisor."""

    type = COMMAND

    def __init__(self, client: SupervisorClient, host: CommandHost) -> None:
        self._client = client
        self._host = host

    def check(self, instance: PlannedInstance) -> None:
        self._process(instance)

    async def apply(self, deployment: str, instances: Sequence[PlannedInstance]) -> None:
        await self._client.apply(_GROUP + deployment, [self._process(instance) for instance in instances])

    async def observe(self) -> list[ObservedInstance]:
        return [seen for status in await self._client.status() if (seen := _observed(status))]

    async def restart(self, name: str) -> None:
        await self._client.restart(name)

    async def changes(self) -> AsyncIterator[ObservedInstance]:
        """Every instance, then every change of one, for ever."""
        async for status in self._client.changes():
            if seen := _observed(status):
                yield seen

    def _process(self, instance: PlannedInstance) -> ProcessSpec:
        try:
            return command_process(instance, self._host)
        except ValueError as problem:
            position = Position(f"breed {instance.service.name}")
            raise InputError(f"this command cannot be run: {problem}", position) from problem


def _observed(status: ProcessStatus) -> ObservedInstance | None:
    if not status.group.startswith(_GROUP):
        return None
    return ObservedInstance(
        name=status.name,
        group=status.group.removeprefix(_GROUP),
        state=_STATES[status.state],
        ports=status.listens,
        run=status.pid,
        restarts=status.restarts,
        error=status.error,
    )


class AddressDriver:
    """Addresses where something runs already: present as soon as they are named, never started or stopped."""

    type = ADDRESS

    def __init__(self) -> None:
        self._instances: dict[str, tuple[PlannedInstance, ...]] = {}

    def check(self, instance: PlannedInstance) -> None:
        address_of(instance.service.breed)

    async def apply(self, deployment: str, instances: Sequence[PlannedInstance]) -> None:
        self._instances[deployment] = tuple(instances)

    async def observe(self) -> list[ObservedInstance]:
        return [
            ObservedInstance(instance.name, deployment, InstanceState.RUNNING, instance.ports)
            for deployment, instances in self._instances.items()
            for instance in instances
        ]

    async def restart(self, name: str) -> None:
        """Nothing: it is not ours to restart."""


class Drivers:
    """All drivers as one."""

    def __init__(self, drivers: Iterable[Driver]) -> None:
        self._drivers = {driver.type: driver for driver in drivers}

    def check(self, deployment: Deployment) -> None:
        """Nothing, when every service of `deployment` could be run.

        :raises InputError: a type of deployable is not supported, or a command or address is not understood.
        """
        for cluster, service in services(deployment):
            driver = self._of(service)
            driver.check(_specimen(deployment.name, cluster, service))

    async def apply(self, deployment: str, instances: Sequence[PlannedInstance]) -> None:
        """Makes `instances` all that runs of `deployment`, each by the driver of its type.

        :raises UnavailableError: a driver cannot do it now; trying again is safe.
        """
        by_type: dict[str, list[PlannedInstance]] = {kind: [] for kind in self._drivers}
        for instance in instances:
            by_type[self._of(instance.service).type].append(instance)
        for kind, driver in self._drivers.items():
            await driver.apply(deployment, by_type[kind])

    async def observe(self) -> list[ObservedInstance]:
        """What runs, of every deployment and type.

        :raises UnavailableError: a driver cannot tell now.
        """
        return [seen for driver in self._drivers.values() for seen in await driver.observe()]

    async def restart(self, instance: PlannedInstance) -> None:
        """Replaces a running instance by a new run of the same.

        :raises NotFoundError: there is no such instance.
        """
        await self._of(instance.service).restart(instance.name)

    def _of(self, service: DeployedService) -> Driver:
        kind = service.breed.deployable.type
        driver = self._drivers.get(kind)
        if driver is None:
            raise InputError(
                f"deployables of type {kind!r} are not supported yet",
                Position(f"breed {service.name}"),
                " or ".join(f"`{name}`" for name in sorted(self._drivers)),
            )
        return driver


def _specimen(deployment: str, cluster: str, service: DeployedService) -> PlannedInstance:
    """An instance with made-up ports, to see whether a real one could be described."""
    name = instance_name(deployment, cluster, service.name, 0)
    ports = tuple(range(20000, 20000 + len(service.breed.ports)))
    return PlannedInstance(name, deployment, cluster, service, LOOPBACK, ports)
