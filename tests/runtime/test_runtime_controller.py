"""The controller with the real supervisor and small servers: from a deployment to instances that answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from divertor.errors import InputError, NotFoundError
from divertor.model.artifacts import ADDRESS, COMMAND, DOCKER, Breed, Deployable, HealthCheck, Port, Scale
from divertor.model.deployments import DeployedCluster, DeployedService, Deployment, Instance
from divertor.runtime.client import SupervisorClient
from divertor.runtime.command import CommandHost
from divertor.runtime.controller import Controller
from divertor.runtime.driver import AddressDriver, Drivers, ProcessDriver
from divertor.runtime.health import Target
from divertor.runtime.supervisor import Supervisor

if TYPE_CHECKING:
    from .conftest import Eventually

SERVER = "import os, socket, time; s = socket.create_server((os.environ['HOST'], int(os.environ['PORT']))); "
COMMAND_LINE = f'python -S -c "{SERVER}time.sleep(600)"'


def _service(
    name: str, instances: int = 1, kind: str = COMMAND, definition: str = COMMAND_LINE
) -> DeployedService:
    breed = Breed(name, Deployable(kind, definition), (Port("port", 80),))
    return DeployedService(breed, Scale(instances=instances))


def _deployment(*services: DeployedService, name: str = "d") -> Deployment:
    return Deployment(name, (DeployedCluster("c", services),))


@dataclass
class Stage:
    """A supervisor and a control plane beside it, and what the control plane told."""

    owner: Supervisor
    run_dir: Path
    told: dict[str, Deployment] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    routed: set[str] = field(default_factory=set)
    bad: set[str] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def control_plane(self) -> AsyncIterator[Controller]:
        client = SupervisorClient(self.run_dir)
        commands = ProcessDriver(client, CommandHost(self.run_dir, self.run_dir / "logs", sys.executable))
        controller = Controller(
            Drivers([commands, AddressDriver()]),
            clock=time.monotonic,
            wall=lambda: datetime.now(UTC),
            changed=lambda deployment: self.told.update({deployment.name: deployment}),
            failed=self.failures.append,
            routed=lambda: frozenset(self.routed),
            ask=self._ask,
            drain=0.05,
        )
        running = asyncio.create_task(controller.run(commands.changes()))
        try:
            yield controller
        finally:
            running.cancel()
            await asyncio.wait([running])
            await client.close()

    async def _ask(self, target: Target) -> bool:
        return target.instance not in self.bad

    def instances(self, name: str = "d") -> list[Instance]:
        clusters = self.told[name].clusters if name in self.told else ()
        return [item for cluster in clusters for service in cluster.services for item in service.instances]

    def usable(self, name: str = "d") -> list[str]:
        return [instance.name for instance in self.instances(name) if instance.deployed]

    def pids(self) -> dict[str, int]:
        return {status.name: status.pid for status in self.owner.status()}


@contextlib.asynccontextmanager
async def _stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with Supervisor(tmp_path / "run") as owner:
        yield Stage(owner, tmp_path / "run")


def test_a_deployment_runs_and_its_instances_answer(tmp_path: Path, eventually: Eventually) -> None:
    async def scenario() -> None:
        async with _stage(tmp_path) as stage, stage.control_plane() as controller:
            controller.deploy(_deployment(_service("a", 2)))
            await eventually(lambda: len(stage.usable()) == 2)
            for instance in stage.instances():
                socket.create_connection((instance.host, instance.ports["port"])).close()

    asyncio.run(scenario())


def test_a_new_control_plane_leaves_what_runs_alone(tmp_path: Path, eventually: Eventually) -> None:
    async def scenario() -> None:
        async with _stage(tmp_path) as stage:
            async with stage.control_plane() as controller:
                controller.deploy(_deployment(_service("a", 2)))
                await eventually(lambda: len(stage.usable()) == 2)
            before, ports = stage.pids(), stage.instances()
            stage.told.clear()
            async with stage.control_plane() as controller:
                await controller.adopt([_deployment(_service("a", 2))])
                await eventually(lambda: len(stage.usable()) == 2)
            assert (stage.pids(), stage.instances()) == (before, ports)

    asyncio.run(scenario())


def test_adopting_stops_what_belongs_to_no_deployment(tmp_path: Path, eventually: Eventually) -> None:
    async def scenario() -> None:
        async with _stage(tmp_path) as stage:
            async with stage.control_plane() as controller:
                controller.deploy(_deployment(_service("a"), name="old"))
                await eventually(lambda: stage.usable("old"))
            async with stage.control_plane() as controller:
                await controller.adopt([_deployment(_service("a"))])
                await eventually(lambda: list(stage.pids()) == ["d/c/a/0"])

    asyncio.run(scenario())


def test_a_killed_instance_leaves_and_comes_back_on_its_port(tmp_path: Path, eventually: Eventually) -> None:
    async def scenario() -> None:
        async with _stage(tmp_path) as stage, stage.control_plane() as controller:
            controller.deploy(_deployment(_service("a")))
            await eventually(stage.usable)
            port, pid = stage.instances()[0].ports, stage.pids()["d/c/a/0"]
            os.kill(pid, signal.SIGKILL)
            await eventually(lambda: stage.pids()["d/c/a/0"] not in (0, pid))
            await eventually(stage.usable)
            assert stage.instances()[0].ports == port

    asyncio.run(scenario())


def test_scaling_down_stops_only_what_the_gateway_dropped(tmp_path: Path, eventually: Eventually) -> None:
    async def scenario() -> None:
        async with _stage(tmp_path) as stage, stage.control_plane() as controller:
            controller.deploy(_deployment(_service("a", 2)))
            await eventually(lambda: len(stage.usable()) == 2)
            stage.routed = {"d/c/a/1"}
            controller.deploy(_deployment(_service("a", 1)))
            await eventually(lambda: len(stage.instances()) == 1)
            assert len(stage.pids()) == 2
            stage.routed = set()
            await eventually(lambda: len(stage.pids()) == 1)

    asyncio.run(scenario())


def test_removing_a_deployment_stops_all_of_it(tmp_path: Path, eventually: Eventually) -> None:
    async def scenario() -> None:
        async with _stage(tmp_path) as stage, stage.control_plane() as controller:
            controller.deploy(_deployment(_service("a", 2)))
            await eventually(lambda: len(stage.usable()) == 2)
            controller.remove("d")
            await eventually(lambda: stage.pids() == {})
            with pytest.raises(NotFoundError):
                controller.remove("nothing")

    asyncio.run(scenario())


def test_an_unhealthy_instance_is_restarted(tmp_path: Path, eventually: Eventually) -> None:
    check = HealthCheck(interval=0.01, failures=2)
    service = replace(_service("a"), health_checks=(check,))

    async def scenario() -> None:
        async with _stage(tmp_path) as stage, stage.control_plane() as controller:
            controller.deploy(_deployment(service))
            await eventually(stage.usable)
            pid = stage.pids()["d/c/a/0"]
            stage.bad = {"d/c/a/0"}
            await eventually(lambda: stage.pids()["d/c/a/0"] not in (0, pid))
            stage.bad = set()
            await eventually(stage.usable)

    asyncio.run(scenario())


def test_an_unhealthy_address_takes_no_requests_until_it_is_well(
    tmp_path: Path, eventually: Eventually
) -> None:
    service = _service("a", kind=ADDRESS, definition="127.0.0.1:9")
    checked = replace(service, health_checks=(HealthCheck(interval=0.01, failures=1),))

    async def scenario() -> None:
        async with _stage(tmp_path) as stage, stage.control_plane() as controller:
            stage.bad = {"d/c/a/0"}
            controller.deploy(_deployment(checked))
            await eventually(lambda: stage.instances() and not stage.usable())
            stage.bad = set()
            await eventually(stage.usable)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("service", "message"),
    [
        (
            _service("a", kind=DOCKER, definition="shop:1"),
            "'container/docker' are not supported yet; expected `address` or `command`",
        ),
        (_service("a", definition="run $NOWHERE"), r"names \$NOWHERE, which is not set"),
        (_service("a", definition="run \0"), "holds a NUL"),
        (_service("a", kind=ADDRESS, definition="nowhere"), "is no address"),
    ],
)
def test_what_cannot_be_run_is_refused_and_what_runs_stays(
    tmp_path: Path, eventually: Eventually, service: DeployedService, message: str
) -> None:
    async def scenario() -> None:
        async with _stage(tmp_path) as stage, stage.control_plane() as controller:
            controller.deploy(_deployment(_service("good")))
            await eventually(stage.usable)
            with pytest.raises(InputError, match=message):
                controller.deploy(_deployment(_service("good"), service))
            controller.nudge()
            assert list(stage.pids()) == ["d/c/good/0"]

    asyncio.run(scenario())


def test_a_supervisor_that_is_away_is_told_and_asked_again(tmp_path: Path, eventually: Eventually) -> None:
    async def scenario() -> None:
        stage = Stage(Supervisor(tmp_path / "run"), tmp_path / "run")
        async with stage.control_plane() as controller:
            controller.deploy(_deployment(_service("a")))
            await eventually(lambda: stage.failures)
            async with stage.owner:
                await eventually(stage.usable)

    asyncio.run(scenario())
