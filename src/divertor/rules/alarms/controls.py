"""What people say about alarms while rules run: silences, mutes, acknowledgements. Pure matching.

A silence holds back what people are told of matches that fit it: now, in a maintenance window to come, or at
times that come back. A mute is a silence of one rule. An acknowledgement quiets one open alarm. None of them
ends an alarm, hides the notice that it is over, or holds back what a rule does (`alerters.ACTIONS`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from divertor.rules.alarms.routing import fits_any
from divertor.rules.alarms.tracks import Alarm
from divertor.rules.document import lookup, scalar_text
from divertor.rules.schedule import Cron
from divertor.rules.types.contract import Hit, Key


@dataclass(frozen=True, slots=True)
class Silence:
    """Which matches people are not told of, and when. Times are microseconds since the epoch.

    `rule` and `key` are patterns in which `*` stands for any characters (`key` empty: any, also none); with
    `mute` the rule is meant literally. `fields`: dotted paths and the values the match must have there, all
    of them. It holds from `start` until `end` (None: until it is removed); with a `cron` only for `lasting`
    microseconds from each of its minutes on.
    """

    id: str
    rule: str = "*"
    key: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    start: int = 0
    end: int | None = None
    cron: Cron | None = None
    lasting: int = 0
    mute: bool = False
    by: str = ""
    comment: str = ""
    created: int = 0

    def is_over(self, now: int) -> bool:
        return self.end is not None and now >= self.end

    def is_active(self, now: int) -> bool:
        """Whether it holds at that moment."""
        if now < self.start or self.is_over(now):
            return False
        return self.cron is None or now < self.cron.before(now) + self.lasting

    @property
    def is_partial(self) -> bool:
        """Whether it is about some matches of a rule only."""
        return bool(self.key or self.fields)

    def is_about(self, rule: str) -> bool:
        return rule == self.rule if self.mute else fits_any((self.rule,), rule)

    def fits(self, key: Key, hit: Hit) -> bool:
        """Whether it is about that key and hit of a rule it `is_about`."""
        if self.key and not fits_any((self.key,), key or ""):
            return False
        return all(_has(hit, path, value) for path, value in self.fields)


def _has(hit: Hit, path: str, value: str) -> bool:
    found = lookup(hit.fields, path)
    if found is None and hit.event is not None:
        found = lookup(hit.event.document(), path)
    values = found if isinstance(found, list | tuple) else (found,)
    return any(each is not None and scalar_text(each) == value for each in values)


@dataclass(frozen=True, slots=True)
class Ack:
    """Somebody has seen an alarm and looks after it: no more messages until it is over, or until then."""

    alarm: str
    until: int | None = None
    by: str = ""
    comment: str = ""
    created: int = 0

    def is_over(self, now: int) -> bool:
        return self.until is not None and now >= self.until


@dataclass(frozen=True, slots=True)
class Shown:
    """An alarm, and who looks after it, if anybody does."""

    alarm: Alarm
    ack: Ack | None = None


@dataclass(frozen=True)
class Controls:
    """All of them. Immutable: whoever changes one makes anew."""

    silences: tuple[Silence, ...] = ()
    acks: Mapping[str, Ack] = field(default_factory=dict)
    #: The silences about each rule that was asked for, found once.
    _about: dict[str, tuple[Silence, ...]] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, silences: Iterable[Silence], acks: Iterable[Ack] = ()) -> Controls:
        return cls(tuple(silences), {ack.alarm: ack for ack in acks})

    def silence_of(self, rule: str, key: Key, hit: Hit, now: int) -> Silence | None:
        """The first silence that holds back that hit."""
        if not self.silences:
            return None
        about = self._about.get(rule)
        if about is None:
            # Rules are the author's to name and few: this is not an attacker's to fill.
            about = self._about[rule] = tuple(each for each in self.silences if each.is_about(rule))
        return next((each for each in about if each.is_active(now) and each.fits(key, hit)), None)

    def is_acknowledged(self, alarm: str, now: int) -> bool:
        ack = self.acks.get(alarm)
        return ack is not None and not ack.is_over(now)


def silence_to_json(silence: Silence) -> dict[str, Any]:
    """As a document of the state; `silence_from_json` reads it back."""
    return {
        "id": silence.id,
        "rule": silence.rule,
        "key": silence.key,
        "fields": [list(each) for each in silence.fields],
        "start": silence.start,
        "end": silence.end,
        "cron": None if silence.cron is None else [silence.cron.text, silence.cron.zone],
        "lasting": silence.lasting,
        "mute": silence.mute,
        "by": silence.by,
        "comment": silence.comment,
        "created": silence.created,
    }


def silence_from_json(data: Mapping[str, Any]) -> Silence:
    """:raises ValueError: it is no document of a silence."""
    try:
        cron = data["cron"]
        return Silence(
            id=str(data["id"]),
            rule=str(data["rule"]),
            key=str(data["key"]),
            fields=tuple((str(path), str(value)) for path, value in data["fields"]),
            start=int(data["start"]),
            end=None if data["end"] is None else int(data["end"]),
            cron=None if cron is None else Cron.parse(str(cron[0]), str(cron[1])),
            lasting=int(data["lasting"]),
            mute=bool(data["mute"]),
            by=str(data["by"]),
            comment=str(data["comment"]),
            created=int(data["created"]),
        )
    except (KeyError, TypeError, IndexError) as problem:
        raise ValueError(f"no silence: {problem}") from None


def ack_to_json(ack: Ack) -> dict[str, Any]:
    """As a document of the state; `ack_from_json` reads it back."""
    return {
        "alarm": ack.alarm,
        "until": ack.until,
        "by": ack.by,
        "comment": ack.comment,
        "created": ack.created,
    }


def ack_from_json(data: Mapping[str, Any]) -> Ack:
    """:raises ValueError: it is no document of an acknowledgement."""
    try:
        until = None if data["until"] is None else int(data["until"])
        return Ack(str(data["alarm"]), until, str(data["by"]), str(data["comment"]), int(data["created"]))
    except (KeyError, TypeError) as problem:
        raise ValueError(f"no acknowledgement: {problem}") from None
