"""Sigma correlations as rule types: counts, values, metrics, and events that belong together.

`event_count` is `frequency` or `flatline`, `value_count` is `cardinality`, `temporal` is `correlation`,
`temporal_ordered` is `sequence`, sums, averages, medians and percentiles are `metric_aggregation`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from divertor.rules.sigma.detection import Query, UnsupportedError

#: The filter of a rule that a correlation names.
Filters: TypeAlias = Callable[[Any], list[Query]]

_METRICS = {
    "VALUE_SUM": "sum",
    "VALUE_AVG": "avg",
    "VALUE_MEDIAN": "percentiles",
    "VALUE_PERCENTILE": "percentiles",
}


def correlation_options(rule: Any, filters: Filters, name_of: Callable[[str], str]) -> dict[str, Any]:
    """The type's options of a correlation (pySigma's, references resolved). `name_of` says what events call a
    field of Sigma.

    :raises UnsupportedError: a type or a condition that no rule type stands for.
    """
    kind = rule.type.name
    span = {"seconds": rule.timespan.seconds}
    if kind in ("TEMPORAL", "TEMPORAL_ORDERED"):
        return _temporal(rule, filters, name_of, span)
    references = rule.rules or ()
    fields = [name_of(name) for name in _group_fields(rule, references)]
    # Events without a field that they are grouped by belong to no group.
    there: list[Query] = [{"exists": {"field": name}} for name in fields]
    common: dict[str, Any] = {"filter": [_any_of(references, filters), *there]}
    if fields:
        common["query_key"] = fields
    if kind == "EVENT_COUNT":
        return common | _event_count(rule.condition, span)
    field = name_of(_field(rule.condition))
    if kind == "VALUE_COUNT":
        return common | {"cardinality_field": field} | _value_count(rule.condition, span)
    return common | {"metric_agg_key": field} | _metric(rule.condition, kind, span)


def _any_of(references: Any, filters: Filters) -> Query:
    each = [{"bool": {"must": filters(_plain(reference))}} for reference in references]
    return each[0] if len(each) == 1 else {"bool": {"should": each}}


def _plain(reference: Any) -> Any:
    from sigma.rule import SigmaRule

    if not isinstance(reference.rule, SigmaRule):
        raise UnsupportedError(f"a correlation of a correlation ({reference.reference}) is not supported")
    return reference.rule


def _group_fields(rule: Any, references: Any) -> list[str]:
    """The fields that keep events apart; an alias is what the one rule calls it."""
    aliases = rule.aliases.aliases
    fields: list[str] = []
    for name in rule.group_by or ():
        if name not in aliases:
            fields.append(name)
            continue
        mapped = {_alias(aliases[name], reference) for reference in references}
        if len(mapped) != 1 or None in mapped:
            raise UnsupportedError(
                f"the alias {name} of several rules is supported in temporal correlations only"
            )
        fields.append(str(mapped.pop()))
    return fields


def _alias(alias: Any, reference: Any) -> str | None:
    named = {one.reference: field for one, field in alias.mapping.items()}
    found = named.get(reference.reference)
    return None if found is None else str(found)


def _event_count(condition: Any, span: dict[str, int]) -> dict[str, Any]:
    operator, count = _whole(condition)
    match operator:
        case "GTE":
            return {"type": "frequency", "num_events": max(count, 1), "timeframe": span}
        case "GT":
            return {"type": "frequency", "num_events": count + 1, "timeframe": span}
        case "LT":
            return {"type": "flatline", "threshold": count, "timeframe": span}
        case "LTE":
            return {"type": "flatline", "threshold": count + 1, "timeframe": span}
    raise UnsupportedError(f"the condition {operator.lower()} of event_count is not supported")


def _value_count(condition: Any, span: dict[str, int]) -> dict[str, Any]:
    operator, count = _whole(condition)
    options = {"type": "cardinality", "timeframe": span}
    match operator:
        case "GTE":
            return options | {"max_cardinality": max(count - 1, 0)}
        case "GT":
            return options | {"max_cardinality": count}
        case "LT":
            return options | {"min_cardinality": count}
        case "LTE":
            return options | {"min_cardinality": count + 1}
    raise UnsupportedError(f"the condition {operator.lower()} of value_count is not supported")


def _metric(condition: Any, kind: str, span: dict[str, int]) -> dict[str, Any]:
    options: dict[str, Any] = {
        "type": "metric_aggregation",
        "metric_agg_type": _METRICS[kind],
        "buffer_time": span,
    }
    if kind == "VALUE_MEDIAN":
        options["percentile_range"] = 50
    if kind == "VALUE_PERCENTILE":
        if condition.percentile is None:
            raise UnsupportedError("value_percentile without 'percentile' is not supported")
        options["percentile_range"] = condition.percentile
    number = float(condition.count)
    match condition.op.name:
        case "GT":
            return options | {"max_threshold": number}
        case "GTE":
            # Thresholds are strict: beyond the next smaller number means from this one on.
            return options | {"max_threshold": math.nextafter(number, -math.inf)}
        case "LT":
            return options | {"min_threshold": number}
        case "LTE":
            return options | {"min_threshold": math.nextafter(number, math.inf)}
    raise UnsupportedError(f"the condition {condition.op.name.lower()} of {kind.lower()} is not supported")


def _whole(condition: Any) -> tuple[str, int]:
    if not isinstance(condition.count, int):
        raise UnsupportedError("a count that is no whole number is not supported")
    return condition.op.name, condition.count


def _field(condition: Any) -> str:
    if not isinstance(condition.fieldref, str):
        raise UnsupportedError("a condition on several fields, or on none, is not supported")
    return condition.fieldref


def _temporal(
    rule: Any, filters: Filters, name_of: Callable[[str], str], span: dict[str, int]
) -> dict[str, Any]:
    ordered = rule.type.name == "TEMPORAL_ORDERED"
    group = [name_of(name) for name in rule.group_by or ()]
    events: list[dict[str, Any]] = []
    for references, without in _parts(rule):
        event = _event(references, without, filters)
        key = [name_of(name) for name in _shared_key(rule, references)]
        events.append(event if key == group else {**event, "key": key})
    options: dict[str, Any] = {
        "type": "sequence" if ordered else "correlation",
        "events": events,
        "timeframe": span,
    }
    return options | ({"query_key": group} if group else {})


def _parts(rule: Any) -> list[tuple[list[Any], bool]]:
    """The events that belong together: alternatives, and whether there must be none."""
    from sigma.correlations import SigmaExtendedCorrelationCondition

    condition = rule.condition
    if isinstance(condition, SigmaExtendedCorrelationCondition):
        resolved = {reference.reference: reference for reference in rule.referenced_rules}
        parts = _extended(condition.parsed)
        return [([resolved[one.reference] for one in ones], without) for ones, without in parts]
    references = list(rule.rules or ())
    if condition is not None and (condition.op.name, condition.count) not in (
        ("GTE", len(references)),
        ("EQ", len(references)),
        ("GT", len(references) - 1),
    ):
        raise UnsupportedError("a temporal correlation of fewer events than it names is not supported")
    return [([reference], False) for reference in references]


def _extended(node: Any) -> list[tuple[list[Any], bool]]:
    from sigma import correlations

    match node:
        case correlations.CorrelationConditionAND():
            return [part for one in node.args for part in _extended(one)]
        case correlations.CorrelationConditionNOT():
            return [(_alternatives(node.args[0]), True)]
    return [(_alternatives(node), False)]


def _alternatives(node: Any) -> list[Any]:
    from sigma import correlations

    if isinstance(node, correlations.SigmaRuleReference):
        return [node]
    if isinstance(node, correlations.CorrelationConditionOR):
        return [one for part in node.args for one in _alternatives(part)]
    raise UnsupportedError("a condition that is not a conjunction of rules, their alternatives and negations")


def _event(references: list[Any], without: bool, filters: Filters) -> dict[str, Any]:
    event: dict[str, Any] = {
        "name": " or ".join(reference.reference for reference in references),
        "filter": [_any_of(references, filters)],
    }
    return event | ({"without": True} if without else {})


def _shared_key(rule: Any, references: list[Any]) -> list[str]:
    keys = {tuple(_keys(rule, reference)) for reference in references}
    if len(keys) > 1:
        raise UnsupportedError("alternatives whose aliases differ are not supported")
    return list(keys.pop())


def _keys(rule: Any, reference: Any) -> list[str]:
    aliases = rule.aliases.aliases
    found = []
    for name in rule.group_by or ():
        mapped = _alias(aliases[name], reference) if name in aliases else name
        if mapped is None:
            raise UnsupportedError(f"the alias {name} does not say what {reference.reference} calls it")
        found.append(mapped)
    return found
