"""What the API asks of the rest of Divertor: the services behind its routes, as interfaces.

The implementations live in `divertor.control` and `divertor.isolation`; the API knows only what stands here.
Every method may raise the errors of `divertor.errors`; the API turns those into status codes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import EllipsisType
from typing import Any, Protocol

from divertor.alerts.shown import Done
from divertor.alerts.shown import Shown as WaitingAlert
from divertor.alerts.shown import Wanted as Waited
from divertor.gateway.measurement import Measurement
from divertor.isolation.bulk import Import
from divertor.isolation.service import Imported, Wanted
from divertor.model.artifacts import Artifact, Blueprint, Gateway, IsolationPolicy, Library
from divertor.model.deployments import Deployment
from divertor.model.events import Event
from divertor.model.isolation import Isolation, KeySelector
from divertor.recording.exchange import Exchange
from divertor.recording.service import Listed, Watched
from divertor.rules import Rule
from divertor.rules.alarms import Shown, Silence
from divertor.store import EventStore


class Artifacts(Protocol):
    """Stored documents by kind (`blueprints`, `breeds`, `scales`, `conditions`) and name."""

    async def list(self, kind: str) -> Sequence[Artifact]: ...

    async def get(self, kind: str, name: str) -> Artifact:
        """:raises NotFoundError: there is none."""

    async def put(self, artifact: Artifact, by: str, *, validate_only: bool = False) -> bool:
        """True when it is new."""

    async def delete(self, kind: str, name: str, by: str, *, validate_only: bool = False) -> bool:
        """False when there was none."""

    async def library(self) -> Library:
        """All of them, to resolve references with."""


class Deployments(Protocol):
    """What runs, and its gateways. With `validate_only` a method says what would be, and changes nothing."""

    def list(self) -> Sequence[Deployment]: ...

    def get(self, name: str) -> Deployment:
        """:raises NotFoundError: there is none."""

    async def deploy(
        self, blueprint: Blueprint, name: str, by: str, *, validate_only: bool = False
    ) -> Deployment:
        """:raises ConflictError: the name is taken."""

    async def merge(
        self, name: str, blueprint: Blueprint, by: str, *, validate_only: bool = False
    ) -> Deployment: ...

    async def update(self, name: str, data: Any, by: str, *, validate_only: bool = False) -> Deployment: ...

    async def remove(
        self, name: str, blueprint: Blueprint, by: str, *, validate_only: bool = False
    ) -> Deployment | None:
        """Without the blueprint's services; None when nothing is left."""

    async def delete(self, name: str, by: str, *, validate_only: bool = False) -> None: ...

    def gateways(self) -> Sequence[Gateway]: ...

    def gateway(self, name: str) -> Gateway:
        """:raises NotFoundError: there is none."""

    async def update_gateway(
        self, name: str, data: Any, by: str, *, validate_only: bool = False
    ) -> Gateway: ...

    async def create_gateway(self, gateway: Gateway, by: str, *, validate_only: bool = False) -> Gateway: ...

    async def delete_gateway(self, name: str, by: str, *, validate_only: bool = False) -> None: ...


class Isolations(Protocol):
    """Who is being diverted. A scope is `deployment/cluster`."""

    def page(self, wanted: Wanted, offset: int, limit: int) -> Sequence[Isolation]:
        """Newest first."""

    def count(self, wanted: Wanted | None = None) -> int: ...

    def get(self, id: str) -> Isolation:
        """:raises NotFoundError: there is none."""

    async def add_all(
        self,
        *,
        scope: str,
        keys: Sequence[tuple[KeySelector, str]],
        target: str = "",
        duration: timedelta | EllipsisType | None = ...,
        by: str,
        reason: str,
        cause: str = "",
    ) -> Sequence[Isolation]:
        """The keys of one client. `duration`: None until removed, `...` as the scope's policy says."""

    async def remove(self, id: str, by: str, reason: str = "") -> Isolation: ...

    def scopes(self) -> Mapping[str, IsolationPolicy]: ...

    def importing(self, by: str) -> Import: ...

    async def take(self, wanted: Import, *, validate_only: bool = False) -> Imported: ...

    def export(self, wanted: Wanted) -> Iterator[Sequence[bytes]]: ...


class RuleStatus(Protocol):
    """A rule with what became of it: its matches from `since` on, when the last was, what ails it (or "").
    `last_event` is when an event of its index last came, None for none since `watched`.
    """

    @property
    def rule(self) -> Rule: ...

    @property
    def matches(self) -> int: ...

    @property
    def last_match(self) -> datetime | None: ...

    @property
    def error(self) -> str: ...

    @property
    def since(self) -> datetime | None: ...

    @property
    def last_event(self) -> datetime | None: ...

    @property
    def watched(self) -> datetime | None: ...


class Rules(Protocol):
    """The rules that judge events."""

    def list(self) -> Sequence[RuleStatus]: ...

    def get(self, name: str) -> RuleStatus:
        """:raises NotFoundError: there is none."""

    async def put(self, name: str, text: str, by: str) -> Rule: ...

    async def delete(self, name: str, by: str) -> None: ...


class Alarms(Protocol):
    """Alarms, and what people say about them."""

    async def list(self) -> tuple[Sequence[Shown], Sequence[Shown]]:
        """The open ones and the recent ones, the latest first."""

    async def get(self, id: str) -> Shown:
        """:raises NotFoundError: there is none."""

    async def acknowledge(self, id: str, until: datetime | None, by: str, comment: str) -> Shown:
        """`until` None: until it is over."""

    async def unacknowledge(self, id: str, by: str) -> None: ...

    async def silences(self) -> tuple[Sequence[Silence], Mapping[str, int]]:
        """The latest first, and how many matches each has held back."""

    async def quiet(self, rules: Sequence[str]) -> Mapping[str, Silence]:
        """The silence that holds now for each of those rules that has one."""

    async def silence(self, wanted: Silence, by: str) -> Silence: ...

    async def unsilence(self, id: str, by: str) -> None:
        """:raises NotFoundError: there is none."""

    async def mute(self, rule: str, until: datetime | None, by: str, comment: str) -> Silence:
        """:raises NotFoundError: there is no such rule."""

    async def unmute(self, rule: str, by: str) -> None:
        """:raises NotFoundError: it is not muted."""


class Alerts(Protocol):
    """Alerts that wait to be delivered."""

    async def page(self, wanted: Waited, offset: int, limit: int) -> tuple[Sequence[WaitingAlert], int]:
        """The longest waiting first, and how many there are in all."""

    async def get(self, id: str) -> WaitingAlert:
        """:raises NotFoundError: it does not wait."""

    async def drop(self, wanted: Waited, by: str) -> Done: ...

    async def retry(self, wanted: Waited, by: str) -> Done: ...

    async def drop_one(self, id: str, by: str) -> None:
        """:raises NotFoundError: it does not wait."""

    async def retry_one(self, id: str, by: str) -> WaitingAlert:
        """:raises NotFoundError: it does not wait."""


class Watcher(Protocol):
    """One who watches: iterate over it. `dropped` counts the events that came too fast for it."""

    @property
    def dropped(self) -> int: ...

    def __aiter__(self) -> AsyncIterator[Event]: ...


class Live(Protocol):
    """Events as they happen; a watcher that is too slow misses the oldest."""

    def watch(self) -> AbstractContextManager[Watcher]:
        """A watcher of everything from now on, until the block is left."""


class Events(Protocol):
    """What happened: the store, the way in, and the live feed."""

    @property
    def store(self) -> EventStore: ...

    @property
    def live(self) -> Live: ...

    async def publish(self, events: list[Event]) -> object:
        """Return once they are safe.

        :raises UnavailableError: the broker does not answer.
        """


class Status(Protocol):
    """How the installation is."""

    async def status(self) -> Mapping[str, Any]: ...


class Recordings(Protocol):
    """What isolated clients asked and got."""

    async def recorded(self) -> Sequence[Listed]:
        """Everybody of whom something is kept, last heard of first."""

    async def watched(self, id: str) -> Watched:
        """:raises NotFoundError: nobody of that id is isolated, and nothing is kept."""

    async def exchange(self, id: str, number: int) -> Exchange:
        """:raises NotFoundError: there is none of that number."""


class Metrics(Protocol):
    """What the gateway counted, `window` seconds back. NotFoundError is raised for what is not there."""

    def all(self, window: float) -> Sequence[Callable[[], Measurement]]:
        """Everything, each measured when it is called."""

    def gateway(self, name: str, route: str, window: float) -> Measurement:
        """`route` "": the gateway itself."""

    def cluster(self, deployment: str, cluster: str, service: str, port: str, window: float) -> Measurement:
        """`service` "": all of the cluster's."""

    def health_of_gateway(self, name: str, route: str = "") -> float:
        """From 0 to 1. :raises UnavailableError: the gateway is not there to say."""

    def health_of_deployment(self, deployment: str, cluster: str = "", service: str = "") -> float:
        """As for a gateway."""


class Limits(Protocol):
    """Rules that isolated too many."""

    @property
    def stopped(self) -> Mapping[str, str]:
        """Why, by the rule's name."""

    async def resume(self, rule: str, by: str) -> None:
        """:raises NotFoundError: it is not stopped."""


@dataclass(frozen=True, slots=True)
class Services:
    """All of them."""

    artifacts: Artifacts
    deployments: Deployments
    isolations: Isolations
    rules: Rules
    events: Events
    status: Status
    recordings: Recordings
    metrics: Metrics
    limits: Limits
    alarms: Alarms
    alerts: Alerts
