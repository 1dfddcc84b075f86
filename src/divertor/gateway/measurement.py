"""What is measured, and how it is told: a gateway, one of its routes, a cluster's port, or one version. Pure.

`responseTime`, `rate` and the tags are Vamp's. A number that says nothing (the errors of no requests) is None
and never zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

from divertor.gateway.metrics import Measured
from divertor.model.events import Event

Number = float | int | None

#: The metrics by name.
METRICS: Mapping[str, Callable[[Measured], Number]] = {
    "rate": lambda found: _short(found.rate),
    "requests": lambda found: found.requests,
    "errors": lambda found: _short(found.error_percent),
    "connect_failures": lambda found: found.connect_failures,
    "active": lambda found: found.active,
    "responseTime": lambda found: _short(found.response_time),
    "p50": lambda found: _short(found.quantile(0.5)),
    "p90": lambda found: _short(found.quantile(0.9)),
    "p99": lambda found: _short(found.quantile(0.99)),
}
#: Other ways to say them.
ALIASES = {
    "response_time": "responseTime",
    "response-time": "responseTime",
    "connectFailures": "connect_failures",
}
#: Those that become events of their own, with the number as their value; the others are in the body.
TOLD = ("rate", "errors", "responseTime")
#: Events of one look at most; the busiest come first.
MAX_EVENTS = 900


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that is measured. `upstreams` are the versions behind it; with a `listener` it is measured
    where its customers are."""

    kind: str
    gateway: str = ""
    route: str = ""
    deployment: str = ""
    cluster: str = ""
    service: str = ""
    port: str = ""
    upstreams: tuple[str, ...] = ()
    listener: str = ""

    def names(self) -> dict[str, str]:
        """What says which one it is."""
        found = {
            "gateway": self.gateway,
            "route": self.route,
            "deployment": self.deployment,
            "cluster": self.cluster,
            "service": self.service,
            "port": self.port,
        }
        return {name: value for name, value in found.items() if value}

    def tags(self) -> tuple[str, ...]:
        """Vamp's."""
        return tuple(f"{name}s:{value}" for name, value in self.names().items())


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured of one thing. `health`: the share of instances that are well; None: not known."""

    target: Target
    measured: Measured
    health: float | None = None

    def numbers(self) -> dict[str, Number]:
        """Every metric."""
        return {name: of(self.measured) for name, of in METRICS.items()}

    def to_json(self) -> dict[str, Any]:
        """As the API tells it; `window` in seconds."""
        return {
            "kind": self.target.kind,
            **self.target.names(),
            "window": round(self.measured.seconds, 1),
            **self.numbers(),
            "health": self.health,
        }


def metric(name: str) -> Callable[[Measured], Number] | None:
    """The metric of that name."""
    return METRICS.get(ALIASES.get(name, name))


def events(measurements: Iterable[Measurement], now: datetime) -> list[Event]:
    """Events for what has been asked something, the busiest first."""
    busy = [each for each in measurements if each.measured.requests]
    busy.sort(key=lambda each: -each.measured.requests)
    found: list[Event] = []
    for each in busy[: MAX_EVENTS // len(TOLD)]:
        numbers = each.numbers()
        body = {"metrics": numbers, "divertor": {**each.target.names(), "seconds": each.measured.seconds}}
        for name in TOLD:
            if numbers[name] is not None:
                tags = (*each.target.tags(), f"metrics:{name}")
                identity = blake2b(f"{now.timestamp()} {tags}".encode(), digest_size=16).hexdigest()
                found.append(
                    Event(identity, "metrics", now, now, ("divertor-metrics",), tags, numbers[name], body)
                )
    return found


def _short(number: float | None) -> float | None:
    """Three digits behind the point: what was measured is not more exact."""
    return None if number is None else round(number, 3)
