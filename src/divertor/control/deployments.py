"""Deployments and gateways: what is wanted, checked as a whole, recorded, and handed to those who do it.

A change is first tried on paper (the runtime can run it, the gateway can be built); only then is it recorded,
and only then does anything happen. One change at a time: each is made on what the last one left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from divertor.bus import State
from divertor.control.artifacts import Artifacts
from divertor.control.audit import archive_event, lifecycle_event, routing_event
from divertor.control.changes import route_changes
from divertor.control.rollback import Note, no_history
from divertor.envoy.plan import Snapshot
from divertor.errors import ConflictError, DivertorError, NotFoundError
from divertor.gateway import certificates, planning
from divertor.gateway.hosts import require_served
from divertor.model.artifacts import Blueprint, Gateway, IsolationPolicy
from divertor.model.deploying import deploy, gateways_of, merge, remove, replace_gateway
from divertor.model.deployments import Deployment
from divertor.model.documents import from_value
from divertor.model.events import Event
from divertor.model.reading import gateway_of
from divertor.model.reading_gateways import read_gateway_node
from divertor.model.rendering import deployment_to_json, gateway_to_json
from divertor.model.resolving import resolve, resolve_gateway
from divertor.model.updating import deployment_from_json, gateway_from_json, read_deployment

log = logging.getLogger("divertor.control")

#: Seconds until something that could not be recorded is tried again.
RETRY = 1.0

KIND = "deployments"
GATEWAYS = "gateways"


class Runtime(Protocol):
    """Who runs instances."""

    def deploy(self, deployment: Deployment) -> None:
        """:raises InputError: it cannot be run as described."""

    def remove(self, name: str) -> None: ...


class Deployments:
    """All deployments and the gateways that belong to none.

    `route` is called whenever routing may have to change; `choices` are the gateway's.
    """

    def __init__(
        self,
        state: State,
        artifacts: Artifacts,
        runtime: Runtime,
        choices: planning.Choices,
        publish: Callable[[list[Event]], Awaitable[None]],
        route: Callable[[], None],
        wall: Callable[[], datetime],
        free_port: Callable[[int], None],
        note: Note = no_history,
    ) -> None:
        self._state = state
        self._artifacts = artifacts
        self._runtime = runtime
        self._choices = choices
        self._publish = publish
        self._route = route
        self._wall = wall
        self._free_port = free_port
        self._note = note
        self._wanted: dict[str, Deployment] = {}
        self._running: dict[str, Deployment] = {}
        self._standalone: dict[str, Gateway] = {}
        self._lock = asyncio.Lock()
        self._unsettled = asyncio.Event()

    async def load(self) -> Sequence[Deployment]:
        """Reads what is recorded, at the start.

        :raises InputError: a record cannot be read.
        :raises UnavailableError: the broker does not answer.
        """
        for name, entry in (await self._state.list(KIND)).items():
            self._wanted[name] = read_deployment(entry.value, f"deployment {name}")
        for name, entry in (await self._state.list(GATEWAYS)).items():
            self._standalone[name] = read_gateway_node(None, from_value(entry.value, f"gateway {name}"))
        return list(self._wanted.values())

    def ran(self, deployment: Deployment) -> None:
        """The runtime tells what has become of a deployment (instances and statuses filled in)."""
        if deployment.name in self._wanted:
            self._running[deployment.name] = deployment
        else:
            self._running.pop(deployment.name, None)
        self._unsettled.set()
        self._route()

    def is_complete(self) -> bool:
        """Whether the runtime has told of every deployment: before that, routes would lead nowhere."""
        return self._wanted.keys() <= self._running.keys()

    async def keep_selected(self) -> None:
        """Records, for ever, the routes that selectors make of what runs: the next change of what runs starts
        from their weights, also after a restart. Routing does not wait for it.
        """
        while True:
            await self._unsettled.wait()
            self._unsettled.clear()
            try:
                await self.record_selected()
            except DivertorError as problem:
                log.warning("selected routes are not recorded yet: %s", problem)
                await asyncio.sleep(RETRY)
                self._unsettled.set()

    async def record_selected(self) -> None:
        """Records the routes that selectors make of what runs now, once all of it is known.

        :raises UnavailableError: the broker does not answer.
        """
        async with self._lock:
            # Before that a version that is only starting would seem to be gone, and lose its weight.
            if not self.is_complete():
                return
            for gateway in planning.settled_gateways(self.list(), self._standalone.values()):
                await self._settle(gateway)

    async def _settle(self, gateway: Gateway) -> None:
        before = self.gateway(gateway.name)
        if gateway.name in self._standalone:
            await self._state.put(GATEWAYS, gateway.name, gateway_to_json(gateway))
            self._standalone[gateway.name] = gateway
        else:
            owner = gateway.name.partition("/")[0]
            wanted = replace_gateway(self._wanted[owner], gateway)
            await self._state.put(KIND, owner, deployment_to_json(wanted))
            self._wanted[owner] = wanted
        self._route()
        changes = route_changes(before, gateway)
        await self._publish([routing_event(self._wall(), gateway.name, "its selector", changes)])

    def policies(self) -> Mapping[str, IsolationPolicy]:
        """The isolation policy of each scope."""
        return planning.scopes(self._wanted.values())

    def snapshot(self) -> Snapshot:
        """What Envoy should serve now.

        :raises ConflictError: it cannot be expressed.
        """
        return planning.snapshot(self.list(), self._standalone.values(), self._choices)

    def list(self) -> Sequence[Deployment]:
        """All deployments, with what runs of them."""
        return [self.get(name) for name in sorted(self._wanted)]

    def get(self, name: str) -> Deployment:
        """One deployment, with what runs of it.

        :raises NotFoundError: there is none.
        """
        wanted = self._wanted.get(name)
        if wanted is None:
            raise NotFoundError(f"no deployment {name!r}")
        running = self._running.get(name)
        return wanted if running is None else _with_runtime(wanted, running)

    async def deploy(
        self, blueprint: Blueprint, name: str, by: str, *, validate_only: bool = False
    ) -> Deployment:
        """A new deployment.

        :raises ConflictError: the name is taken, a port is taken, or the gateway cannot be built.
        :raises InputError: a reference leads nowhere, or something cannot be run.
        """
        async with self._lock:
            if name in self._wanted:
                raise ConflictError(
                    f"there is a deployment {name!r} already: merge into it (PUT), or delete it"
                )
            wanted = deploy(resolve(blueprint, await self._artifacts.library()), name)
            return await self._become(wanted, by, "deployed", validate_only)

    async def merge(
        self, name: str, blueprint: Blueprint, by: str, *, validate_only: bool = False
    ) -> Deployment:
        """Adds a blueprint's services to a deployment, or updates them.

        :raises NotFoundError: there is no such deployment.
        :raises ConflictError, InputError: as for `deploy`.
        """
        async with self._lock:
            wanted = merge(self.get(name), resolve(blueprint, await self._artifacts.library()))
            return await self._become(wanted, by, "merged", validate_only)

    async def update(self, name: str, data: Any, by: str, *, validate_only: bool = False) -> Deployment:
        """Makes a deployment what its changed JSON says.

        :raises NotFoundError: there is no such deployment.
        :raises ConflictError, InputError: as for `deploy`.
        """
        async with self._lock:
            wanted = deployment_from_json(data, self.get(name), library=await self._artifacts.library())
            return await self._become(wanted, by, "updated", validate_only)

    async def remove(
        self, name: str, blueprint: Blueprint, by: str, *, validate_only: bool = False
    ) -> Deployment | None:
        """Takes a blueprint's services out of a deployment; None when nothing is left of it.

        :raises NotFoundError: there is no such deployment.
        :raises ConflictError: what would remain does not carry all traffic.
        """
        async with self._lock:
            wanted = remove(self.get(name), blueprint)
            if wanted is not None:
                return await self._become(wanted, by, "reduced", validate_only)
            if not validate_only:
                await self._end(name, by)
            return None

    async def delete(self, name: str, by: str, *, validate_only: bool = False) -> None:
        """Ends a deployment: its gateways close, its instances stop.

        :raises NotFoundError: there is no such deployment.
        :raises ConflictError: a gateway of its own still leads to it.
        """
        async with self._lock:
            self.get(name)
            for gateway in self._standalone.values():
                if any(route.path.startswith(f"{name}/") for route in gateway.routes):
                    raise ConflictError(f"gateway {gateway.name} still leads to {name}: delete it first")
            left = [deployment for known, deployment in self._wanted.items() if known != name]
            planning.snapshot(left, self._standalone.values(), self._choices)
            if not validate_only:
                await self._end(name, by)

    def gateways(self) -> Sequence[Gateway]:
        """All gateways: of deployments, and those of their own."""
        own = [gateway for name in sorted(self._wanted) for gateway in gateways_of(self._wanted[name])]
        return [*own, *(self._standalone[name] for name in sorted(self._standalone))]

    def gateway(self, name: str) -> Gateway:
        """One gateway.

        :raises NotFoundError: there is none.
        """
        found = next((gateway for gateway in self.gateways() if gateway.name == name), None)
        if found is None:
            raise NotFoundError(f"no gateway {name!r}")
        return found

    async def update_gateway(self, name: str, data: Any, by: str, *, validate_only: bool = False) -> Gateway:
        """Makes a gateway what its changed JSON says.

        :raises NotFoundError: there is none.
        :raises InputError, ConflictError: it is not understood, or cannot be built.
        """
        async with self._lock:
            current = self.gateway(name)
            library = await self._artifacts.library()
            if name in self._standalone:
                # As of a deployment's gateway: what is not said stays, and null takes it away.
                said = {**gateway_to_json(current), **data, "name": name} if isinstance(data, dict) else data
                node = from_value(said, "gateway")
                changed = resolve_gateway(gateway_of(node), library)
                await self._keep_gateway(changed, by, validate_only)
                return changed
            owner = self.get(name.partition("/")[0])
            changed = gateway_from_json(data, current, owner, library=library)
            await self._become(replace_gateway(owner, changed), by, "updated", validate_only)
            return changed

    async def create_gateway(self, gateway: Gateway, by: str, *, validate_only: bool = False) -> Gateway:
        """A gateway that belongs to no deployment.

        :raises ConflictError: its name or port is taken, or its routes lead nowhere.
        """
        async with self._lock:
            if any(known.name == gateway.name for known in self.gateways()):
                raise ConflictError(f"there is a gateway {gateway.name!r} already: change it with PUT")
            wanted = resolve_gateway(gateway, await self._artifacts.library())
            await self._keep_gateway(wanted, by, validate_only)
            return wanted

    async def delete_gateway(self, name: str, by: str, *, validate_only: bool = False) -> None:
        """Closes a gateway that belongs to no deployment.

        :raises NotFoundError: there is none.
        :raises ConflictError: it belongs to a deployment, or another gateway leads to it.
        """
        async with self._lock:
            self.gateway(name)
            if name not in self._standalone:
                raise ConflictError(f"{name} belongs to a deployment: change the deployment")
            left = {known: gateway for known, gateway in self._standalone.items() if known != name}
            planning.snapshot(self._wanted.values(), left.values(), self._choices)
            if validate_only:
                return
            await self._state.delete(GATEWAYS, name)
            del self._standalone[name]
            self._route()
            await self._publish([archive_event(self._wall(), GATEWAYS, name, "delete", by, None)])

    async def _keep_gateway(self, gateway: Gateway, by: str, validate_only: bool) -> None:
        before = self._standalone.get(gateway.name)
        standalone = {**self._standalone, gateway.name: gateway}
        require_served([gateway], self._choices.virtual_hosts_port)
        await self._check_files([gateway])
        planning.snapshot(self._wanted.values(), standalone.values(), self._choices)
        self._check_ports({own.port for own in (gateway,) if own.port} - self._ports())
        if validate_only:
            return
        value = gateway_to_json(gateway)
        await self._state.put(GATEWAYS, gateway.name, value)
        self._standalone = standalone
        self._unsettled.set()
        self._route()
        await self._note(before, gateway)
        verb = "create" if before is None else "update"
        await self._publish([archive_event(self._wall(), GATEWAYS, gateway.name, verb, by, value)])

    async def _become(self, wanted: Deployment, by: str, what: str, validate_only: bool) -> Deployment:
        before = self._wanted.get(wanted.name)
        others = {**self._wanted, wanted.name: wanted}
        require_served(gateways_of(wanted), self._choices.virtual_hosts_port)
        await self._check_files(gateways_of(wanted))
        planning.snapshot(others.values(), self._standalone.values(), self._choices)
        self._check_ports({gateway.port for gateway in wanted.gateways if gateway.port} - self._ports())
        if validate_only:
            return wanted
        stored = deployment_to_json(wanted)
        self._runtime.deploy(wanted)  # checks whether it can be run; starts nothing before the next turn
        try:
            await self._state.put(KIND, wanted.name, stored)
        except BaseException:
            if before is None:
                self._runtime.remove(wanted.name)
            else:
                self._runtime.deploy(before)
            raise
        self._wanted[wanted.name] = wanted
        self._unsettled.set()
        self._route()
        await self._tell(before, wanted, by, what)
        return self.get(wanted.name)

    async def _tell(self, before: Deployment | None, after: Deployment, by: str, what: str) -> None:
        now = self._wall()
        known = {} if before is None else {gateway.name: gateway for gateway in gateways_of(before)}
        events = [lifecycle_event(now, after.name, what, by, f"{by} {what} {after.name}")]
        for gateway in gateways_of(after):
            changes = route_changes(known.get(gateway.name), gateway)
            if changes:
                await self._note(known.get(gateway.name), gateway)
                events.append(routing_event(now, gateway.name, by, changes))
        await self._publish(events)

    async def _end(self, name: str, by: str) -> None:
        await self._state.delete(KIND, name)
        del self._wanted[name]
        self._route()
        self._runtime.remove(name)
        await self._publish([lifecycle_event(self._wall(), name, "undeployed", by, f"{by} deleted {name}")])

    def _ports(self) -> set[int]:
        """The ports our gateways have now: Envoy holds them."""
        return {gateway.port for gateway in self.gateways() if gateway.port}

    async def _check_files(self, gateways: Sequence[Gateway]) -> None:
        """What is recorded with a certificate that cannot be served would stop every later change."""
        await asyncio.to_thread(certificates.require_good, gateways, self.gateways())

    def _check_ports(self, new: set[int]) -> None:
        for port in new:
            self._free_port(port)


def _with_runtime(wanted: Deployment, running: Deployment) -> Deployment:
    """`wanted` with the instances and statuses that `running` has."""
    seen = {
        (cluster.name, service.name): service for cluster in running.clusters for service in cluster.services
    }
    clusters = []
    for cluster in wanted.clusters:
        services = []
        for service in cluster.services:
            found = seen.get((cluster.name, service.name))
            if found is not None:
                service = replace(service, status=found.status, instances=found.instances)
            services.append(service)
        clusters.append(replace(cluster, services=tuple(services)))
    return replace(wanted, clusters=tuple(clusters))
