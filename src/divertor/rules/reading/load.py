"""A rule file's text → `Rule`, or a refusal that says where and why.

ElastAlert's options come in four kinds: acted upon (declared by a group here, a rule type or an alerter);
accepted without effect, mostly because they describe polling Elasticsearch, which does not happen here;
refused because ignoring them would change what is alerted; unknown. A rule is taken whole or not at all.
Pure: reading files is `files.py`. `lint.py` goes the same way and collects all refusals.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import PurePath
from typing import Any, ParamSpec, TypeVar

from divertor.errors import InputError
from divertor.model.documents import Node, Scalar, to_value
from divertor.model.fields import fail, items_of, suggestion, text_of
from divertor.rules.alerters import (
    alert_option_names,
    alert_warnings,
    alerter_names,
    find_alerter,
    is_users_option,
    read_alerts,
)
from divertor.rules.filters.clauses import all_of
from divertor.rules.filters.dsl import compile_filter
from divertor.rules.filters.filter import EVERYTHING, Filter, Selecting
from divertor.rules.reading import alarm_options, enriching, timing, words
from divertor.rules.reading.eql_rules import sequence_of
from divertor.rules.reading.importing import ALONE, Drawn, Surroundings, whole
from divertor.rules.reading.options import (
    Given,
    Option,
    OptionGroup,
    boolean,
    mapping,
    refuse,
    span,
    text,
    texts,
)
from divertor.rules.reading.plugins import DOTTED, rule_type_at
from divertor.rules.reading.vocabulary import ALIASES, REFUSED, WITHOUT_EFFECT, WITHOUT_EFFECT_PREFIXES
from divertor.rules.rule import AlertSpec, Clock, Rule
from divertor.rules.running import aggregation
from divertor.rules.sigma.translation import Translation, looks_like_sigma, translate_one
from divertor.rules.types import TYPES, custom
from divertor.rules.types.contract import RuleType, Settings, TypeDeclaration
from divertor.rules.types.correlation import Correlation

T = TypeVar("T")
P = ParamSpec("P")
Report = Callable[[InputError], None]

#: Options of every rule, by who acts upon them: a group's value is the attribute of `Rule` of its name.
GROUPS: tuple[OptionGroup, ...] = (
    alarm_options.GROUP,
    aggregation.GROUP,
    timing.GROUP,
    words.GROUP,
    enriching.GROUP,
    enriching.LINKS,
)

#: Options of every rule that are acted upon.
COMMON = {
    option.name: option
    for option in (
        *(option for group in GROUPS for option in group.options),
        Option("name", text),
        Option("type", text, required=True),
        Option("index", texts, required=True),
        Option("is_enabled", boolean, default=True),
        Option("query_key", texts, default=()),
        Option("use_strftime_index", boolean, default=False),
        Option("dry_run", boolean, default=False),
        Option("include", texts, default=()),
        Option("sigma", mapping),
        Option("alert_time_limit", span(), default=timedelta(days=2)),
    )
}

#: Read by others than `COMMON`'s readers.
STRUCTURED = frozenset({"filter", "alert", "import"})


def load_rule(text: str, source: str, around: Surroundings = ALONE) -> Rule:
    """The rule in a YAML text. `source` names it in errors, and its stem is the rule's name if it has none.

    :raises InputError: not one mapping, an option that is unknown, refused, missing or ill-formed.
    """
    rule = read_rule(text, source, around, refuse, [])
    assert rule is not None, "nothing was refused"
    return rule


def read_rule(
    text: str, source: str, around: Surroundings, report: Report, warnings: list[str]
) -> Rule | None:
    """The rule, or None after `report` was told why not; what its author may want to know is added to
    `warnings`.
    """
    drawn = Drawn()
    if looks_like_sigma(text):
        return _read_sigma(text, source, around, report, warnings)
    attempts = _Attempts(lambda problem: report(drawn.without_secrets(problem)))
    given = attempts.do(whole, text, source, around, drawn)
    if given is None:
        return None
    given = replace(renamed(given, attempts.report), report=attempts.report)
    rule = _rule(given, source, text, attempts, warnings)
    warnings[:] = [drawn.redacted(warning) for warning in warnings]
    return None if rule is None else replace(rule, drawn=drawn.digest(), warnings=tuple(warnings))


def _read_sigma(
    text: str, source: str, around: Surroundings, report: Report, warnings: list[str]
) -> Rule | None:
    try:
        translation = translate_one(text, source)
    except InputError as problem:
        report(problem)
        return None
    return read_translation(translation, around, report, warnings)


def read_translation(
    translation: Translation, around: Surroundings, report: Report, warnings: list[str]
) -> Rule | None:
    """A Sigma rule once it is said as an ordinary one; what is refused then is what it says of alerts."""

    def moved(problem: InputError) -> None:
        report(InputError(problem.message, translation.place, problem.expected))

    warnings.extend(translation.warnings)
    return read_rule(translation.text, translation.source, around, moved, warnings)


#: What a step may stumble over when an earlier one has refused a value and left it out.
_STUMBLES = (TypeError, AttributeError, LookupError, ValueError)


class _Attempts:
    """One step after the other: what a step refuses is reported, and the next is done all the same, unless
    reporting ends it.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._count = 0

    @property
    def failed(self) -> bool:
        return self._count > 0

    def report(self, problem: InputError) -> None:
        self._count += 1
        self._report(problem)

    def do(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """What the step makes; None when it refuses."""
        try:
            return step(*args, **kwargs)
        except InputError as problem:
            self.report(problem)
        except _STUMBLES:
            if not self.failed:
                raise
        return None

    def in_parts(self, read: Callable[[Node], T], node: Node) -> T | None:
        """What is read of a list; when it is refused, what each of its items is refused for."""
        whole_problem = None
        try:
            return read(node)
        except InputError as problem:
            whole_problem = problem
        except _STUMBLES:
            if not self.failed:
                raise
        before = self._count
        for item in items_of(node):
            self.do(read, item)
        if whole_problem is not None and self._count == before:
            self.report(whole_problem)
        return None


def _rule(given: Given, source: str, written: str, attempts: _Attempts, warnings: list[str]) -> Rule | None:
    attempts.do(_check_type, given)
    attempts.do(_check_alerters, given)
    known = known_names()
    for name in given.entries:
        attempts.do(_check_name, name, given, known)
    options = given.read_all(COMMON.values(), "a rule")
    options["name"] = name = attempts.do(_name, options["name"], given, source) or "?"
    groups: dict[str, Any] = {group.name: attempts.do(group.read, given, options) for group in GROUPS}
    index = attempts.do(_index, given, options)
    sequence = attempts.do(_sequence, given, groups)
    predicate = _filter(given, attempts, warnings) if sequence is None else EVERYTHING
    alerts = attempts.do(_alerts, _named(given, name), attempts)
    declaration = attempts.do(_declaration, given)
    made: RuleType[Any] | None = sequence
    if declaration is not None and sequence is None:
        made = attempts.do(_behaviour, given, declaration, options, groups)
    warnings.extend(attempts.do(_warnings, given, declaration, alerts or ()) or ())
    if attempts.failed or declaration is None or made is None or predicate is None:
        return None
    return Rule(
        name=name,
        type=declaration.name,
        behaviour=made,
        index=index or (),
        filter=_narrowed(predicate, made),
        alerts=alerts or (),
        query_key=options["query_key"],
        include=options["include"],
        is_enabled=options["is_enabled"],
        properties={key: to_value(item) for key, (_key, item) in given.entries.items()} | {"name": name},
        source=source,
        text=written,
        retry_for=options["alert_time_limit"],
        dry_run=options["dry_run"],
        **groups,
    )


def renamed(given: Given, report: Report = refuse) -> Given:
    """With options under the names they have today."""
    entries = dict(given.entries)
    for name in ALIASES.keys() & entries.keys():
        key, item = entries.pop(name)
        if ALIASES[name] in entries:
            report(InputError(f"{name!r} says {ALIASES[name]!r} a second time", key.position))
        entries[ALIASES[name]] = (key, item)
    return replace(given, entries=entries)


def _required(given: Given, name: str) -> Node:
    node = given.node(name)
    if node is None:
        raise InputError(f"a rule without {name!r}", given.position, f"the option {name!r}")
    return node


def _check_type(given: Given) -> None:
    """A type that does not exist is told before its options, which are then unknown too."""
    if given.node("type") is not None:
        _declaration(given)


def _check_alerters(given: Given) -> None:
    for name, node in alerter_names(given.node("alert")):
        find_alerter(name, node)


def _check_name(name: str, given: Given, known: frozenset[str]) -> None:
    """Every key is known; a misspelt one would otherwise quietly not do what its author thinks."""
    key, _item = given.entries[name]
    refusal = REFUSED.get(name)
    if refusal is not None:
        fail(key, f"the option {name!r} is refused: {refusal.why}", refusal.instead)
    if name in known or (name.startswith(WITHOUT_EFFECT_PREFIXES) and not _is_nearly(name, known)):
        return
    if not is_users_option(name, given.node("alert")) and not _is_option_of_custom_type(name, given):
        fail(key, f"unknown option {name[:80]!r}", nearest(name, known))


def _is_option_of_custom_type(name: str, given: Given) -> bool:
    """Whether the rule's type is the user's own, which knows its options; not what is nearly a common one."""
    node = given.node("type")
    kind = None if node is None else to_value(node)
    if not isinstance(kind, str) or not DOTTED.fullmatch(kind):
        return False
    return not _is_nearly(name, [*COMMON, *STRUCTURED])


def _is_nearly(name: str, known: Iterable[str]) -> bool:
    """Whether it looks like a known name misspelt."""
    return bool(difflib.get_close_matches(name[:100], list(known), n=1, cutoff=0.85))


def nearest(name: str, known: frozenset[str]) -> str:
    """The known name that is most like this one, or what kind of name is expected."""
    near = difflib.get_close_matches(name[:100], sorted(known - ALIASES.keys()), n=1)
    return repr(near[0]) if near else "an option of rules"


@cache
def known_names() -> frozenset[str]:
    """Every option that a rule may have, of whatever kind but refused."""
    own = {option.name for declared in TYPES.values() for option in declared.options}
    return (
        frozenset(own) | alert_option_names() | set(COMMON) | STRUCTURED | set(WITHOUT_EFFECT) | set(ALIASES)
    )


def _declaration(given: Given) -> TypeDeclaration[Any]:
    node = _required(given, "type")
    name = text_of(node, "type")
    if DOTTED.fullmatch(name):
        try:
            return custom.declare(name, rule_type_at(name), tuple(given.entries))
        except ValueError as problem:
            fail(node, f"type {name[:80]!r}: {problem}", "a class that Python finds, module.Class")
    if name not in TYPES:
        fail(node, f"unknown rule type {name[:80]!r}", suggestion(name, TYPES))
    return TYPES[name]


def _behaviour(
    given: Given, declaration: TypeDeclaration[Any], common: Mapping[str, Any], groups: Mapping[str, Any]
) -> RuleType[Any]:
    """The type with its options; those that make no sense together are refused where the type is named."""
    options = given.read_all(declaration.options, f"type {declaration.name}")
    try:
        made = declaration.make(options, _settings(common, groups))
    except ValueError as problem:
        fail(_required(given, "type"), f"type {declaration.name}: {problem}")
    alarm_options.check(given, groups["alarm"], made)
    return made


def _settings(common: Mapping[str, Any], groups: Mapping[str, Any]) -> Settings:
    clock: Clock = groups["clock"]
    alarm = groups["alarm"]
    return Settings(
        query_key=common["query_key"],
        compatible=clock.compatible,
        run_every=clock.run_every,
        buffer_time=clock.buffer_time,
        timestamp_field=clock.field,
        measured=alarm_options.is_measured(alarm),
        late=_late(groups),
    )


def _sequence(given: Given, groups: Mapping[str, Any]) -> Correlation | None:
    return sequence_of(given.node("filter"), given.node("type"), _late(groups))


def _late(groups: Mapping[str, Any]) -> timedelta:
    """How much later than it happened an event may come and still join others of its time."""
    lateness: timedelta | None = groups["alarm"].max_lateness
    clock: Clock = groups["clock"]
    return clock.buffer_time if lateness is None else lateness


def _name(name: str | None, given: Given, source: str) -> str:
    name = PurePath(source).stem if name is None else name
    if not name.strip() or len(name) > 200 or not name.isprintable():
        raise InputError("no usable name", given.position, "1 to 200 printable characters")
    return name


def _named(given: Given, name: str) -> Given:
    """With the rule's name, should it be its file's."""
    if "name" in given.entries:
        return given
    named = Scalar(name, name, given.position, quoted=True)
    return replace(given, entries={**given.entries, "name": (named, named)})


def _index(given: Given, options: Mapping[str, Any]) -> tuple[str, ...]:
    patterns = [part.strip() for item in options["index"] or () for part in item.split(",")]
    if options["use_strftime_index"]:
        patterns = [_any_date(pattern) for pattern in patterns]
    for pattern in patterns:
        if not pattern or pattern.startswith("-") or "<" in pattern:
            fail(
                _required(given, "index"),
                f"the index pattern {pattern[:80]!r}",
                "names with *, not exclusions",
            )
    return tuple("*" if pattern == "_all" else pattern for pattern in patterns)


def _any_date(pattern: str) -> str:
    """`logs-%Y.%m.%d` as `logs-*.*.*`: events here are in an index by what they are, not by their day."""
    head, *rest = pattern.split("%")
    return head + "".join("*" + part[1:] for part in rest)


def _filter(given: Given, attempts: _Attempts, warnings: list[str]) -> Filter | None:
    node = given.node("filter")
    if node is None:
        return compile_filter(None, warnings)
    return attempts.in_parts(lambda part: compile_filter(part, warnings), node)


def _narrowed(predicate: Filter, behaviour: RuleType[Any]) -> Filter:
    """What of the events that pass the filter concerns the type."""
    if not isinstance(behaviour, Selecting):
        return predicate
    return behaviour.selects if predicate is EVERYTHING else all_of([predicate, behaviour.selects])


def _alerts(given: Given, attempts: _Attempts) -> tuple[AlertSpec, ...] | None:
    return attempts.in_parts(lambda part: read_alerts(part, given), _required(given, "alert"))


def _warnings(
    given: Given, declaration: TypeDeclaration[Any] | None, alerts: tuple[AlertSpec, ...]
) -> list[str]:
    found = [text for alert in alerts for text in alert_warnings(alert)]
    if declaration is None:
        return found
    own = {option.name for option in declaration.options} | set(COMMON) | alert_option_names()
    others = {option.name for other in TYPES.values() for option in other.options} - own
    for name, (key, _item) in given.entries.items():
        if name in others:
            found.append(f"{key.position}: {name} has no effect with type {declaration.name}")
    return found
