"""Alarms and what people say about them: which are open, acknowledgements, silences, mutes of rules.

What people said is kept in the broker's state and followed by whichever process judges events (`follow`), so
it holds after a restart and in every replica. What an acknowledgement or silence does to a match is
`divertor.rules.alarms`' to know; here they are checked, kept, told as events, and removed when they are over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from divertor.bus import Change, State
from divertor.control.audit import archive_event
from divertor.errors import ConflictError, NotFoundError, UnavailableError
from divertor.model.events import Event, micros_of
from divertor.rules.alarms import Ack, Alarm, Alarms, Controls, Shown, Silence, identity
from divertor.rules.alarms.controls import ack_from_json, ack_to_json, silence_from_json, silence_to_json
from divertor.rules.rule import Severity

log = logging.getLogger("divertor.alarms")

SILENCES = "silences"
ACKS = "acks"
OVERVIEW = "alarms"
#: Silences, mutes among them, that are kept at most.
MAX_SILENCES = 1000
#: Open alarms that are shown at most, the latest, and where their keys are cut when they are kept.
MAX_SHOWN = 2000
_MAX_KEY = 256
#: Seconds between two looks for what is over.
SWEEP = 30.0


@dataclass(frozen=True, slots=True)
class Overview:
    """The alarms of one engine, the latest first. `suppressed` counts by the silence's id; `forgotten` are
    open alarms that were given up for want of room.
    """

    open: tuple[Alarm, ...] = ()
    recent: tuple[Alarm, ...] = ()
    suppressed: Mapping[str, int] = field(default_factory=dict)
    forgotten: int = 0

    @classmethod
    def of(cls, alarms: Alarms) -> Overview:
        open_ones = tuple(alarms.open()[:MAX_SHOWN])
        return cls(open_ones, tuple(alarms.recent()), dict(alarms.suppressed), alarms.forgotten)

    def may_be_open(self, id: str) -> bool:
        """Whether that alarm is open, or may be one of those that are not shown."""
        if any(alarm.id == id for alarm in self.open):
            return True
        return len(self.open) >= MAX_SHOWN and all(alarm.id != id for alarm in self.recent)

    def to_json(self) -> dict[str, Any]:
        """As a document of the state; `from_json` reads it back."""
        return {
            "open": [_alarm_to_json(alarm) for alarm in self.open],
            "recent": [_alarm_to_json(alarm) for alarm in self.recent],
            "suppressed": dict(self.suppressed),
            "forgotten": self.forgotten,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Overview:
        """:raises ValueError: it is not what `to_json` made."""
        try:
            return cls(
                tuple(_alarm_from_json(each) for each in data["open"]),
                tuple(_alarm_from_json(each) for each in data["recent"]),
                {str(id): int(count) for id, count in data["suppressed"].items()},
                int(data["forgotten"]),
            )
        except (KeyError, TypeError, AttributeError) as problem:
            raise ValueError(f"no overview of alarms: {problem}") from None


class AlarmControl:
    """What the API and the command line ask about alarms.

    `overview` tells the engine's alarms, wherever it runs; `rule` raises NotFoundError for a rule that is not
    there; `publish` takes events of what was changed, and by whom.
    """

    def __init__(
        self,
        state: State,
        overview: Callable[[], Awaitable[Overview]],
        rule: Callable[[str], object],
        publish: Callable[[list[Event]], Awaitable[None]],
        wall: Callable[[], datetime],
        new_id: Callable[[], str] = lambda: secrets.token_hex(5),
    ) -> None:
        self._state = state
        self._overview = overview
        self._rule = rule
        self._publish = publish
        self._wall = wall
        self._new_id = new_id

    async def list(self) -> tuple[Sequence[Shown], Sequence[Shown]]:
        """The open alarms and the recent ones, the latest first.

        :raises UnavailableError: the broker does not answer.
        """
        overview, acks = await self._overview(), await self._acks()
        return (
            [Shown(alarm, acks.get(alarm.id)) for alarm in overview.open],
            [Shown(alarm, acks.get(alarm.id)) for alarm in overview.recent],
        )

    async def get(self, id: str) -> Shown:
        """One alarm, open or recent.

        :raises NotFoundError: there is none.
        """
        for shown in (each for some in await self.list() for each in some):
            if shown.alarm.id == id:
                return shown
        raise NotFoundError(f"no alarm {id[:80]!r}")

    async def acknowledge(self, id: str, until: datetime | None, by: str, comment: str) -> Shown:
        """Quiets an open alarm until it is over, or until then.

        :raises NotFoundError: there is no such alarm.
        :raises ConflictError: it is over.
        """
        alarm = (await self.get(id)).alarm
        if alarm.ended is not None:
            raise ConflictError(f"alarm {id!r} is over already")
        ack = Ack(id, None if until is None else micros_of(until), by, comment, self._now())
        await self._state.put(ACKS, id, ack_to_json(ack))
        await self._tell("alarms", id, "acknowledge", by, {"rule": alarm.rule, **ack_to_json(ack)})
        return Shown(alarm, ack)

    async def unacknowledge(self, id: str, by: str) -> None:
        """Lets an alarm be told again.

        :raises NotFoundError: nobody acknowledged it.
        """
        if not await self._state.delete(ACKS, id):
            raise NotFoundError(f"alarm {id[:80]!r} is not acknowledged")
        await self._tell("alarms", id, "release", by, None)

    async def silences(self) -> tuple[Sequence[Silence], Mapping[str, int]]:
        """Every silence, the latest first, and how many matches each has held back."""
        found = [each for each in await self._silences() if not each.is_over(self._now())]
        overview = await self._overview()
        return sorted(found, key=lambda each: each.created, reverse=True), overview.suppressed

    async def quiet(self, rules: Sequence[str]) -> Mapping[str, Silence]:
        """The silence that holds now for each of those rules that has one: what is about all of its matches
        before what is about some, then what holds longest.

        :raises UnavailableError: the broker does not answer.
        """
        now = self._now()
        active = [each for each in await self._silences() if each.is_active(now)]
        active.sort(key=_reach)
        return {
            rule: found
            for rule in rules
            if (found := next((each for each in active if each.is_about(rule)), None)) is not None
        }

    async def silence(self, wanted: Silence, by: str) -> Silence:
        """Keeps a silence (its id and author are made here) and returns it as it is kept.

        :raises ConflictError: there are too many.
        """
        if len(await self._silences()) >= MAX_SILENCES:
            raise ConflictError(f"there are {MAX_SILENCES} silences already")
        id = wanted.id or self._new_id()
        made = replace(wanted, id=id, by=by, created=self._now(), start=wanted.start or self._now())
        await self._state.put(SILENCES, made.id, silence_to_json(made))
        await self._tell(SILENCES, made.id, "create", by, silence_to_json(made))
        return made

    async def unsilence(self, id: str, by: str) -> None:
        """Ends a silence.

        :raises NotFoundError: there is none.
        """
        if not await self._state.delete(SILENCES, id):
            raise NotFoundError(f"no silence {id[:80]!r}")
        await self._tell(SILENCES, id, "delete", by, None)

    async def mute(self, rule: str, until: datetime | None, by: str, comment: str) -> Silence:
        """Silences a rule, until then or until `unmute`; a second time replaces the first.

        :raises NotFoundError: there is no such rule.
        """
        self._rule(rule)
        end = None if until is None else micros_of(until)
        wanted = Silence(id=_mute_id(rule), rule=rule, end=end, mute=True, comment=comment)
        return await self.silence(wanted, by)

    async def unmute(self, rule: str, by: str) -> None:
        """:raises NotFoundError: it is not muted."""
        try:
            await self.unsilence(_mute_id(rule), by)
        except NotFoundError:
            raise NotFoundError(f"the rule {rule[:80]!r} is not muted") from None

    async def run(self) -> None:
        """Removes what is over, for ever. `overview` raises UnavailableError as long as it knows nothing."""
        while True:
            await asyncio.sleep(SWEEP)
            with contextlib.suppress(UnavailableError):
                await self.sweep()

    async def sweep(self) -> None:
        """Removes silences and acknowledgements that are over, and those of alarms that are.

        :raises UnavailableError: the broker does not answer.
        """
        now = self._now()
        for silence in await self._silences():
            if silence.is_over(now):
                await self._state.delete(SILENCES, silence.id)
        # Read before the alarms: one that is acknowledged in between is among them.
        acks = await self._acks()
        overview = await self._overview()
        for ack in acks.values():
            if ack.is_over(now) or not overview.may_be_open(ack.alarm):
                await self._state.delete(ACKS, ack.alarm)

    async def _silences(self) -> Sequence[Silence]:
        entries = (await self._state.list(SILENCES)).values()
        return [each for entry in entries if (each := _silence(entry.value)) is not None]

    async def _acks(self) -> Mapping[str, Ack]:
        entries = (await self._state.list(ACKS)).values()
        return {each.alarm: each for entry in entries if (each := _ack(entry.value)) is not None}

    async def _tell(self, kind: str, name: str, verb: str, by: str, what: Mapping[str, Any] | None) -> None:
        await self._publish([archive_event(self._wall(), kind, name, verb, by, what)])

    def _now(self) -> int:
        return micros_of(self._wall())


async def follow(state: State, apply: Callable[[Controls], None]) -> None:
    """Tells `apply` what people say about alarms: all of it first, then after every change, for ever.

    For the process that judges: `apply` is `Alarms.control`.
    """
    silences: dict[str, Silence] = {}
    acks: dict[str, Ack] = {}
    synced = False
    changes = state.watch(SILENCES, ACKS)
    try:
        async for item in changes:
            if isinstance(item, Change):
                _take(item, silences, acks)
            else:
                synced = True
            if synced:
                apply(Controls.of(silences.values(), acks.values()))
    finally:
        await changes.aclose()


def _take(change: Change, silences: dict[str, Silence], acks: dict[str, Ack]) -> None:
    held: dict[str, Any] = silences if change.kind == SILENCES else acks
    held.pop(change.name, None)
    if change.value is None:
        return
    read = _silence(change.value) if change.kind == SILENCES else _ack(change.value)
    if read is not None:
        held[change.name] = read


async def report(state: State, overview: Overview) -> None:
    """Puts the alarms where another process finds them (`reported`).

    :raises UnavailableError: the broker does not answer.
    """
    await state.put(OVERVIEW, OVERVIEW, overview.to_json())


async def reported(state: State) -> Overview:
    """What the process that judges reported last; empty when it never did.

    :raises UnavailableError: the broker does not answer, or holds something else.
    """
    entry = await state.get(OVERVIEW, OVERVIEW)
    if entry is None:
        return Overview()
    try:
        return Overview.from_json(entry.value)
    except ValueError as problem:
        raise UnavailableError(str(problem)) from None


def _silence(value: Mapping[str, Any]) -> Silence | None:
    try:
        return silence_from_json(value)
    except ValueError as problem:
        log.error("the state holds something else than a silence: %s", problem)
        return None


def _ack(value: Mapping[str, Any]) -> Ack | None:
    try:
        return ack_from_json(value)
    except ValueError as problem:
        log.error("the state holds something else than an acknowledgement: %s", problem)
        return None


def _reach(silence: Silence) -> tuple[bool, bool, int]:
    """Sorts what keeps more from being told before what keeps less."""
    return (silence.is_partial, silence.end is not None, -(silence.end or 0))


def _mute_id(rule: str) -> str:
    return f"mute-{identity(rule)[:16]}"


def _alarm_to_json(alarm: Alarm) -> dict[str, Any]:
    key = None if alarm.key is None else alarm.key[:_MAX_KEY]
    return {name: getattr(alarm, name) for name in Alarm.__slots__} | {"key": key}


def _alarm_from_json(data: Mapping[str, Any]) -> Alarm:
    return Alarm(**{**{name: data[name] for name in Alarm.__slots__}, "severity": Severity(data["severity"])})
