"""What a loaded rule file is, and what it finds: frozen values that the engine, the alerters and the API
share.

Reading a file is `load.py`; running rules is `engine.py`; turning a match into words is
`divertor.alerts.text`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from divertor.model.events import Event
from divertor.model.isolation import KeySelector
from divertor.rules.filters.filter import Filter
from divertor.rules.schedule import Cron, Hours
from divertor.rules.types.contract import Key, RuleType
from divertor.rules.wording.jinja import JinjaTemplate
from divertor.rules.wording.template import Template


class Severity(StrEnum):
    """How bad a match is. `rank` orders them."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return _RANKS[self]


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


class Audience(StrEnum):
    """Who is told of a match. What is held back from people (a silence, hours) still makes the rule act."""

    ALL = "all"
    ACTIONS = "actions"
    PEOPLE = "people"


@dataclass(frozen=True, slots=True)
class Route:
    """Which matches one entry of `alert` is told of (its `when:`); an empty condition lets all through.

    `keys` are patterns (`*`) of the query_key's value. The notice that an alarm is over goes to whoever was
    told of it.
    """

    severities: frozenset[Severity] = frozenset()
    hours: Hours | None = None
    keys: tuple[str, ...] = ()
    statuses: frozenset[Status] = frozenset()


@dataclass(frozen=True, slots=True)
class AlertSpec:
    """One entry of a rule's `alert`: the alerter's name and its validated options, defaults filled in.
    `words` are the entry's own, where it words matches otherwise than the rule.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    when: Route | None = None
    words: TextOptions | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """When a rule that isolates has to stop: at more than so many new isolations in a minute, or when the
    isolated make more than `traffic` per cent of all requests. A rule gone wrong must not divert everybody.
    """

    per_minute: int = 600
    traffic: int | None = None


@dataclass(frozen=True, slots=True)
class IsolateOptions:
    """What `alert: isolate` asks for. None and () mean "as the application's isolation policy says".

    `durations`: how long the first time, the second, …; the last one holds from then on; None: for ever.
    `fields`: where in the match a key's value is, when it is not where events have it. `every`: by each of
    the keys that the event carries, not only by the first.
    """

    to: str | None = None
    durations: tuple[timedelta | None, ...] = ()
    keys: tuple[KeySelector, ...] = ()
    fields: Mapping[KeySelector, str] = field(default_factory=dict)
    every: bool = False
    reason: str = ""
    limit: Limit = Limit()


@dataclass(frozen=True, slots=True)
class SummaryOptions:
    """The table above the texts of gathered matches: how often each combination of `fields` occurs. `kind` is
    ascii, markdown or html; `rows` the most that are shown, None for all.
    """

    fields: tuple[str, ...]
    headers: tuple[str, ...]
    kind: str = "ascii"
    rows: int | None = None
    prefix: str = ""
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class TextOptions:
    """How a match is put into words; `alert_*` options of the rule file. `jinja` and `jinja_subject` are
    there when `kind` is `alert_text_jinja`. `headed`: the text begins with the rule's name.
    """

    subject: Template
    subject_max_length: int
    text: Template | None
    kind: str
    missing: str
    jinja: JinjaTemplate | None = None
    jinja_subject: JinjaTemplate | None = None
    headed: bool = True
    summary: SummaryOptions | None = None


@dataclass(frozen=True, slots=True)
class GatherOptions:
    """How matches are gathered into one message: for `window` after the first, or until the next time that
    the cron expression `schedule` names (UTC). Apart by the values of `key`; no more than `limit` at once.

    `by_match_time`: the window starts at the first match's own time, not when it was found.
    `joins_by_match_time`: a match belongs to a window by its own time, too.
    """

    window: timedelta = timedelta(0)
    schedule: str = ""
    key: tuple[str, ...] = ()
    by_match_time: bool = False
    joins_by_match_time: bool = False
    limit: int = 10_000


@dataclass(frozen=True, slots=True)
class EnrichOptions:
    """What a match gets before it is told: the classes and functions of `enhancements`, in order (`first`:
    before it is gathered), and how often the `top` most frequent values of `counted` fields occur.
    """

    enhancements: tuple[str, ...] = ()
    first: bool = False
    counted: tuple[str, ...] = ()
    top: int = 5
    rule_parameters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DiscoverOptions:
    """A link to Kibana's or OpenSearch's Discover: its address, index pattern and columns, and how much time
    before and after the match it shows (None: the rule's timeframe).
    """

    product: str
    address: str
    index: str
    columns: tuple[str, ...] = ("_source",)
    before: timedelta | None = None
    after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """Where a message leads: titles and addresses with holes for fields of the match; and to Discover."""

    links: tuple[tuple[str, Template], ...] = ()
    discover: tuple[DiscoverOptions, ...] = ()


@dataclass(frozen=True, slots=True)
class Recovery:
    """When an alarm is over. `below` or `above`: a measured number has been there for `hold`; `after`:
    nothing matched for so long; none of the three: as the rule's type says.
    """

    after: timedelta | None = None
    below: float | None = None
    above: float | None = None
    hold: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class When:
    """What makes a tier of severity, all of it together: so many matches of the alarm, a number of the type,
    an event that passes a filter, an alarm that has lasted so long, a time of the week.
    """

    matches: int = 0
    below: float | None = None
    above: float | None = None
    filter: Filter | None = None
    open_for: timedelta = timedelta(0)
    hours: Hours | None = None


@dataclass(frozen=True, slots=True)
class Tier:
    """A severity and when it holds."""

    level: Severity
    when: When = When()


@dataclass(frozen=True, slots=True)
class AlarmOptions:
    """When a hit becomes an alert.

    `realert`: the silence after one, per key, growing up to `exponential_realert`; `realert_key`: rules that
    name the same one share their silences. `pending`: how long the condition must hold before. `recovery`:
    when it is told that an alarm is over; None: it is not told. `hours`: when people are told, `outside` what
    happens else: `hold` until then, `drop`, or `lower` the severity. `limit`: minutes in which alerts go out,
    what is found between them waiting or, with `coverage`, not being judged. `severity` is what holds unless
    one of `tiers` does, the first one first.
    """

    realert: timedelta = timedelta(minutes=1)
    realert_key: str = ""
    exponential_realert: timedelta | None = None
    pending: timedelta = timedelta(0)
    recovery: Recovery | None = None
    hours: Hours | None = None
    outside: str = "hold"
    limit: Cron | None = None
    coverage: bool = False
    max_lateness: timedelta | None = None
    severity: Severity = Severity.MEDIUM
    tiers: tuple[Tier, ...] = ()


@dataclass(frozen=True, slots=True)
class Clock:
    """How a rule sees time. `field` holds an event's time; `query_delay` is how long late events are waited
    for before time alone may show something.
    """

    field: str = "@timestamp"
    compatible: bool = False
    run_every: timedelta = timedelta(minutes=1)
    query_delay: timedelta = timedelta(0)
    buffer_time: timedelta = timedelta(minutes=15)
    #: How `field` is written: iso, unix, unix_ms, or custom in `format` (as `strptime` has it).
    kind: str = "iso"
    format: str = ""
    #: How times are shown to people.
    local: bool = True
    shown_as: str = "%Y-%m-%d %H:%M %Z"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule file, understood.

    `properties` are the file's own top-level values (what `alert_text_args` may name besides fields of the
    match); `source` is where it came from and `text` the file as it was; `warnings` are what its author may
    want to know although it is valid. `drawn` tells apart what the text drew from elsewhere (imports,
    defaults, environment). `retry_for`: how long an alert that does not arrive is tried again
    (`alert_time_limit`). `dry_run`: nothing is done or told, only recorded.
    """

    name: str
    type: str
    behaviour: RuleType[Any]
    index: tuple[str, ...]
    filter: Filter
    alerts: tuple[AlertSpec, ...]
    words: TextOptions
    query_key: tuple[str, ...]
    alarm: AlarmOptions
    clock: Clock
    include: tuple[str, ...]
    is_enabled: bool
    properties: Mapping[str, Any]
    source: str
    text: str
    warnings: tuple[str, ...] = ()
    gather: GatherOptions | None = None
    enrich: EnrichOptions = EnrichOptions()
    links: LinkOptions = LinkOptions()
    retry_for: timedelta = timedelta(days=2)
    dry_run: bool = False
    drawn: str = ""

    @property
    def portable(self) -> str:
        """A text that is this rule wherever it is read: what it drew from elsewhere is in it, variables of
        the environment as well. Not to be shown.
        """
        if not self.drawn:
            return self.text
        options = dict(self.properties)
        template = options.pop("jinja_template_path", None)
        return json.dumps(options if template is None else {**options, "alert_text": template})

    def same_as(self, other: Rule) -> bool:
        """Whether both were read from the same text, so that one may continue the other's windows."""
        return (self.name, self.text, self.drawn) == (other.name, other.text, other.drawn)


class Status(StrEnum):
    """Whether an alarm goes off or is over."""

    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that fired, or whose alarm is over.

    `id` is the same when the same events are judged once more. `alarm` is one for all matches of a rule and
    key from the first to the notice that it is over. `document` is what alerts show: the event's document,
    projected by `include`, with `num_hits` and `num_matches`; `event` is the event behind it, whole, or None
    when only time showed it. `num_hits` counts the events that passed the rule's filter since its last alert,
    `num_matches` the matches since then, silenced ones included (both with this one). `time` is when it
    happened (the event's time, UTC). `suppressed` counts the matches of this rule and key that nobody was
    told of since the last alert. `severities` are those under which the alarm was told, this one's last.
    """

    id: str
    rule: Rule
    document: Mapping[str, Any]
    event: Event | None
    num_hits: int
    num_matches: int
    time: datetime
    key: Key = None
    alarm: str = ""
    status: Status = Status.FIRING
    severity: Severity = Severity.MEDIUM
    severities: tuple[Severity, ...] = ()
    suppressed: int = 0
    audience: Audience = Audience.ALL

    @property
    def event_id(self) -> str:
        """The id of the event behind it; empty when there is none."""
        return self.event.id if self.event is not None else ""
