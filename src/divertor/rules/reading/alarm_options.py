"""The options that say when a hit becomes an alert, how bad it is and who is told, as they are written. What
they do is `alarms`.

```yaml
realert: {minutes: 5}
exponential_realert: {hours: 1}
pending: {minutes: 5}
recovery: {below: 5, for: {minutes: 2}}
hours: {days: mon-fri, from: "09:00", to: "17:30", zone: Europe/Zurich, holidays: [2026-12-25], outside: hold}
severity:
- {level: critical, when: {matches: 100}}
- {level: high, when: {filter: [{term: {user: root}}]}}
- low
alert:
- slack
- pagerduty: {when: {severity: critical}}
```
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from divertor.model.documents import MappingNode, Node, Scalar, to_value
from divertor.model.fields import Fields, choice_of, fail, items_of, parsed, text_of
from divertor.rules.filters.dsl import compile_filter
from divertor.rules.reading.options import Given, Option, OptionGroup, boolean, integer, number, span, text
from divertor.rules.rule import AlarmOptions, Recovery, Route, Severity, Status, Tier, When
from divertor.rules.schedule import DAYS, Cron, Hours, Period, zone_of
from divertor.rules.types.contract import Measured, RuleType, threshold_of

_LEVELS = {level.value: level for level in Severity}
_STATUSES = {status.value: status for status in Status}
_OUTSIDE = {word: word for word in ("hold", "drop", "lower")}
_TIME = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])")
_AT_LEAST = re.compile(r">=\s*(\w+)")
#: What `priority` means where no `severity` is given.
_PRIORITIES = {1: Severity.LOW, 2: Severity.MEDIUM, 3: Severity.HIGH, 4: Severity.CRITICAL}
_MAX_HOLIDAYS = 1000
_HOURS = ("days", "from", "to", "zone", "holidays")

_number = number(-1e18, 1e18)
_length = span()


def _read(given: Given, values: Mapping[str, Any]) -> AlarmOptions:
    realert = _realert(values)
    _check_growth(given, realert, values["exponential_realert"])
    hours, outside = values["hours"] or (None, "hold")
    level, tiers = values["severity"] or (None, ())
    return AlarmOptions(
        realert=realert,
        realert_key=values["realert_key"] or values["name"],
        exponential_realert=values["exponential_realert"],
        pending=values["pending"],
        recovery=values["recovery"],
        hours=hours,
        outside=outside,
        limit=_limit(given, values),
        coverage=values["limit_execution_coverage"],
        max_lateness=values["max_lateness"],
        severity=level or _by_priority(given),
        tiers=tiers,
    )


def _realert(values: Mapping[str, Any]) -> timedelta:
    """A rule that gathers its matches is to gather them all, unless it says otherwise."""
    given: timedelta | None = values["realert"]
    if given is not None:
        return given
    return timedelta(0) if values["aggregation"] else timedelta(minutes=1)


def _check_growth(given: Given, realert: timedelta, longest: timedelta | None) -> None:
    node = given.node("exponential_realert")
    if node is not None and longest is not None and longest < realert:
        fail(node, f"exponential_realert is {longest}, less than realert", f"at least {realert}")


def _limit(given: Given, values: Mapping[str, Any]) -> Cron | None:
    node, zone = given.node("limit_execution"), given.node("limit_execution_zone")
    if zone is not None:
        _zone(zone)
    if node is None:
        return None
    return parsed(node, "limit_execution", lambda text: Cron.parse(text, values["limit_execution_zone"]))


def _by_priority(given: Given) -> Severity:
    node = given.node("priority")
    return _PRIORITIES.get(to_value(node), Severity.MEDIUM) if isinstance(node, Scalar) else Severity.MEDIUM


def check(given: Given, options: AlarmOptions, behaviour: RuleType[Any]) -> None:
    """Whether the options fit the rule's type.

    :raises InputError: `recovery` names a number that the type has not, or on the wrong side.
    """
    node, recovery = given.node("recovery"), options.recovery
    if node is None or recovery is None or (recovery.below is None and recovery.above is None):
        return
    if not isinstance(behaviour, Measured):
        fail(node, "this type has no number that alarms recover by", "after: {minutes: 10}")
    threshold = threshold_of(behaviour)
    if behaviour.side == "above":
        if recovery.below is None:
            fail(node, "alarms of this type begin above a number", "below")
        if threshold is not None and recovery.below > threshold:
            fail(node, f"{recovery.below:g} is not below where alarms begin", f"at most {threshold:g}")
    elif recovery.above is None:
        fail(node, "alarms of this type begin below a number", "above")
    elif threshold is not None and recovery.above < threshold:
        fail(node, f"{recovery.above:g} is not above where alarms begin", f"at least {threshold:g}")


def is_measured(options: AlarmOptions) -> bool:
    """Whether somebody will ask for a type's number."""
    tiers = (tier.when for tier in options.tiers)
    by_number = any(when.above is not None or when.below is not None for when in tiers)
    return options.recovery is not None or bool(options.pending) or by_number


def _recovery(node: Node, what: str) -> Recovery | None:
    if not isinstance(node, MappingNode):
        return Recovery() if boolean(node, what) else None
    fields = Fields(node, what, ("after", "below", "above", "for"))
    after = _optional(fields, "after", _length)
    if after is not None:
        for name in ("below", "above", "for"):
            if name in fields:
                fail(node, f"'after' beside {name!r} in {what}", "either a time without matches, or a number")
    below, above = _optional(fields, "below", _number), _optional(fields, "above", _number)
    if below is not None and above is not None:
        fail(node, f"'below' and 'above' in {what}", "one of them")
    return Recovery(after, below, above, _optional(fields, "for", span(zero=True)) or timedelta(0))


def _hours_option(node: Node, what: str) -> tuple[Hours, str]:
    """Hours, and what happens outside of them."""
    fields = Fields(node, what, (*_HOURS, "only", "not", "outside"))
    place = fields.get("outside")
    outside = "hold" if place is None else choice_of(place, "way to treat what happens outside", _OUTSIDE)
    return _hours_of(fields, node, what), outside


def _hours(node: Node, what: str) -> Hours:
    return _hours_of(Fields(node, what, (*_HOURS, "only", "not")), node, what)


def _hours_of(fields: Fields, node: Node, what: str) -> Hours:
    """Hours as they are, or a list of them in `only` or in `not`."""
    for name in ("only", "not"):
        periods = fields.get(name)
        if periods is None:
            continue
        for other in ("only", "not", *_HOURS):
            if other != name and other in fields:
                fail(node, f"{name!r} beside {other!r} in {what}", "one of them")
        found = tuple(_period(Fields(item, what, _HOURS), what) for item in items_of(periods))
        return Hours(found, inverted=name == "not")
    return Hours((_period(fields, what),))


def _period(fields: Fields, what: str) -> Period:
    holidays = items_of(fields.get("holidays"))
    if len(holidays) > _MAX_HOLIDAYS:
        fail(fields.node, f"{len(holidays)} holidays in {what}", f"at most {_MAX_HOLIDAYS}")
    if not any(name in fields for name in ("days", "from", "to")):
        fail(fields.node, f"{what} say neither days nor times", "days, from, to")
    days = fields.get("days")
    zone = fields.get("zone")
    return Period(
        days=frozenset(range(7)) if days is None else _days(days),
        start=_optional(fields, "from", _minute) or 0,
        end=24 * 60 if fields.get("to") is None else _minute(fields.require("to"), "to"),
        zone="UTC" if zone is None else _zone(zone),
        holidays=frozenset(parsed(item, "holiday", _date) for item in holidays),
    )


def _minute(node: Node, what: str) -> int:
    found = _TIME.fullmatch(text_of(node, what))
    minute = 0 if found is None else int(found[1]) * 60 + int(found[2])
    if found is None or minute > 24 * 60:
        fail(node, f"{what} is no time of the day", '"09:00"')
    return minute


def _days(node: Node) -> frozenset[int]:
    """`mon-fri`, `mon, wed`, or a list of those."""
    found: set[int] = set()
    for item in items_of(node):
        for part in text_of(item, "days").lower().split(","):
            first, dash, last = (each.strip()[:3] for each in part.partition("-"))
            if first not in DAYS or (dash and last not in DAYS):
                fail(item, f"{part.strip()[:20]!r} is no day", ", ".join(DAYS))
            start = DAYS.index(first)
            count = (DAYS.index(last) - start) % 7 if dash else 0
            found.update((start + step) % 7 for step in range(count + 1))
    return frozenset(found)


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("a date such as 2026-12-25") from None


def _zone(node: Node) -> str:
    return parsed(node, "time zone", lambda text: str(zone_of(text)))


def _severity(node: Node, what: str) -> tuple[Severity | None, tuple[Tier, ...]]:
    """One level, or tiers of which the first that holds counts; a bare level ends them."""
    level: Severity | None = None
    tiers: list[Tier] = []
    for item in items_of(node):
        if level is not None:
            fail(item, "a tier after one that always holds", "nothing")
        if isinstance(item, MappingNode):
            fields = Fields(item, f"a tier of {what}", ("level", "when"))
            found = choice_of(fields.require("level"), "severity", _LEVELS)
            tiers.append(Tier(found, _when(fields.require("when"))))
        else:
            level = choice_of(item, what, _LEVELS)
    return level, tuple(tiers)


def _when(node: Node) -> When:
    fields = Fields(node, "'when'", ("matches", "below", "above", "filter", "open_for", "hours"))
    query = fields.get("filter")
    return When(
        matches=_optional(fields, "matches", integer(1, 1_000_000_000)) or 0,
        below=_optional(fields, "below", _number),
        above=_optional(fields, "above", _number),
        filter=None if query is None else compile_filter(query, []),
        open_for=_optional(fields, "open_for", _length) or timedelta(0),
        hours=_optional(fields, "hours", _hours),
    )


def split_when(node: Node) -> tuple[Node, Route | None]:
    """The options of one entry of `alert` without its `when`, and what that says.

    :raises InputError: the `when` is not understood.
    """
    if not isinstance(node, MappingNode):
        return node, None
    found = next((item for key, item in node.entries if key.text == "when"), None)
    if found is None:
        return node, None
    rest = tuple((key, item) for key, item in node.entries if key.text != "when")
    return replace(node, entries=rest), _route(found)


def _route(node: Node) -> Route:
    fields = Fields(node, "'when' of an alert", ("severity", "hours", "key", "status"))
    return Route(
        severities=frozenset(level for item in items_of(fields.get("severity")) for level in _levels(item)),
        hours=_optional(fields, "hours", _hours),
        keys=tuple(text_of(item, "key") for item in items_of(fields.get("key"))),
        statuses=frozenset(choice_of(item, "status", _STATUSES) for item in items_of(fields.get("status"))),
    )


def _levels(node: Node) -> list[Severity]:
    """`high`, or `">= high"`."""
    found = _AT_LEAST.fullmatch(text_of(node, "severity").strip())
    if found is None:
        return [choice_of(node, "severity", _LEVELS)]
    if found[1].lower() not in _LEVELS:
        fail(node, f"{found[1][:20]!r} is no severity", ", ".join(_LEVELS))
    return [level for level in Severity if level.rank >= _LEVELS[found[1].lower()].rank]


def _optional(fields: Fields, name: str, read: Any) -> Any:
    node = fields.get(name)
    return None if node is None else read(node, name)


GROUP: OptionGroup = OptionGroup(
    "alarm",
    (
        Option("realert", span(zero=True)),
        Option("realert_key", text),
        Option("exponential_realert", span()),
        Option("pending", span(zero=True), default=timedelta(0)),
        Option("recovery", _recovery),
        Option("hours", _hours_option),
        Option("limit_execution", text),
        Option("limit_execution_zone", text, default="UTC"),
        Option("limit_execution_coverage", boolean, default=False),
        Option("max_lateness", span()),
        Option("severity", _severity),
    ),
    _read,
)
