"""The outbox: what is on its way to people and services, kept in the broker until it arrived.

Each delivery is a document of its own. Its name is the delivery's key, which is the same when the same events
are judged once more, so that it is put there once, whoever judges and however often. A sender holds it for a
while before it sends: of several senders one sends, and if that one dies, another takes over when the time is
up. A delivery that arrived leaves a mark behind until nobody can judge its events again. Sending is the
dispatcher's; nothing here knows an alerter.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import blake2b
from typing import Any

from divertor.alerts.contract import Receipt
from divertor.alerts.lanes import Lane, Order, Waiting
from divertor.bus import Change, State, Synced
from divertor.errors import ConflictError, InputError
from divertor.model.events import JSON
from divertor.rules import Notification, Rule
from divertor.rules.alarms import identity
from divertor.rules.notification import notification_to_json
from divertor.rules.rule import Status
from divertor.rules.running.projection import plain

log = logging.getLogger("divertor.alerts")

KIND = "outbox"
RECEIPTS = "receipts"
TEXTS = "rule-texts"
#: Seconds for which a sender holds a delivery; it holds on while it sends.
LEASE = 30.0
#: Documents that are written side by side.
AT_ONCE = 64
#: How long a receipt is kept after a message, and after the message that the alarm is over.
RECEIPT_KEPT = timedelta(days=30)
RECEIPT_KEPT_AFTER = timedelta(days=3)
#: How long the text of a rule outlives its last message, and after which part of it that is written anew.
TEXT_KEPT = timedelta(days=8)
_TEXT_FRESH = TEXT_KEPT.total_seconds() / 8
_FORMAT = 1
#: Characters of a value that is cut because the message would be too large otherwise.
_CUT = 2000
#: Values, and characters of one, in the last message that is tried.
_SHORT = 100


@dataclass(frozen=True, slots=True)
class Parcel:
    """A delivery that is to be kept. `holder` sends it first; "": whoever takes it. `done`: it has arrived
    already, and is only to be remembered."""

    key: str
    lane: Lane
    order: Order
    notification: Notification
    due: float
    attempts: int = 0
    error: str = ""
    holder: str = ""
    done: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of a delivery beside what `Waiting` says: the digest of its rule's text, and the
    notification as JSON."""

    digest: str
    notification: Mapping[str, JSON]


@dataclass(frozen=True, slots=True)
class Arrived:
    """The mark of a delivery that ended; `by` ended it, `seq` is where in the stream it came about."""

    key: str
    revision: int
    seq: int
    by: str


@dataclass(frozen=True, slots=True)
class Gone:
    """A delivery's document is no longer there."""

    key: str


class Outbox:
    """The documents. `me` names this sender, after a restart as well; `now` is in seconds since the epoch."""

    def __init__(self, state: State, me: str, now: Callable[[], float]) -> None:
        self.me = me
        self._state = state
        self._now = now
        self._texts: dict[str, float] = {}

    async def put(self, parcels: Sequence[Parcel]) -> list[Waiting]:
        """Keep them; on disk when this returns. Those that were put before, by whomever, are left out.

        :raises UnavailableError: the broker does not answer; some may be there.
        """
        for rule in {id(parcel.notification.rule): parcel.notification.rule for parcel in parcels}.values():
            await self._keep_text(rule)
        by_alarm: dict[tuple[Lane, str], list[Parcel]] = defaultdict(list)
        for parcel in parcels:
            by_alarm[parcel.lane, parcel.notification.alarm].append(parcel)
        left = iter(by_alarm.values())  # a task takes the next alarm's: thousands need no task each

        async def put_some() -> list[Waiting]:
            return [
                found for each in left for parcel in each if (found := await self._put(parcel)) is not None
            ]

        put = await asyncio.gather(*(put_some() for _ in range(min(AT_ONCE, len(by_alarm)))))
        return [waiting for several in put for waiting in several]

    async def knows(self, key: str) -> bool:
        """Whether a delivery was put before, and is not forgotten.

        :raises UnavailableError: the broker does not answer.
        """
        return await self._state.get(KIND, key) is not None

    async def read(self, waiting: Waiting) -> Record | None:
        """What is to be delivered; None when it is there no more, or not as it was.

        :raises UnavailableError: the broker does not answer.
        """
        entry = await self._state.get(KIND, waiting.key)
        if entry is None or entry.revision != waiting.revision or "notification" not in entry.value:
            return None
        return Record(str(entry.value.get("digest", "")), entry.value["notification"])

    async def write(self, waiting: Waiting, record: Record) -> bool:
        """Write down what `waiting` says now, its revision with it; False: another sender has it.

        :raises UnavailableError: the broker does not answer.
        """
        value = _value(waiting, record)
        try:
            waiting.revision = await self._state.put(KIND, waiting.key, value, expect=waiting.revision)
        except ConflictError:
            return False
        return True

    async def hurry(self, waiting: Waiting) -> Waiting | None:
        """Have its holder, or whoever takes it when that one is dead, try it at once; how it is kept now.
        None: it changed meanwhile, because somebody is at it.

        :raises UnavailableError: the broker does not answer.
        """
        record = await self.read(waiting)
        if record is None:
            return None
        now = self._now()
        until = now + LEASE if waiting.holder and waiting.due > now else waiting.until
        hurried = replace(waiting, due=min(waiting.due, now), until=until, asked=now)
        return hurried if await self.write(hurried, record) else None

    async def finish(self, waiting: Waiting) -> Arrived:
        """It arrived, or was given up: nobody is to send it any more, whatever they know of it.

        :raises UnavailableError: the broker does not answer.
        """
        revision = await self._state.put(KIND, waiting.key, self._mark(waiting.order[0]))
        return Arrived(waiting.key, revision, waiting.order[0], self.me)

    async def forget(self, arrived: Arrived) -> None:
        """Take a mark away, because the event behind it is not judged again.

        :raises UnavailableError: the broker does not answer.
        """
        with contextlib.suppress(ConflictError):
            await self._state.delete(KIND, arrived.key, expect=arrived.revision)

    async def changes(self) -> AsyncGenerator[Waiting | Arrived | Gone | Synced, None]:
        """What is there, then `Synced`, then what changes, whoever changes it.

        :raises UnavailableError: the bus was closed.
        """
        watch = self._state.watch(KIND)
        try:
            async for change in watch:
                yield _told(change) if isinstance(change, Change) else change
        finally:
            await watch.aclose()

    async def receipt(self, waiting: Waiting) -> Receipt | None:
        """What the destination answered to an earlier message about the same alarm.

        :raises UnavailableError: the broker does not answer.
        """
        entry = await self._state.get(RECEIPTS, _receipt_name(waiting))
        found = entry.value.get("receipt") if entry is not None else None
        return found if isinstance(found, dict) else None

    async def keep_receipt(self, waiting: Waiting, receipt: Receipt | None, status: Status) -> None:
        """Keep what the destination answered; after the end of an alarm, not for long.

        :raises UnavailableError: the broker does not answer.
        """
        kept = RECEIPT_KEPT_AFTER if status is Status.RESOLVED else RECEIPT_KEPT
        try:
            await self._state.put(
                RECEIPTS, _receipt_name(waiting), {"receipt": dict(receipt or {})}, ttl=kept
            )
        except InputError as problem:
            log.error("what %s answered cannot be kept: %s", waiting.lane.alerter, problem)

    async def text(self, digest: str) -> tuple[str, str] | None:
        """The text of a rule, and where it came from, by its digest; None when it is not there any more.

        :raises UnavailableError: the broker does not answer.
        """
        entry = await self._state.get(TEXTS, digest)
        if entry is None:
            return None
        return str(entry.value.get("text", "")), str(entry.value.get("source", ""))

    async def _put(self, parcel: Parcel) -> Waiting | None:
        now = self._now()
        until = now + LEASE if parcel.holder else 0.0
        waiting = Waiting(
            parcel.key,
            0,
            parcel.lane,
            parcel.notification.alarm,
            parcel.order,
            now,
            parcel.due,
            parcel.attempts,
            parcel.holder,
            until,
            parcel.error,
        )
        try:
            if parcel.done:
                await self._state.create(KIND, parcel.key, self._mark(parcel.order[0]))
                return None
            waiting.revision = await self._create(waiting, parcel.notification)
        except ConflictError:
            return None
        return waiting

    async def _create(self, waiting: Waiting, notification: Notification) -> int:
        digest = digest_of(notification.rule)
        for body in _smaller_and_smaller(notification_to_json(notification)):
            try:
                return await self._state.create(KIND, waiting.key, _value(waiting, Record(digest, body)))
            except InputError as problem:
                log.warning("a message of rule %r has to be cut: %s", waiting.lane.rule, problem)
        raise AssertionError("what holds a few short texts fits")

    async def _keep_text(self, rule: Rule) -> None:
        digest, now = digest_of(rule), self._now()
        if now - self._texts.get(digest, 0.0) < _TEXT_FRESH:
            return
        text = {"text": rule.portable, "source": rule.source}
        try:
            await self._state.put(TEXTS, digest, text, ttl=TEXT_KEPT)
        except InputError as problem:
            log.error("the text of rule %r cannot be kept with its messages: %s", rule.name, problem)
        if len(self._texts) > 10_000:
            self._texts.clear()
        self._texts[digest] = now

    def _mark(self, seq: int) -> dict[str, JSON]:
        return {"format": _FORMAT, "arrived": True, "seq": seq, "by": self.me}


def digest_of(rule: Rule) -> str:
    """Tells a rule from one of the same name that was written otherwise."""
    text = f"{rule.name}\0{rule.drawn}\0{rule.text}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _value(waiting: Waiting, record: Record) -> dict[str, JSON]:
    lane = waiting.lane
    return {
        "format": _FORMAT,
        "lane": [lane.rule, lane.place, lane.alerter, lane.target],
        "alarm": waiting.alarm,
        "order": list(waiting.order),
        "created": waiting.created,
        "due": waiting.due,
        "attempts": waiting.attempts,
        "holder": waiting.holder,
        "until": waiting.until,
        "error": waiting.error,
        "asked": waiting.asked,
        "digest": record.digest,
        "notification": dict(record.notification),
    }


def _told(change: Change) -> Waiting | Arrived | Gone:
    value = change.value
    if value is None:
        return Gone(change.name)
    try:
        if value.get("arrived"):
            return Arrived(change.name, change.revision, int(value["seq"]), str(value["by"]))
        rule, place, alerter, target = value["lane"]
        seq, number = value["order"]
        return Waiting(
            change.name,
            change.revision,
            Lane(str(rule), int(place), str(alerter), int(target)),
            str(value["alarm"]),
            (int(seq), int(number)),
            float(value["created"]),
            float(value["due"]),
            int(value["attempts"]),
            str(value["holder"]),
            float(value["until"]),
            str(value["error"]),
            float(value.get("asked", 0.0)),
        )
    except (KeyError, TypeError, ValueError) as problem:
        log.error("the outbox holds %s, which is no delivery of ours: %s", change.name[:80], problem)
        return Gone(change.name)


def _receipt_name(waiting: Waiting) -> str:
    lane = waiting.lane
    return identity(lane.rule, waiting.alarm, str(lane.place), lane.alerter, str(lane.target))


def _smaller_and_smaller(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A notification as JSON, with less and less of what events brought: whoever fills them must not keep a
    message, and all that come after it, from being sent. Matches that are left out are counted.
    """
    yield body
    body = {**body, "matches": [{**match, "event": None} for match in body["matches"]]}
    yield body
    body = {**body, "matches": [_cut_value(match, 0) for match in body["matches"]]}
    yield body
    while len(body["matches"]) > 1:
        body = _halved(body)
        yield body
    yield {**body, "matches": [_bare(match) for match in body["matches"]]}


def _halved(body: dict[str, Any]) -> dict[str, Any]:
    matches = body["matches"]
    kept = matches[: len(matches) // 2]
    gone = len(matches) - len(kept) + sum(match["suppressed"] for match in matches[len(kept) :])
    first = {**kept[0], "suppressed": kept[0]["suppressed"] + gone}
    return {**body, "matches": [first, *kept[1:]]}


def _bare(match: dict[str, Any]) -> dict[str, Any]:
    """A match with no more than the first short values of its document."""
    short = [
        (name[:_SHORT], value if isinstance(value, bool | int) or value is None else str(value)[:_SHORT])
        for name, value in match["document"].items()
        if not isinstance(value, dict | list)
    ]
    return {**match, "document": dict(short[:_SHORT])}


def _cut_value(value: Any, depth: int) -> Any:
    """Long texts cut, so that at least the message's shape arrives; and nothing that JSON does not have."""
    if isinstance(value, str):
        return value if len(value) <= _CUT else value[:_CUT] + "…"
    if isinstance(value, dict):
        items = list(value.items())[:_CUT]
        return {str(name)[:_CUT]: _cut_value(inner, depth + 1) for name, inner in items}
    if isinstance(value, list):
        return [_cut_value(inner, depth + 1) for inner in value[:100]]
    return plain(value)
