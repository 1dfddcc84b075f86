"""What Envoy is to do, in our own words: the pure input of `resources.py`.

A `Snapshot` is whole: Envoy gets all of it or keeps what it has. Conditions are already compiled to Envoy's
predicates, names resolved, weights summed; nothing here refers to a blueprint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from divertor.model.isolation import KeySelector

Protocol = Literal["http", "tcp"]
Sticky = Literal["none", "route", "instance"]


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
    """One version of one service and port: the set of its instances."""

    name: str
    endpoints: tuple[Endpoint, ...] = ()
    check: Check | None = None
    by_instance: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One way out of a gateway. `weight` is in per cent of what no condition took; `strength` is the share
    (per cent) of the matching requests that `predicate` takes; no predicate: weight only."""

    name: str
    upstream: str
    weight: int
    predicate: Mapping[str, Any] | None = None
    strength: int = 100


@dataclass(frozen=True, slots=True)
class FilterKey:
    """A key the filter extracts, with the secret its values are hashed under (16 bytes)."""

    selector: KeySelector
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Isolated:
    """How attackers of one scope are kept: where they go, by which keys, for how many seconds.

    `token` is what the sensor proves a divert with; `open` lets isolated traffic fall back to the newest
    version when the audited one is down (by default it gets 503). 0 seconds: until removed.
    """

    scope: str
    upstream: str
    keys: tuple[FilterKey, ...]
    seconds: int
    token: str = field(repr=False)
    open: bool = False


@dataclass(frozen=True, slots=True)
class Listener:
    """One gateway's port."""

    name: str
    address: str
    port: int
    protocol: Protocol = "http"
    sticky: Sticky = "none"
    routes: tuple[Route, ...] = ()
    isolated: Isolated | None = None
    #: Proxies in front of us whose X-Forwarded-For entries count; 0: only the socket's address does.
    trusted_hops: int = 0


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


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything Envoy serves."""

    listeners: tuple[Listener, ...] = ()
    upstreams: tuple[Upstream, ...] = ()
