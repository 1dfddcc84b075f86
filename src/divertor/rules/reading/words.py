"""The options that put matches into words: subject, text, templates, and the table above gathered matches.

What is read here is checked as far as it can be without a match; filling in is `divertor.alerts.text`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from divertor.model.documents import MappingNode, Node
from divertor.model.fields import fail, items_of, suggestion, text_of
from divertor.rules.reading.options import Given, Option, OptionGroup, integer, text, text_mapping, texts
from divertor.rules.rule import SummaryOptions, TextOptions
from divertor.rules.wording.jinja import JinjaTemplate, parse_jinja
from divertor.rules.wording.template import Template, literal, parse_template

T = TypeVar("T")

JINJA = "alert_text_jinja"
_KINDS = ("alert_text_only", "exclude_fields", "aggregation_summary_only", JINJA)
_TABLES = ("ascii", "markdown", "html")


def split_words(node: Node, rule: Given) -> tuple[Node, TextOptions | None]:
    """The options of an entry of `alert` without those that are about words, and what these make over the
    rule's own; None when there are none. `rule` has a name.
    """
    if not isinstance(node, MappingNode):
        return node, None
    names = {option.name for option in GROUP.options}
    own = tuple(entry for entry in node.entries if entry[0].text in names)
    if not own:
        return node, None
    rest = replace(node, entries=tuple(entry for entry in node.entries if entry[0].text not in names))
    given = Given.of(replace(node, entries=own), "an entry of alert").over(rule)
    values = given.read_all((*GROUP.options, Option("name", text, default="")), "an entry of alert")
    return rest, _read(given, values)


def _one_of(*words: str) -> Callable[[Node, str], str]:
    def read(node: Node, what: str) -> str:
        word = text_of(node, what)
        if word not in words:
            fail(node, f"unknown {word[:80]!r}", suggestion(word, words))
        return word

    return read


def _columns(node: Node, what: str) -> tuple[tuple[str, str], ...]:
    """Fields, each a name or `{path, header}`, as field and header."""
    return tuple(_column(item, what) for item in items_of(node))


def _column(node: Node, what: str) -> tuple[str, str]:
    if not isinstance(node, MappingNode):
        field = text_of(node, what)
        return field, field
    given = Given.of(node, what)
    for name, (key, _item) in given.entries.items():
        if name not in ("path", "header"):
            fail(key, f"unknown key {name[:80]!r} in {what}", "path, header")
    path: str = given.read(Option("path", text, required=True), f"an entry of {what}")
    return path, given.read(Option("header", text, default=path), what)


def _read(given: Given, values: Mapping[str, Any]) -> TextOptions:
    kind = values["alert_text_type"]
    named = {word: field for field, word in values["alert_text_kw"].items()}
    subject_fields = values["alert_subject_args"]
    subject = _template(given, "alert_subject", subject_fields, {})
    return TextOptions(
        subject=literal(values["name"]) if subject is None else subject,
        # A rule's name is never cut.
        subject_max_length=0 if subject is None else values["alert_subject_max_len"],
        text=None if kind == JINJA else _template(given, "alert_text", values["alert_text_args"], named),
        kind=kind,
        missing=values["alert_missing_value"],
        jinja=_jinja(given, values) if kind == JINJA else None,
        jinja_subject=_jinja_of(given, "alert_subject", values)
        if kind == JINJA and not subject_fields
        else None,
        headed=given.node("alert_text") is None,
        summary=_summary(values),
    )


def _template(given: Given, name: str, fields: tuple[str, ...], named: Mapping[str, str]) -> Template | None:
    """Without arguments a text is literal, braces and all."""
    node = given.node(name)
    if node is None:
        return None
    written = text_of(node, name)
    if not fields and not named:
        return literal(written)
    return _checked(node, name, "one argument for every {}", lambda: parse_template(written, fields, named))


def _jinja(given: Given, values: Mapping[str, Any]) -> JinjaTemplate:
    """A template file goes before `alert_text`."""
    name = "alert_text" if given.node("jinja_template_path") is None else "jinja_template_path"
    return _jinja_of(given, name, values) or JinjaTemplate("", values["jinja_root_name"])


def _jinja_of(given: Given, name: str, values: Mapping[str, Any]) -> JinjaTemplate | None:
    node = given.node(name)
    if node is None:
        return None
    written, root = text_of(node, name), values["jinja_root_name"]
    return _checked(node, name, "a Jinja template", lambda: parse_jinja(written, root))


def _checked(node: Node, name: str, expected: str, parse: Callable[[], T]) -> T:
    try:
        return parse()
    except ValueError as problem:
        fail(node, f"{name}: {problem}", expected)


def _summary(values: Mapping[str, Any]) -> SummaryOptions | None:
    columns = values["summary_table_fields"]
    if not columns:
        return None
    return SummaryOptions(
        fields=tuple(field for field, _header in columns),
        headers=tuple(header for _field, header in columns),
        kind=values["summary_table_type"],
        rows=values["summary_table_max_rows"],
        prefix=values["summary_prefix"],
        suffix=values["summary_suffix"],
    )


GROUP: OptionGroup = OptionGroup(
    "words",
    (
        Option("alert_subject", text),
        Option("alert_subject_args", texts, default=()),
        Option("alert_subject_max_len", integer(0, 100_000), default=2048),
        Option("alert_text", text),
        Option("alert_text_args", texts, default=()),
        Option("alert_text_kw", text_mapping, default={}),
        Option("alert_text_type", _one_of(*_KINDS), default=""),
        Option("alert_missing_value", text, default="<MISSING VALUE>"),
        Option("jinja_root_name", text, default="_data"),
        Option("jinja_template_path", text),
        Option("summary_table_fields", _columns, default=()),
        Option("summary_table_type", _one_of(*_TABLES), default="ascii"),
        Option("summary_table_max_rows", integer(0, 100_000)),
        Option("summary_prefix", text, default=""),
        Option("summary_suffix", text, default=""),
    ),
    _read,
)
