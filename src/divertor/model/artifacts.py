"""The nouns a user writes: breeds, services, clusters, routes, gateways, blueprints.

Frozen values, nothing else: reading them from text is `reading`, checking and filling in references is
`resolving`, what becomes of a blueprint that is deployed is `deployments`. The names are Vamp's.
A `position` is where the thing was written, for errors found later; it is no part of what the thing is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeAlias

from divertor.conditions import Condition
from divertor.errors import Position
from divertor.model.isolation import KeySelector
from divertor.model.selectors import Selector
from divertor.model.traffic import CircuitBreaker, OutlierDetection, RateLimit, Tls, Traffic

#: Keys of a document that are kept as they came but not acted upon (`metadata`, `dialects`, `sla`, …).
Extras: TypeAlias = Mapping[str, Any]

_NOWHERE = Position("")


class Protocol(StrEnum):
    """What a port speaks. `HTTP2` is an instance's side of it: HTTP/2 from the first byte, as gRPC needs it;
    a gateway's own `HTTP` port takes both."""

    HTTP = "http"
    TCP = "tcp"
    HTTP2 = "http2"


class Sticky(StrEnum):
    """Whether a client stays with the route, or the instance, that served it first."""

    NONE = "none"
    ROUTE = "route"
    INSTANCE = "instance"


class FailPolicy(StrEnum):
    """What isolated traffic gets while its target is down: 503 (closed) or the live version (open)."""

    CLOSED = "closed"
    OPEN = "open"


class Mode(StrEnum):
    """Whether attackers are moved, or only recorded as if they were."""

    DIVERT = "divert"
    SIMULATE = "simulate"


@dataclass(frozen=True, slots=True)
class Reference:
    """An artifact meant by its name only; `resolve` puts the artifact in its place."""

    kind: str
    name: str
    position: Position = field(default=_NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Deployable:
    """What is run: `command` (a command line), `address` (`host:port` that already runs), or an image.

    For an image `type` is `container/docker` (or `container/rkt`, `application/javascript`).
    """

    type: str
    definition: str


COMMAND = "command"
ADDRESS = "address"
DOCKER = "container/docker"


@dataclass(frozen=True, slots=True)
class Port:
    """A named port of a breed. `number` is what the breed calls it (0: any); a runtime may map it."""

    name: str
    number: int
    protocol: Protocol = Protocol.HTTP


@dataclass(frozen=True, slots=True)
class EnvironmentVariable:
    """A variable handed to a process; `value` None means that a blueprint must supply it.

    `alias` is the name the process sees, when it is another one.
    """

    name: str
    value: str | None
    alias: str = ""


@dataclass(frozen=True, slots=True)
class Scale:
    """The size of a service: CPUs, memory in bytes, and how many instances."""

    cpu: float = 1.0
    memory: int = 1024**3
    instances: int = 1


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How an instance is asked whether it is well. Times in seconds; `port` "" is the only or first port."""

    path: str = "/"
    port: str = ""
    protocol: str = "HTTP"
    initial_delay: float = 0.0
    timeout: float = 2.0
    interval: float = 5.0
    failures: int = 3


@dataclass(frozen=True, slots=True)
class Breed:
    """What can be run, in one version: `hackable:1.1.0`. `health_checks` None: none of its own."""

    name: str
    deployable: Deployable
    ports: tuple[Port, ...] = ()
    environment: tuple[EnvironmentVariable, ...] = ()
    health_checks: tuple[HealthCheck, ...] | None = None
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Service:
    """One version in a cluster. `health_checks` None: the breed's or the cluster's; empty: none."""

    breed: Breed | Reference
    scale: Scale | Reference | None = None
    environment: tuple[EnvironmentVariable, ...] = ()
    health_checks: tuple[HealthCheck, ...] | None = None
    outlier_detection: OutlierDetection | None = None
    circuit_breaker: CircuitBreaker | None = None
    extras: Extras = field(default_factory=dict)
    position: Position = field(default=_NOWHERE, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The breed's name, by which routes and isolation mean this service."""
        return self.breed.name


@dataclass(frozen=True, slots=True)
class Rewrite:
    """`path: NEW if CONDITION`: the last whose condition matches replaces the path (not the query).

    `path` may hold `%[path]`, the path as it came.
    """

    path: str
    condition: Condition


@dataclass(frozen=True, slots=True)
class Route:
    """One way out of a gateway.

    `path` is `service` in a cluster's gateway, `cluster/port` in a blueprint's, a full path
    (`deployment/cluster[/service]/port`) in a deployment's, or `[host:port]`. `weight` is a percentage,
    None for a share of what is left. `condition_strength` is the percentage of matching requests taken.
    `condition_reference` stands for a condition meant by name, until `resolve` fills in `condition`.
    """

    path: str
    weight: int | None = None
    condition: Condition | None = None
    condition_strength: int = 100
    condition_reference: Reference | None = None
    rewrites: tuple[Rewrite, ...] = ()
    selector: Selector | None = None
    traffic: Traffic = Traffic()
    extras: Extras = field(default_factory=dict)
    position: Position = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A port with routes behind it.

    `name` is the port's name in a cluster of a blueprint ("" when the cluster has one port), the path
    (`deployment/cluster/port`) in a deployment. `port` is None when it is to be assigned.
    """

    name: str
    port: int | None = None
    protocol: Protocol = Protocol.HTTP
    sticky: Sticky = Sticky.NONE
    routes: tuple[Route, ...] = ()
    #: Host names under which the shared virtual-host port leads here, besides the automatic ones.
    virtual_hosts: tuple[str, ...] = ()
    #: Routes are made from the running instances it selects, a route for each captured group.
    selector: Selector | None = None
    traffic: Traffic = Traffic()
    rate_limits: tuple[RateLimit, ...] = ()
    tls: Tls | None = None
    #: Whether connections begin with a PROXY protocol header, as a load balancer in front sends it.
    proxy_protocol: bool = False
    #: Networks (CIDR) of the proxies in front, whose `X-Forwarded-For` entries are believed.
    trusted_proxies: tuple[str, ...] = ()
    extras: Extras = field(default_factory=dict)
    position: Position = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Recording:
    """What is kept of isolated traffic. `body` bytes of each body, `limit` bytes for each attacker; `redact`
    names what is struck out: `header NAME`, `cookie NAME`, `field NAME` (of a form or JSON body, or the
    query), each in lower case."""

    body: int = 64 * 1024
    limit: int = 8 * 1024 * 1024
    redact: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IsolationPolicy:
    """Where a cluster's attackers go: to service `to`, recognised by any of `keys`, for `duration`.

    `duration` None: until removed. Requests that match `allow` are never moved, whoever sends them. `record`
    None: nothing is recorded.
    """

    cluster: str
    to: str
    keys: tuple[KeySelector, ...]
    duration: timedelta | None = None
    fail: FailPolicy = FailPolicy.CLOSED
    mode: Mode = Mode.DIVERT
    allow: Condition | None = None
    record: Recording | None = field(default_factory=Recording)
    position: Position = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Cluster:
    """The versions of one application part, and the gateways in front of them."""

    name: str
    services: tuple[Service, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    health_checks: tuple[HealthCheck, ...] | None = None
    outlier_detection: OutlierDetection | None = None
    circuit_breaker: CircuitBreaker | None = None
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What to run. `environment` holds `cluster.VAR` names, which override the breeds' variables."""

    name: str
    clusters: tuple[Cluster, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    environment: tuple[EnvironmentVariable, ...] = ()
    isolation: tuple[IsolationPolicy, ...] = ()
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A named thing of one kind: what a document with `kind:` and `name:` holds."""

    kind: str
    name: str
    value: Blueprint | Breed | Scale | Condition | Gateway


#: Artifacts by (kind, name), where `resolve` looks references up. Kinds are Vamp's plurals (`breeds`).
Library: TypeAlias = Mapping[tuple[str, str], Artifact]
