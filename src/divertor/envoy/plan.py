"""What Envoy is to do, in our own words: the pure input of `resources.py`.

A `Snapshot` is whole: Envoy gets all of it or keeps what it has. Conditions are already compiled to Envoy's
predicates, names resolved, weights summed; nothing here refers to a blueprint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from divertor.model.artifacts import Recording
from divertor.model.isolation import KeySelector
from divertor.model.traffic import CircuitBreaker, OutlierDetection, RateLimit, Tls, Traffic

Protocol = Literal["http", "tcp"]
Sticky = Literal["none", "route", "instance"]
#: Whose turn it is among instances: in turn, the least busy one, or any.
Balance = Literal["roundrobin", "leastconn", "random"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one instance listens: a numeric address or a host name, and a port."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Check:
    """An active HTTP health check; times in seconds, `failures` in a row make an endpoint unhealthy."""

    path: str = "/"
    interval: float = 5.0
    timeout: float = 2.0
    failures: int = 3


@dataclass(frozen=True, slots=True)
class Upstream:
    """One version of one service and port: the set of its instances, and what is asked of them at most.

    `http2`: they speak HTTP/2 from the first byte.
    """

    name: str
    endpoints: tuple[Endpoint, ...] = ()
    check: Check | None = None
    by_instance: bool = False
    http2: bool = False
    outliers: OutlierDetection | None = None
    breaker: CircuitBreaker | None = None
    balance: Balance = "roundrobin"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """`path` replaces the request's (not its query) if `predicate` matches; `%[path]` is the path before."""

    path: str
    predicate: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FilterKey:
    """A key the filter extracts, with the secret its values are hashed under (16 bytes)."""

    selector: KeySelector
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Isolated:
    """How attackers of one scope are kept: where they go, by which keys, for how many seconds.

    `token` is what the sensor proves a divert with; `open` lets isolated traffic fall back to the newest
    version when the audited one is down (by default it gets 503). 0 seconds: until removed. A request that
    `allow` matches (one of Envoy's predicates) is never moved. With `simulate` nobody is moved: what would
    have been is logged. `record`: what is kept of what attackers ask and get; None: nothing.
    """

    scope: str
    upstream: str
    keys: tuple[FilterKey, ...]
    seconds: int
    token: str = field(repr=False)
    open: bool = False
    simulate: bool = False
    allow: Mapping[str, Any] | None = None
    record: Recording | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One way out of a gate: to an upstream (by its name) or to another gate.

    `weight` is in per cent of what no condition took; `strength` is the share (per cent) of the matching
    requests that `predicate` takes; no predicate: weight only. Mirrors in `traffic` name upstreams. Of the
    `rewrites` that match, the last one counts.
    """

    name: str
    to: str | Gate
    weight: int
    predicate: Mapping[str, Any] | None = None
    strength: int = 100
    rewrites: tuple[Rewrite, ...] = ()
    traffic: Traffic = Traffic()

    @property
    def is_plain(self) -> bool:
        """Whether it is an upstream with a weight and nothing else, at most with a condition."""
        return isinstance(self.to, str) and not self.rewrites and self.traffic == Traffic()


@dataclass(frozen=True, slots=True)
class Gate:
    """A gateway without its port: conditions, weights and stickiness, and the isolation of the cluster it
    stands before. A gate may lead to others; isolation is that of the innermost."""

    name: str
    routes: tuple[Route, ...] = ()
    sticky: Sticky = "none"
    isolated: Isolated | None = None
    traffic: Traffic = Traffic()


@dataclass(frozen=True, slots=True)
class Host:
    """What requests for some domains (Envoy's patterns; `*`: any) get."""

    gate: Gate
    domains: tuple[str, ...] = ("*",)
    rate_limits: tuple[RateLimit, ...] = ()


@dataclass(frozen=True, slots=True)
class Listener:
    """One port. A tcp port has one host, whose gate has weights only."""

    name: str
    address: str
    port: int
    hosts: tuple[Host, ...]
    protocol: Protocol = "http"
    tls: Tls | None = None
    proxy_protocol: bool = False
    #: Networks of the proxies in front whose X-Forwarded-For entries are believed; empty: see `trusted_hops`.
    trusted_proxies: tuple[str, ...] = ()
    #: Proxies in front of us whose X-Forwarded-For entries count; 0: only the socket's address does.
    trusted_hops: int = 0

    @property
    def gates(self) -> Iterator[Gate]:
        """Every gate that is reached from here, outer ones first."""
        for host in self.hosts:
            yield from _gates(host.gate)


def simple_listener(
    name: str,
    address: str,
    port: int,
    protocol: Protocol = "http",
    sticky: Sticky = "none",
    routes: tuple[Route, ...] = (),
    isolated: Isolated | None = None,
    trusted_hops: int = 0,
) -> Listener:
    """A port with one gate behind it, of the same name."""
    host = Host(Gate(name, routes, sticky, isolated))
    return Listener(name, address, port, (host,), protocol, trusted_hops=trusted_hops)


def _gates(gate: Gate) -> Iterator[Gate]:
    yield gate
    for route in gate.routes:
        if isinstance(route.to, Gate):
            yield from _gates(route.to)


@dataclass(frozen=True, slots=True)
class Paths:
    """Files of Envoy's, absolute."""

    config: str
    table: str
    recent: str
    access_log: str
    admin: str
    #: Envoy's own log, where it says why it refused routes; empty: nobody keeps one.
    log: str = ""
    #: Where the filter appends what it records of isolated traffic; empty: nowhere.
    spool: str = ""
    #: Failed requests and a sample of the others; empty: not logged.
    request_log: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything Envoy serves. `sampled` per cent of the requests that go well are logged."""

    listeners: tuple[Listener, ...] = ()
    upstreams: tuple[Upstream, ...] = ()
    sampled: float = 1.0
