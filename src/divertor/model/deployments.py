"""What runs: a blueprint after `deploy`, changed by `merge` and `remove`.

Pure: instances, their ports and what became of them are told by whoever runs them, through the
`status`, `instances`, `ports` and `hosts` fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from divertor.model.artifacts import (
    Breed,
    EnvironmentVariable,
    Extras,
    Gateway,
    HealthCheck,
    IsolationPolicy,
    Scale,
)
from divertor.model.traffic import CircuitBreaker, OutlierDetection


@dataclass(frozen=True, slots=True)
class Status:
    """Vamp's words for how far a service is: intention `Deployment` or `Undeployment`, and the phase."""

    intention: str = "Deployment"
    phase: str = "Initiated"
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """One running copy of a service: where it listens, by port name."""

    name: str
    host: str
    ports: Mapping[str, int] = field(default_factory=dict)
    deployed: bool = False


@dataclass(frozen=True, slots=True)
class DeployedService:
    """A service with everything filled in. `environment` is what its process gets."""

    breed: Breed
    scale: Scale = field(default_factory=Scale)
    environment: tuple[EnvironmentVariable, ...] = ()
    health_checks: tuple[HealthCheck, ...] = ()
    status: Status = field(default_factory=Status)
    instances: tuple[Instance, ...] = ()
    outlier_detection: OutlierDetection | None = None
    circuit_breaker: CircuitBreaker | None = None
    extras: Extras = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.breed.name


@dataclass(frozen=True, slots=True)
class DeployedCluster:
    """Services and one internal gateway (`deployment/cluster/port`) for each of their ports.

    The routes of such a gateway are `deployment/cluster/service/port`, every weight filled in.
    """

    name: str
    services: tuple[DeployedService, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A running blueprint.

    `gateways` are the external ones (`deployment/9051`), with routes to `deployment/cluster/port`.
    `ports` and `hosts` are Vamp's maps (`cluster.ports.port` → number, cluster → host).
    """

    name: str
    clusters: tuple[DeployedCluster, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    isolation: tuple[IsolationPolicy, ...] = ()
    environment: tuple[EnvironmentVariable, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    extras: Extras = field(default_factory=dict)
