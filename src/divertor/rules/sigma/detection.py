"""A Sigma detection as queries of the filter language.

pySigma reads the rule and applies the modifiers; here its tree becomes `bool`, `term`, `wildcard` and so on,
so that a Sigma rule is compiled, explained and indexed like any other. Values are compared whole and, unless
`cased`, whatever their case, as Sigma says. What has no such query is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

#: A query of the filter language, as JSON.
Query: TypeAlias = dict[str, Any]

#: Names of event fields by names of Sigma fields; what is not named is called the same.
FieldNames: TypeAlias = Mapping[str, Sequence[str]]

#: Words of the query-string language that keywords have to escape.
_SPECIAL = frozenset('+-=&|><!(){}[]^"~*?:\\/ \t\r\n\u3000')


class UnsupportedError(ValueError):
    """A feature of Sigma that cannot be said as a filter; the message names it."""


def detection_queries(conditions: Sequence[Any], names: FieldNames) -> list[Query]:
    """The conditions of a rule (pySigma's `parsed_condition`), any of which may hold.

    :raises UnsupportedError: a modifier or a value has no query.
    """
    queries = [_query(condition.parsed, names) for condition in conditions]
    return queries if len(queries) == 1 else [_any(queries)]


def _query(node: Any, names: FieldNames) -> Query:
    from sigma import conditions

    match node:
        case conditions.ConditionAND():
            return {"bool": {"must": [_query(part, names) for part in node.args]}}
        case conditions.ConditionOR():
            return _any([_query(part, names) for part in node.args])
        case conditions.ConditionNOT():
            return _none([_query(part, names) for part in node.args])
        case conditions.ConditionFieldEqualsValueExpression():
            found = names.get(node.field, (node.field,))
            return _any([_field(name, node.value, names) for name in found])
        case conditions.ConditionValueExpression():
            return _keyword(node.value)
    raise UnsupportedError(f"{type(node).__name__} is not supported")


def _any(queries: list[Query]) -> Query:
    return queries[0] if len(queries) == 1 else {"bool": {"should": queries}}


def _none(queries: list[Query]) -> Query:
    return {"bool": {"must_not": queries}}


def _field(name: str, value: Any, names: FieldNames) -> Query:
    from sigma import types

    match value:
        case types.SigmaExpansion():
            return _any([_field(name, one, names) for one in value.values])
        case types.SigmaString():
            return _text(name, value)
        case types.SigmaTimestampPart():
            raise UnsupportedError(f"the modifier {value.timestamp_part.name.lower()} is not supported")
        case types.SigmaNumber():
            return {"term": {f"{name}.keyword": value.number}}
        case types.SigmaBool():
            return {"term": {f"{name}.keyword": value.boolean}}
        case types.SigmaNull():
            return _none([{"exists": {"field": name}}])
        case types.SigmaExists():
            there: Query = {"exists": {"field": name}}
            return there if value.exists else _none([there])
        case types.SigmaRegularExpression():
            flags = "".join(sorted(value.sigma_to_re_flag[flag] for flag in value.flags))
            return {"re": {name: {"value": str(value.regexp), "flags": flags}}}
        case types.SigmaCIDRExpression():
            return {"eql": f"any where cidrMatch({_quoted(name)}, {json.dumps(str(value.network))})"}
        case types.SigmaCompareExpression():
            return _comparison(name, value)
        case types.SigmaFieldReference():
            return _reference(name, value, names)
    raise UnsupportedError(f"a value of the kind {type(value).__name__} is not supported")


def _comparison(name: str, value: Any) -> Query:
    operator = value.op.name.lower()
    if operator == "neq":
        return _none([{"term": {f"{name}.keyword": value.number.number}}])
    from sigma import types

    if isinstance(value.number, types.SigmaTimestampPart):
        part = value.number.timestamp_part.name.lower()
        raise UnsupportedError(f"the modifier {part} is not supported")
    return {"range": {name: {operator: value.number.number}}}


def _reference(name: str, value: Any, names: FieldNames) -> Query:
    if value.starts_with or value.ends_with:
        raise UnsupportedError("fieldref together with startswith, endswith or contains is not supported")
    others = names.get(value.field, (value.field,))
    return _any([{"eql": f"any where {_quoted(name)} : {_quoted(other)}"} for other in others])


def _quoted(name: str) -> str:
    if "`" in name:
        raise UnsupportedError("a field name with a backquote is not supported")
    return f"`{name}`"


def _text(name: str, value: Any) -> Query:
    """The whole value, with wildcards if there are some."""
    from sigma.types import SigmaCasedString

    _refuse_placeholders(value)
    any_case = not isinstance(value, SigmaCasedString)
    more: Query = {"case_insensitive": True} if any_case else {}
    if all(isinstance(part, str) for part in value.s):
        return {"term": {f"{name}.keyword": {"value": "".join(value.s), **more}}}
    return {"wildcard": {f"{name}.keyword": {"value": _pattern(value, "\\*?"), **more}}}


def _refuse_placeholders(value: Any) -> None:
    if value.contains_placeholder():
        raise UnsupportedError("the modifier expand (placeholders) is not supported")


def _pattern(value: Any, special: str | frozenset[str]) -> str:
    """A text with wildcards, whose other characters are taken as they are."""
    from sigma.types import SpecialChars

    out: list[str] = []
    for part in value.s:
        if isinstance(part, str):
            out.extend(f"\\{one}" if one in special else one for one in part)
        else:
            out.append("*" if part is SpecialChars.WILDCARD_MULTI else "?")
    return "".join(out)


def _keyword(value: Any) -> Query:
    """A keyword is found anywhere in any value."""
    from sigma import types

    match value:
        case types.SigmaExpansion():
            return _any([_keyword(one) for one in value.values])
        case types.SigmaString():
            _refuse_placeholders(value)
            text = _pattern(value, _SPECIAL).strip("*")
            return {"query_string": {"query": f"*{text}*"}}
        case types.SigmaNumber():
            return {"query_string": {"query": f'"{value.number}"'}}
        case types.SigmaRegularExpression():
            flags = "".join(sorted(value.sigma_to_re_flag[flag] for flag in value.flags))
            return {"re": {"*": {"value": str(value.regexp), "flags": flags}}}
    raise UnsupportedError(f"a keyword of the kind {type(value).__name__} is not supported")
