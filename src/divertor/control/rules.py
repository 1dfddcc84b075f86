"""Rules at work: the rule files, the worker that judges events by them, and what became of alerts.

This is what the rest of the control plane, and a rule worker of its own, have of rules. Following the stream
is `following`, the files are `rulebook`, delivering is `divertor.alerts`; here they are put together, and
what the API shows of them is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from divertor.alerts import Alerter, Dispatcher, Isolator, Outbox, Outcome, subject
from divertor.alerts.dispatcher import ISOLATE
from divertor.bus import Bus, State
from divertor.control.alarms import Overview, follow, report, reported
from divertor.control.audit import archive_event
from divertor.control.checkpoints import Checkpoints
from divertor.control.following import Worker
from divertor.control.leading import Lead
from divertor.control.rulebook import KIND, Rulebook
from divertor.control.tally import Tally
from divertor.errors import (
    ConflictError,
    DivertorError,
    InputError,
    NotFoundError,
    Position,
    UnavailableError,
)
from divertor.model.events import Event, format_time, moment_of
from divertor.rules import Engine, Match, Rule
from divertor.rules.alarms import concerns
from divertor.rules.alarms.controls import Controls
from divertor.rules.reading.files import load_stored
from divertor.rules.reading.lists import readers
from divertor.rules.rule import AlarmOptions
from divertor.rules.running.engine import Health

if TYPE_CHECKING:
    from divertor.store import EventStore

log = logging.getLogger("divertor.rules")

#: The kind of document a worker tells of itself in, seconds between two of them, and how long one is kept.
WORKERS = "rule-workers"
TELL = 10.0
TOLD = timedelta(minutes=1)
#: What the worker counted that leads.
COUNTED = "rules-counted"
#: The index of events that say what became of an alert. Alerts about them are told of in turn, but not for
#: ever: a rule that looks at everything would be told of its own alerts.
ALERTS = "divertor-alert"
MAX_DEPTH = 3
#: How often the engine that reacts at once forgets what it need not know any more.
FORGET = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """A rule and how it is doing; `error` is why it is not used as it is written, or what its last alert
    failed with; empty when all is well. `matches` are counted from `since` on. `last_event` is when an event
    of its index last came; None: none has since `watched` (None: nothing was judged yet)."""

    rule: Rule
    matches: int = 0
    last_match: datetime | None = None
    error: str = ""
    since: datetime | None = None
    last_event: datetime | None = None
    watched: datetime | None = None


class Rules:
    """The rules of the installation, judged by the worker `name`, whose checkpoints are in `folder`.

    `alerters` deliver, those of `elsewhere` in another process; `publish` takes events of what was delivered.
    `judges` False: others judge, this process only delivers.
    """

    def __init__(
        self,
        state: State,
        bus: Bus,
        store: EventStore | None,
        alerters: Mapping[str, Alerter],
        publish: Callable[[list[Event]], Awaitable[None]],
        isolate: Isolator,
        wall: Callable[[], datetime],
        *,
        folder: Path,
        name: str = "plane",
        elsewhere: frozenset[str] = frozenset(),
        judges: bool = True,
        trouble: Callable[[str], None] = log.error,
    ) -> None:
        self._state = state
        self._publish = publish
        self._wall = wall
        self._judges = judges
        self._controlled = asyncio.Event()
        self._reflexes = Engine()
        self._forgot = wall()
        self._isolate = isolate
        self._rules: dict[str, Rule] = {}
        self._errors: dict[str, str] = {}
        self._elsewhere = Tally()
        self._outcomes: asyncio.Queue[Event] = asyncio.Queue(10000)
        self._book = Rulebook(state, self._use, trouble)
        self._lead = Lead(state, name, wall)
        self.dispatcher = Dispatcher(
            alerters,
            Outbox(state, name, lambda: wall().timestamp()),
            self._book.rules_named,
            self._ended,
            frontier=lambda: self._lead.frontier,
            wall=wall,
            elsewhere=elsewhere,
        )
        self.worker = Worker(bus, store, self.dispatcher, self._lead, Checkpoints(folder, name), wall)

    async def load(self, directory: Path | None) -> None:
        """Reads the stored rules and, over them, the files of `directory`.

        :raises InputError: a rule is not understood.
        :raises UnavailableError: the broker does not answer.
        """
        await self._book.load(directory)

    def list(self) -> Sequence[RuleStatus]:
        """All rules, by name."""
        events, health = cache(self._tally.last_event), self.engine.health()
        return [self._status(self._rules[name], events, health) for name in sorted(self._rules)]

    def get(self, name: str) -> RuleStatus:
        """One rule.

        :raises NotFoundError: there is none.
        """
        if name not in self._rules:
            raise NotFoundError(f"no rule {name!r}")
        return self._status(self._rules[name], self._tally.last_event, self.engine.health())

    async def put(self, name: str, text: str, by: str) -> Rule:
        """Stores a rule file and uses it from now on; the old one stays if this one is not understood.

        :raises InputError: it is not understood, or draws from files.
        :raises ConflictError: it is called otherwise, or a file has a rule of that name.
        :raises UnavailableError: the broker does not answer.
        """
        rule = load_stored(text, name)
        if rule.name != name:
            raise ConflictError(f"this rule is called {rule.name!r}, not {name!r}")
        self._book.refuse_if_in_file(name)
        if readers(rule.behaviour, rule.source):
            where = Position(rule.source)
            raise InputError("only rule files on disk can draw lists from files", where, "no !file")
        await self._state.put(KIND, name, {"text": text})
        self._book.put(rule)
        await self._publish([archive_event(self._wall(), KIND, name, "update", by, {"text": text})])
        return rule

    async def delete(self, name: str, by: str) -> None:
        """Ends a rule that was stored.

        :raises NotFoundError: there is none.
        :raises ConflictError: it is in a file, which would bring it back.
        :raises UnavailableError: the broker does not answer.
        """
        self.get(name)
        self._book.refuse_if_in_file(name)
        await self._state.delete(KIND, name)
        self._book.remove(name)
        await self._publish([archive_event(self._wall(), KIND, name, "delete", by, None)])

    async def alarms(self) -> Overview:
        """The alarms, as the worker here knows them, or the one that judges elsewhere told last.

        :raises UnavailableError: nothing is known yet.
        """
        if not self._judges:
            return await reported(self._state)
        if not self.worker.is_following:
            raise UnavailableError("the rules are not judging yet")
        return Overview.of(self.engine.alarms)

    def named(self, name: str) -> Rule | None:
        """The rule of that name that is in use."""
        return self._book.rules_named(name)

    @property
    def engine(self) -> Engine:
        """The engine that follows the stream."""
        return self.worker.judge.engine

    async def react(self, events: Sequence[Event]) -> None:
        """Isolates at once whom a rule of type `any` wants isolated, before the events are even stored.

        The same events come along the stream later and are judged as ever; isolating twice changes nothing.
        So this costs no guarantee, saves the way through the broker, and holds while the broker is down. A
        rule's `realert` keeps messages rare; it must not let the second attacker of a minute go.
        """
        self._forget()
        for event in events:
            try:
                matches = self._reflexes.push(event, self._wall())
                for match in matches:
                    for alert in match.rule.alerts:
                        if alert.name == ISOLATE and concerns(alert, match, self._wall()):
                            await self._isolate(match, alert.options["isolate"])
            except DivertorError:
                continue  # the stream's judgement tells of it, and tries again
            except Exception:
                log.exception("event %s could not be reacted to", event.id)

    def _forget(self) -> None:
        """Now and then, let the quick engine go of keys that it has not seen for long."""
        now = self._wall()
        if now - self._forgot > FORGET:
            self._forgot = now
            self._reflexes.advance(now)

    def status(self) -> Mapping[str, Any]:
        """How far behind the stream the worker is, and what waits in the outbox."""
        outbox = self.dispatcher.status()
        now = self._wall().timestamp()
        return {
            "count": len(self._rules),
            "refused": dict(self._book.refused),
            "worker": self.worker.status() if self._judges else None,
            "outbox": {
                "waiting": outbox.waiting,
                "oldest_seconds": 0.0 if outbox.oldest is None else round(max(0.0, now - outbox.oldest), 1),
                "retrying": outbox.retrying,
                "delivered": outbox.delivered,
                "given_up": outbox.given_up,
            },
        }

    async def workers(self) -> Mapping[str, Any]:
        """What each worker of the installation last told of itself.

        :raises UnavailableError: the broker does not answer.
        """
        return {name: entry.value for name, entry in (await self._state.list(WORKERS)).items()}

    async def run(self) -> None:
        """Follows the stream for ever; ends with cancellation."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.dispatcher.run())
                tasks.create_task(self._report())
                tasks.create_task(self._book.watch())
                if self._judges:
                    tasks.create_task(follow(self._state, self._control))
                    tasks.create_task(self._judge())
                    tasks.create_task(self._tell())
                else:
                    tasks.create_task(self._learn())
        finally:
            await self.dispatcher.close(timeout=2.0)

    # --- what happens -----------------------------------------------------------------------------------

    async def _judge(self) -> None:
        await self._controlled.wait()  # a silence holds from the first event on
        await self.worker.run()

    def _control(self, controls: Controls) -> None:
        self.worker.control(controls)
        self._controlled.set()

    async def _report(self) -> None:
        while True:
            events = [await self._outcomes.get()]
            while not self._outcomes.empty():
                events.append(self._outcomes.get_nowait())
            try:
                await self._publish(events)
            except UnavailableError:
                continue
            except DivertorError as problem:
                log.error("what became of %d alerts cannot be told: %s", len(events), problem)

    async def _tell(self) -> None:
        await self.worker.started()
        self._tally.keep(self._rules)  # rules may have been removed while nobody judged
        while True:
            told = {"at": format_time(self._wall()), **self.status()}
            with contextlib.suppress(UnavailableError):
                await self._state.put(WORKERS, self._lead.me, told, ttl=TOLD)
                if self._lead.leads:
                    await report(self._state, Overview.of(self.engine.alarms))
                    with contextlib.suppress(InputError):  # too many to be told
                        await self._state.put(COUNTED, COUNTED, self._tally.to_json())
            await asyncio.sleep(TELL)

    async def _learn(self) -> None:
        """What the worker counted that judges instead of this process."""
        while True:
            with contextlib.suppress(UnavailableError, ValueError):
                entry = await self._state.get(COUNTED, COUNTED)
                if entry is not None:
                    self._elsewhere = Tally.from_json(entry.value)
            await asyncio.sleep(TELL)

    def _use(self, rules: Mapping[str, Rule]) -> None:
        self.worker.use(rules.values())
        quick = (rule for rule in rules.values() if _is_quick(rule))
        self._reflexes.replace(
            replace(rule, alarm=_at_once(rule.alarm))
            for rule in quick
            if any(alert.name == ISOLATE for alert in rule.alerts)
        )
        for name in self._rules.keys() - rules.keys():
            self.worker.judge.tally.forget(name)
            self._errors.pop(name, None)
        self._rules = dict(rules)

    @property
    def _tally(self) -> Tally:
        """What was counted, here or by whom judges elsewhere."""
        return self.worker.judge.tally if self._judges else self._elsewhere

    def _status(
        self, rule: Rule, last_event: Callable[[tuple[str, ...]], int], health: Mapping[str, Health]
    ) -> RuleStatus:
        tally, name = self._tally, rule.name
        matches, last = tally.matches.get(name, (0, 0))
        error = self._book.why_refused(rule) or _fault(health.get(name)) or self._errors.get(name, "")
        times = (last, tally.since, last_event(rule.index), tally.watched)
        last_match, since, event, watched = (moment_of(each) if each else None for each in times)
        return RuleStatus(rule, matches, last_match, error, since, event, watched)

    def _ended(self, outcome: Outcome) -> None:
        """Called by the dispatcher; must not wait."""
        name = outcome.notification.rule.name
        if name in self._rules:
            self._errors[name] = outcome.error
        if not outcome.again and _depth(outcome.notification.first) <= MAX_DEPTH:
            with contextlib.suppress(asyncio.QueueFull):
                self._outcomes.put_nowait(_alert_event(outcome, self._wall()))


def _fault(health: Health | None) -> str:
    return f"raised {health.faults} times, last {health.fault}" if health and health.faults else ""


def _is_quick(rule: Rule) -> bool:
    """Whether an event alone decides. What an enhancement may drop waits for the stream's judgement."""
    return rule.type == "any" and not rule.dry_run and not rule.enrich.enhancements


def _at_once(options: AlarmOptions) -> AlarmOptions:
    """Nothing waits, and no isolation is held back because there was one before."""
    return replace(options, realert=timedelta(0), exponential_realert=None, recovery=None, outside="drop")


def _depth(match: Match) -> int:
    """How many alerts stand behind an alert, itself included."""
    about = match.event
    if about is None or ALERTS not in about.indices:
        return 1
    before = about.get("alert.depth")
    return 1 + (before if isinstance(before, int) and before > 0 else 1)


def _alert_event(outcome: Outcome, now: datetime) -> Event:
    notification, alerter = outcome.notification, outcome.alert.name
    match = notification.first
    dry = match.rule.dry_run
    said = "on trial" if dry else "delivered" if outcome.ok else f"failed: {outcome.error}"
    body = {
        "rule": {"name": match.rule.name},
        "alert": {
            "alerter": alerter,
            "subject": subject(notification),
            "ok": outcome.ok,
            "attempts": outcome.attempts,
            "dry_run": dry,
            "error": outcome.error,
            "event": match.event_id,
            "depth": _depth(match),
            "alarm": match.alarm,
            "status": match.status.value,
        },
        "message": f"{match.rule.name}: {alerter} {said}",
    }
    text = f"{notification.id} {match.rule.name} {alerter} {outcome.ok} {now.timestamp()}"
    identity = blake2b(text.encode(), digest_size=16).hexdigest()
    tags = (f"alert:{alerter}", f"rules:{match.rule.name}")
    return Event(identity, "alert", now, now, (ALERTS,), tags, None, body)
