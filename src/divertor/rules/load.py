"""A rule file's text → `Rule`, or a refusal that says where and why.

ElastAlert's options come in four kinds: acted upon; accepted without effect because they describe polling
Elasticsearch, which does not happen here; refused because ignoring them would change what is alerted;
unknown. A rule is taken whole or not at all. Pure: reading files is `files.py`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from divertor.errors import InputError, Position
from divertor.model.documents import MappingNode, Node, Scalar, parse_documents, to_value
from divertor.model.fields import fail, suggestion, text_of
from divertor.rules import aggregation, alarm_options
from divertor.rules.alerters import (
    alert_option_names,
    alert_warnings,
    alerter_names,
    find_alerter,
    is_users_option,
    read_alerts,
)
from divertor.rules.dsl import compile_filter
from divertor.rules.options import Given, Option, OptionGroup, boolean, integer, text, text_mapping, texts
from divertor.rules.rule import AlertSpec, Clock, Rule, TextOptions
from divertor.rules.template import Template, literal, parse_template
from divertor.rules.types import TYPES, UNSUPPORTED_TYPES
from divertor.rules.types.contract import RuleType, Settings, TypeDeclaration

_TEXT_KINDS = ("", "alert_text_only", "exclude_fields")
_UNSUPPORTED_TEXT_KINDS = ("aggregation_summary_only", "alert_text_jinja")

#: Options of every rule, by who acts upon them: a group's value is the attribute of `Rule` of its name.
GROUPS: tuple[OptionGroup, ...] = (alarm_options.GROUP, aggregation.GROUP)

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
        Option("timestamp_field", text, default="@timestamp"),
        Option("timestamp_type", text, default="iso"),
        Option("use_strftime_index", boolean, default=False),
        Option("include", texts, default=()),
        Option("alert_subject", text),
        Option("alert_subject_args", texts, default=()),
        Option("alert_subject_max_len", integer(0, 100_000), default=2048),
        Option("alert_text", text),
        Option("alert_text_args", texts, default=()),
        Option("alert_text_kw", text_mapping, default={}),
        Option("alert_text_type", text, default=""),
        Option("alert_missing_value", text, default="<MISSING VALUE>"),
    )
}

#: Read by others than `COMMON`'s readers.
_STRUCTURED = frozenset({"filter", "alert"})

#: Accepted without effect: they say how to poll Elasticsearch, or are remarks for people.
WITHOUT_EFFECT = frozenset(
    """_source_enabled buffer_time category description doc_type es_host es_port es_username es_password
    es_url_prefix es_send_get_body_as es_conn_timeout es_bearer es_api_key es_hosts max_query_size
    max_scrolling_count old_query_limit owner priority query_delay run_every scan_entire_timeframe
    scroll_keepalive search_extra_index ssl_show_warn terms_size use_count_query use_ssl use_terms_query
    verify_certs ca_certs client_cert client_key aws_region profile""".split()
)
WITHOUT_EFFECT_PREFIXES = ("es_", "kibana_", "opensearch_")

#: Refused: to ignore them would alert on something else, at another time, or with another text.
REFUSED = frozenset(
    """alert_on_new_data custom_pretty_ts_format
    generate_kibana_discover_url generate_kibana_link generate_opensearch_discover_url
    import include_fields include_rule_params_in_matches jinja_filters jinja_root_name jinja_template_path
    match_enhancements raw_count_keys
    run_enhancements_first summary_prefix summary_suffix summary_table_fields summary_table_max_rows
    summary_table_type timestamp_format timestamp_format_expr timestamp_to_datetime_format_expr top_count_keys
    top_count_number use_kibana4_dashboard use_kibana_dashboard use_local_time""".split()
)


def load_rule(text: str, source: str) -> Rule:
    """The rule in a YAML text. `source` names it in errors, and its stem is the rule's name if it has none.

    :raises InputError: not one mapping, an option that is unknown, refused, missing or ill-formed.
    """
    given = Given.of(_document(text, source), "a rule")
    _check_kinds(given)
    _check_names(given)
    options = given.read_all(COMMON.values(), "a rule")
    declaration = _declaration(given, options["type"])
    name = _name(options["name"], given, source)
    warnings: list[str] = []
    predicate = compile_filter(given.node("filter"), warnings)
    alerts = read_alerts(_required(given, "alert"), given)
    settings = Settings(options["query_key"], measured=alarm_options.is_measured(options))
    behaviour = _behaviour(given, declaration, settings)
    groups = {group.name: group.read(given, {**options, "name": name}) for group in GROUPS}
    alarm_options.check(given, groups["alarm"], behaviour)
    warnings.extend(_warnings(given, declaration, alerts))
    return Rule(
        name=name,
        type=declaration.name,
        behaviour=behaviour,
        index=_index(given, options),
        filter=predicate,
        alerts=alerts,
        words=_words(given, options, name),
        query_key=options["query_key"],
        **groups,
        clock=Clock(_timestamp_field(given, options)),
        include=options["include"],
        is_enabled=options["is_enabled"],
        properties={key: to_value(item) for key, (_key, item) in given.entries.items()} | {"name": name},
        source=source,
        text=text,
        warnings=tuple(warnings),
    )


def _document(text: str, source: str) -> MappingNode:
    documents = parse_documents(text, source)
    if len(documents) != 1:
        raise InputError(f"{len(documents)} documents", Position(source, 1, 1), "one rule in a file")
    (node,) = documents
    if not isinstance(node, MappingNode):
        fail(node, "not a rule", "a mapping with name, type, index, filter and alert")
    return node


def _required(given: Given, name: str) -> Node:
    node = given.node(name)
    if node is None:
        raise InputError(f"a rule without {name!r}", given.position, f"the option {name!r}")
    return node


def _check_kinds(given: Given) -> None:
    """A type or an alerter that does not exist is told before its options, which are then unknown too."""
    kind = given.node("type")
    if kind is not None:
        _declaration(given, text_of(kind, "type"))
    for name, node in alerter_names(given.node("alert")):
        find_alerter(name, node)


def _check_names(given: Given) -> None:
    """Every key is known; a misspelt one would otherwise quietly not do what its author thinks."""
    known = _known_names()
    for name, (key, _item) in given.entries.items():
        if name in REFUSED:
            fail(key, f"the option {name!r} is not supported yet, and ignoring it would change the alerts")
        if name in known or name.startswith(WITHOUT_EFFECT_PREFIXES):
            continue
        if not is_users_option(name, given.node("alert")):
            fail(key, f"unknown option {name[:80]!r}", _nearest(name, known))


def _nearest(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return repr(near[0]) if near else "an option of rules"


def _known_names() -> set[str]:
    own = {option.name for declared in TYPES.values() for option in declared.options}
    return own | alert_option_names() | set(COMMON) | _STRUCTURED | WITHOUT_EFFECT


def _declaration(given: Given, name: str) -> TypeDeclaration[Any]:
    node = _required(given, "type")
    if name in UNSUPPORTED_TYPES or "." in name:
        fail(node, f"the rule type {name[:80]!r} is not supported yet", ", ".join(sorted(TYPES)))
    if name not in TYPES:
        fail(node, f"unknown rule type {name[:80]!r}", suggestion(name, TYPES))
    return TYPES[name]


def _behaviour(given: Given, declaration: TypeDeclaration[Any], settings: Settings) -> RuleType[Any]:
    """The type with its options; those that make no sense together are refused where the type is named."""
    options = given.read_all(declaration.options, f"type {declaration.name}")
    try:
        return declaration.make(options, settings)
    except ValueError as problem:
        fail(_required(given, "type"), f"type {declaration.name}: {problem}")


def _name(name: str | None, given: Given, source: str) -> str:
    name = PurePath(source).stem if name is None else name
    if not name.strip() or len(name) > 200 or not name.isprintable():
        raise InputError("no usable name", given.position, "1 to 200 printable characters")
    return name


def _index(given: Given, options: Mapping[str, Any]) -> tuple[str, ...]:
    patterns = [part.strip() for item in options["index"] for part in item.split(",")]
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


def _timestamp_field(given: Given, options: Mapping[str, Any]) -> str:
    if options["timestamp_type"] != "iso":
        fail(_required(given, "timestamp_type"), "timestamps other than iso are not supported yet", "iso")
    field: str = options["timestamp_field"]
    return field


def _words(given: Given, options: Mapping[str, Any], name: str) -> TextOptions:
    kind = options["alert_text_type"]
    if kind in _UNSUPPORTED_TEXT_KINDS:
        fail(
            _required(given, "alert_text_type"), f"{kind!r} is not supported yet", ", ".join(_TEXT_KINDS[1:])
        )
    if kind not in _TEXT_KINDS:
        fail(_required(given, "alert_text_type"), f"unknown {kind[:80]!r}", suggestion(kind, _TEXT_KINDS[1:]))
    subject = _template(given, "alert_subject", options["alert_subject_args"], {})
    named = {word: field for field, word in options["alert_text_kw"].items()}
    return TextOptions(
        subject=literal(name) if subject is None else subject,
        subject_max_length=options["alert_subject_max_len"],
        text=_template(given, "alert_text", options["alert_text_args"], named),
        kind=kind,
        missing=options["alert_missing_value"],
    )


def _template(given: Given, name: str, fields: tuple[str, ...], named: Mapping[str, str]) -> Template | None:
    """Without arguments a text is literal, braces and all."""
    node = given.node(name)
    if node is None:
        return None
    written = text_of(node, name)
    if not fields and not named:
        return literal(written)
    try:
        return parse_template(written, fields, named)
    except ValueError as problem:
        fail(node, f"{name}: {problem}", "one argument for every {}")


def _warnings(given: Given, declaration: TypeDeclaration[Any], alerts: tuple[AlertSpec, ...]) -> list[str]:
    warnings = [text for alert in alerts for text in alert_warnings(alert)]
    own = {option.name for option in declaration.options}
    others = {option.name for other in TYPES.values() for option in other.options} - own
    for name, (key, _item) in given.entries.items():
        if name in others:
            warnings.append(f"{_at(key)}: {name} has no effect with type {declaration.name}")
    return warnings


def _at(key: Scalar) -> str:
    return str(key.position)
