"""The instance: one running copy of a service, as it is planned and as it is seen. Pure values.

Names are `deployment/cluster/service/N`, N from 0: the same service always has the same names, so an instance
keeps its port when the control plane, or the instance itself, is restarted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from divertor.errors import InputError, Position
from divertor.model.artifacts import ADDRESS, Breed
from divertor.model.deployments import DeployedService, Deployment

LOOPBACK = "127.0.0.1"

_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")


class InstanceState(StrEnum):
    """Whether an instance can be used: not yet, yes, or no longer (it ended, or could not be executed)."""

    STARTING = "starting"
    RUNNING = "running"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class PlannedInstance:
    """An instance that should exist. `ports` are in the order of the breed's ports."""

    name: str
    deployment: str
    cluster: str
    service: DeployedService
    host: str
    ports: tuple[int, ...]

    def port(self, name: str = "") -> int | None:
        """The number behind the breed's port `name`, or behind its first one; None when there is none."""
        for port, number in zip(self.service.breed.ports, self.ports, strict=False):
            if name in ("", port.name):
                return number
        return self.ports[0] if self.ports and not name else None


@dataclass(frozen=True, slots=True)
class ObservedInstance:
    """An instance that a driver knows of. `run` changes with every start of it (a process id, say)."""

    name: str
    group: str
    state: InstanceState
    ports: tuple[int, ...] = ()
    run: int = 0
    restarts: int = 0
    error: str = ""


def services(deployment: Deployment) -> Iterator[tuple[str, DeployedService]]:
    """Every service of the deployment with the name of its cluster."""
    for cluster in deployment.clusters:
        for service in cluster.services:
            yield cluster.name, service


def instance_name(deployment: str, cluster: str, service: str, index: int) -> str:
    """The name of copy `index` of a service."""
    return f"{deployment}/{cluster}/{service}/{index}"


def address_of(breed: Breed) -> tuple[str, int]:
    """The host and port that a breed of type `address` stands for.

    :raises InputError: its definition is not `host:port`.
    """
    assert breed.deployable.type == ADDRESS
    match = _ADDRESS.fullmatch(breed.deployable.definition.strip())
    if match is None or not 0 < int(match["port"]) < 65536:
        raise InputError(
            f"{breed.deployable.definition!r} is no address", Position(f"breed {breed.name}"), "HOST:PORT"
        )
    return match["host"].strip("[]"), int(match["port"])
