"""What should run, given what is wanted and what is seen: the reconciler's decision. Pure; `now` is an
argument.

An instance that is no longer wanted first disappears from the gateway and drains: it is stopped when its
deadline has passed *and* the gateway no longer routes to it. A gateway that takes no changes therefore keeps
its instances.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from divertor.model.artifacts import ADDRESS
from divertor.model.deployments import DeployedService, Deployment, Instance, Status
from divertor.runtime.instances import (
    LOOPBACK,
    InstanceState,
    ObservedInstance,
    PlannedInstance,
    address_of,
    instance_name,
    services,
)

#: Seconds between leaving the gateway and being stopped: for the change to arrive and requests to finish.
DRAIN = 5.0


@dataclass(frozen=True, slots=True)
class Draining:
    """An instance on its way out, as it was planned, and when it may be stopped (steady seconds)."""

    instance: PlannedInstance
    deadline: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What one deployment should consist of now.

    `wanted` may take requests; `draining` finish theirs; everything else of the deployment is to stop.
    `start`, `keep` and `stop` are names and say the same as a difference to what was seen. `next_deadline` is
    when to plan again if nothing happens before (None: not needed).
    """

    deployment: str
    wanted: tuple[PlannedInstance, ...] = ()
    draining: Mapping[str, Draining] = field(default_factory=dict)
    start: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    next_deadline: float | None = None

    @property
    def running(self) -> tuple[PlannedInstance, ...]:
        """Everything a driver should keep: the wanted, then the draining."""
        return (*self.wanted, *(draining.instance for draining in self.draining.values()))


@dataclass(frozen=True, slots=True)
class Scene:
    """What a plan starts from.

    `observed` are all instances of all deployments; `previous` is the deployment's last plan, None for the
    first; `routed` are the names the gateway still sends requests to; `pick_port` gives a free port outside
    the given set.
    """

    observed: tuple[ObservedInstance, ...]
    pick_port: Callable[[Collection[int]], int]
    previous: Plan | None = None
    routed: frozenset[str] = frozenset()
    is_free: Callable[[int], bool] = lambda _port: True


def plan(deployment: Deployment, scene: Scene, now: float, drain: float = DRAIN) -> Plan:
    """The plan for `deployment`; for one that is to be gone, pass it without clusters.

    An instance that is seen keeps its ports; a new one gets ports nobody seen or planned has.

    :raises InputError: a breed's address is not understood.
    :raises UnavailableError: there is no free port.
    """
    seen = {instance.name: instance for instance in scene.observed if instance.group == deployment.name}
    wanted = tuple(_wanted(deployment, scene))
    names = {instance.name for instance in wanted}
    draining = _draining(scene, seen, names, now, drain)
    return Plan(
        deployment=deployment.name,
        wanted=wanted,
        draining=draining,
        start=tuple(instance.name for instance in wanted if instance.name not in seen),
        keep=tuple(instance.name for instance in wanted if instance.name in seen),
        stop=tuple(sorted(seen.keys() - names - draining.keys())),
        next_deadline=min((leaving.deadline for leaving in draining.values()), default=None),
    )


def _wanted(deployment: Deployment, scene: Scene) -> Iterator[PlannedInstance]:
    ports = {instance.name: instance.ports for instance in _earlier(scene)}
    ports.update({instance.name: instance.ports for instance in scene.observed if instance.ports})
    taken = {port for numbers in ports.values() for port in numbers}
    for name in _locked_out(scene):
        del ports[name]
    for cluster, service in services(deployment):
        if service.breed.deployable.type == ADDRESS:
            yield _address(deployment.name, cluster, service)
            continue
        for index in range(service.scale.instances):
            name = instance_name(deployment.name, cluster, service.name, index)
            mine = ports.get(name, ())
            if len(mine) != len(service.breed.ports):
                mine = _new_ports(len(service.breed.ports), taken, scene.pick_port)
            yield PlannedInstance(name, deployment.name, cluster, service, LOOPBACK, mine)


def _locked_out(scene: Scene) -> list[str]:
    """Instances that are down and whose port somebody else holds: they will only come back on another one."""
    return [
        instance.name
        for instance in scene.observed
        if instance.state is InstanceState.DOWN and not all(map(scene.is_free, instance.ports))
    ]


def _earlier(scene: Scene) -> tuple[PlannedInstance, ...]:
    return () if scene.previous is None else scene.previous.running


def _new_ports(count: int, taken: set[int], pick: Callable[[Collection[int]], int]) -> tuple[int, ...]:
    ports = []
    for _ in range(count):
        port = pick(taken)
        taken.add(port)
        ports.append(port)
    return tuple(ports)


def _address(deployment: str, cluster: str, service: DeployedService) -> PlannedInstance:
    host, port = address_of(service.breed)
    name = instance_name(deployment, cluster, service.name, 0)
    return PlannedInstance(name, deployment, cluster, service, host, (port,))


def _draining(
    scene: Scene, seen: Mapping[str, ObservedInstance], wanted: Collection[str], now: float, drain: float
) -> dict[str, Draining]:
    """Those that leave. One seen but never planned (by an earlier control plane) cannot drain: it is just
    gone.
    """
    before = {} if scene.previous is None else scene.previous.draining
    leaving = {}
    for instance in _earlier(scene):
        if instance.name in wanted or instance.name not in seen:
            continue
        entry = before.get(instance.name, Draining(instance, now + drain))
        if now < entry.deadline or instance.name in scene.routed:
            leaving[instance.name] = entry
    return leaving


def with_instances(
    deployment: Deployment,
    plan: Plan,
    observed: Iterable[ObservedInstance],
    unhealthy: Collection[str],
    now: datetime,
) -> Deployment:
    """`deployment` with the instances of `plan` filled in, `deployed` where requests may go, and each
    service's phase.

    A phase keeps its `since` until it changes. Draining instances are not listed.
    """
    seen = {instance.name: instance for instance in observed}
    by_service: dict[tuple[str, str], list[Instance]] = {}
    for planned in plan.wanted:
        usable = planned.name not in unhealthy and _runs(seen.get(planned.name))
        entry = Instance(planned.name, planned.host, _named_ports(planned), usable)
        by_service.setdefault((planned.cluster, planned.service.name), []).append(entry)
    clusters = tuple(
        replace(
            cluster,
            services=tuple(
                _filled(service, tuple(by_service.get((cluster.name, service.name), ())), now)
                for service in cluster.services
            ),
        )
        for cluster in deployment.clusters
    )
    return replace(deployment, clusters=clusters)


def _runs(instance: ObservedInstance | None) -> bool:
    return instance is not None and instance.state is InstanceState.RUNNING


def _named_ports(planned: PlannedInstance) -> dict[str, int]:
    ports = planned.service.breed.ports
    if not ports:
        return {"port": planned.ports[0]} if planned.ports else {}
    return {port.name: number for port, number in zip(ports, planned.ports, strict=False)}


def _filled(service: DeployedService, instances: tuple[Instance, ...], now: datetime) -> DeployedService:
    phase = "Done" if all(instance.deployed for instance in instances) else "Updating"
    status = service.status
    if status.phase != phase:
        status = Status(status.intention, phase, now)
    return replace(service, instances=instances, status=status)
