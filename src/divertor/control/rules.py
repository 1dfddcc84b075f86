"""Rules at work: the stored rule files, the engine that follows the event stream, and what became of alerts.

Where the engine stands in the stream is recorded once a second. A restarted control plane goes on from
there: an event is judged at least once, and only events of the second before a crash can be judged twice (an
isolation is then made twice, which changes nothing). Windows are filled again from the events before that
point, without alerting anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from pathlib import Path

from divertor.alerts import Dispatcher, Isolator, Outcome, subject
from divertor.alerts.dispatcher import ISOLATE
from divertor.bus import Bus, State
from divertor.control.audit import archive_event
from divertor.errors import ConflictError, DivertorError, NotFoundError, UnavailableError
from divertor.model.events import Event
from divertor.rules import Engine, Match, Rule, load_rule, load_rules
from divertor.store import EventQuery, EventStore

log = logging.getLogger("divertor.rules")

KIND = "rules"
CURSORS = "cursors"
#: Seconds between two records of where the engine stands, and how many of them make a tick of the engine.
RECORD = 1.0
TICKS = 10
#: Events that are read again at a restart at most, to fill windows.
WARM = 20000
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """A rule and how it is doing; `error` is what its last alert failed with, empty when it arrived."""

    rule: Rule
    matches: int = 0
    last_match: datetime | None = None
    error: str = ""


class Rules:
    """The rules of the installation. `dispatcher` delivers; `publish` takes events of what was delivered."""

    def __init__(
        self,
        state: State,
        bus: Bus,
        store: EventStore,
        dispatcher: Callable[[Callable[[Outcome], None]], Dispatcher],
        publish: Callable[[list[Event]], Awaitable[None]],
        isolate: Isolator,
        wall: Callable[[], datetime],
    ) -> None:
        self._state = state
        self._bus = bus
        self._store = store
        self._publish = publish
        self._wall = wall
        self._engine = Engine()
        self._reflexes = Engine()
        self._isolate = isolate
        self._status: dict[str, RuleStatus] = {}
        self._dispatcher = dispatcher(self._ended)
        self._outcomes: asyncio.Queue[Event] = asyncio.Queue(10000)
        self._position = ("", 0)

    async def load(self, directory: Path | None) -> None:
        """Reads the stored rules and, over them, the files of `directory`.

        :raises InputError: a rule is not understood.
        :raises UnavailableError: the broker does not answer.
        """
        stored = await self._state.list(KIND)
        rules = [load_rule(str(entry.value["text"]), name) for name, entry in stored.items()]
        found = {rule.name: rule for rule in rules}
        found |= {rule.name: rule for rule in (load_rules(directory) if directory else [])}
        self._use(found)

    def list(self) -> Sequence[RuleStatus]:
        """All rules, by name."""
        return [self._status[name] for name in sorted(self._status)]

    def get(self, name: str) -> RuleStatus:
        """One rule.

        :raises NotFoundError: there is none.
        """
        if name not in self._status:
            raise NotFoundError(f"no rule {name!r}")
        return self._status[name]

    async def put(self, name: str, text: str, by: str) -> Rule:
        """Stores a rule file and uses it from now on; the old one stays if this one is not understood.

        :raises InputError: it is not understood.
        :raises ConflictError: it is called otherwise.
        :raises UnavailableError: the broker does not answer.
        """
        rule = load_rule(text, name)
        if rule.name != name:
            raise ConflictError(f"this rule is called {rule.name!r}, not {name!r}")
        await self._state.put(KIND, name, {"text": text})
        self._use({**{known.rule.name: known.rule for known in self._status.values()}, name: rule})
        await self._publish([archive_event(self._wall(), KIND, name, "update", by, {"text": text})])
        return rule

    async def delete(self, name: str, by: str) -> None:
        """Ends a rule; one from a file is back at the next start.

        :raises NotFoundError: there is none.
        :raises UnavailableError: the broker does not answer.
        """
        self.get(name)
        await self._state.delete(KIND, name)
        self._use({known.rule.name: known.rule for known in self._status.values() if known.rule.name != name})
        await self._publish([archive_event(self._wall(), KIND, name, "delete", by, None)])

    async def react(self, events: Sequence[Event]) -> None:
        """Isolates at once whom a rule of type `any` wants isolated, before the events are even stored.

        The same events come along the stream later and are judged as ever; isolating twice changes nothing.
        So this costs no guarantee, saves the way through the broker, and holds while the broker is down. A
        rule's `realert` keeps messages rare; it must not let the second attacker of a minute go.
        """
        for event in events:
            try:
                matches = self._reflexes.push(event, self._wall())
                for match in matches:
                    for alert in match.rule.alerts:
                        if alert.name == ISOLATE:
                            await self._isolate(match, alert.options["isolate"])
            except DivertorError:
                continue  # the stream's judgement tells of it, and tries again
            except Exception:
                log.exception("event %s could not be reacted to", event.id)

    async def run(self) -> None:
        """Follows the stream for ever; ends with cancellation."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow())
                tasks.create_task(self._tick())
                tasks.create_task(self._report())
        finally:
            await self._dispatcher.close(timeout=2.0)

    async def _follow(self) -> None:
        batches = self._bus.events(await self._start())
        try:
            async for batch in batches:
                for event in batch.events:
                    await self._judge(event)
                self._position = (batch.epoch, batch.seq)
        finally:
            await batches.aclose()

    async def _judge(self, event: Event) -> None:
        try:
            matches = self._engine.push(event, self._wall())
        except Exception:
            # A boundary: one event that a rule trips over must not end the watch over all others.
            log.exception("event %s could not be judged", event.id)
            return
        if matches:
            self._count(matches)
            await self._dispatcher.dispatch(matches)

    async def _start(self) -> int | None:
        """The sequence to go on from; None: there is no past worth judging."""
        stream = await self._bus.position()
        entry = await self._state.get(CURSORS, KIND)
        if entry is None or entry.value.get("epoch") != stream.epoch:
            self._position = (stream.epoch, stream.last)
            return stream.last + 1
        reached = int(entry.value["seq"])
        self._position = (stream.epoch, reached)
        until = datetime.fromisoformat(entry.value["time"])
        await self._warm(until)
        return reached + 1

    async def _warm(self, until: datetime) -> None:
        spans = [rule.behaviour.span() for rule in self._engine.rules]
        longest = max(spans, default=timedelta(0))
        if not longest:
            return
        found: list[Event] = []
        while len(found) < WARM:
            query = EventQuery(
                since=until - longest, until=until, limit=_PAGE, offset=len(found), newest_first=True
            )
            page = await self._store.query(query)
            found.extend(page)
            if len(page) < _PAGE:
                break
        for event in reversed(found):
            self._engine.warm(event)

    async def _tick(self) -> None:
        recorded = self._position
        for turn in itertools.count(1):
            await asyncio.sleep(RECORD)
            matches = self._engine.advance(self._wall()) if turn % TICKS == 0 else []
            if matches:
                self._count(matches)
                await self._dispatcher.dispatch(matches)
            if self._position != recorded:
                # Without the broker there is nothing to be behind of; the next tick tries again.
                with contextlib.suppress(UnavailableError):
                    recorded = self._position
                    epoch, seq = recorded
                    value = {"epoch": epoch, "seq": seq, "time": self._wall().isoformat()}
                    await self._state.put(CURSORS, KIND, value)

    async def _report(self) -> None:
        while True:
            events = [await self._outcomes.get()]
            while not self._outcomes.empty():
                events.append(self._outcomes.get_nowait())
            with contextlib.suppress(UnavailableError):
                await self._publish(events)

    def _use(self, rules: dict[str, Rule]) -> None:
        self._engine.replace(rules.values())
        quick = (rule for rule in rules.values() if rule.type == "any")
        self._reflexes.replace(
            replace(rule, alarm=replace(rule.alarm, realert=timedelta(0)))
            for rule in quick
            if any(alert.name == ISOLATE for alert in rule.alerts)
        )
        self._status = {
            name: replace(self._status.get(name, RuleStatus(rule)), rule=rule) for name, rule in rules.items()
        }

    def _count(self, matches: Sequence[Match]) -> None:
        for match in matches:
            known = self._status.get(match.rule.name)
            if known is not None:
                self._status[match.rule.name] = replace(
                    known, matches=known.matches + 1, last_match=match.time
                )

    def _ended(self, outcome: Outcome) -> None:
        """Called by the dispatcher; must not wait."""
        name = outcome.notification.rule.name
        if name in self._status:
            self._status[name] = replace(self._status[name], error=outcome.error)
        with contextlib.suppress(asyncio.QueueFull):
            self._outcomes.put_nowait(_alert_event(outcome, self._wall()))


def _alert_event(outcome: Outcome, now: datetime) -> Event:
    notification, alerter = outcome.notification, outcome.alert.name
    match = notification.first
    said = "delivered" if outcome.ok else f"failed: {outcome.error}"
    body = {
        "rule": {"name": match.rule.name},
        "alert": {
            "alerter": alerter,
            "subject": subject(notification),
            "ok": outcome.ok,
            "attempts": outcome.attempts,
            "error": outcome.error,
            "event": match.event_id,
        },
        "message": f"{match.rule.name}: {alerter} {said}",
    }
    text = f"{match.event_id} {match.rule.name} {alerter} {outcome.ok} {now.timestamp()}"
    identity = blake2b(text.encode(), digest_size=16).hexdigest()
    tags = (f"alert:{alerter}", f"rules:{match.rule.name}")
    return Event(identity, "alert", now, now, ("divertor-alert",), tags, None, body)
