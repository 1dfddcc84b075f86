"""Queries of the filter language that look at values: terms, ranges, patterns, presence.

`term`, `prefix` and `wildcard` look at words and at whole values as they are, without lower-casing what is
asked for; `.keyword` asks for whole values only.
"""

from __future__ import annotations

from collections.abc import Mapping

from divertor.model.documents import Node
from divertor.model.fields import entries_of, fail, is_null, items_of, text_of
from divertor.rules.document import Document, scalar_text
from divertor.rules.filters.anchoring import anchors_at, tokens_of_any_word, tokens_of_glob, tokens_of_value
from divertor.rules.filters.clauses import any_of, at_least, exists, judged, leaf, negate
from divertor.rules.filters.dsl_reading import (
    RANKING,
    Builder,
    Warnings,
    choice,
    dates_of,
    edits_of,
    field_query,
    flag,
    glob_of,
    least,
    one_field,
    parts_of,
    required,
    where_of,
    whole_number,
    written,
)
from divertor.rules.filters.filter import Filter
from divertor.rules.filters.fuzzy import automatic_edits
from divertor.rules.filters.matching import (
    Bounds,
    Glob,
    ValueTest,
    Wild,
    covered,
    glob_test,
    nearly,
    range_test,
    whole_value,
    whole_value_any_case,
    word_or_whole_any_case,
    word_or_whole_exactly,
)
from divertor.rules.filters.places import wants_whole
from divertor.rules.filters.regexp import compile_regexp
from divertor.rules.filters.searching import compile_search
from divertor.rules.reading.options import boolean


def _term(node: Node, _warnings: Warnings) -> Filter:
    field, value, parts = field_query(node, "term", "value", {"case_insensitive"}, ("term",))
    return _equal("term", field, text_of(value, field), flag(parts, "case_insensitive"))


def _equal(what: str, field: str, text: str, any_case: bool = False) -> Filter:
    return leaf(f"{what} {field}: {text}", field, _equality(field, text, any_case), tokens_of_value(text))


def _equality(field: str, text: str, any_case: bool) -> ValueTest:
    if wants_whole(field):
        return whole_value_any_case(text) if any_case else whole_value(text)
    return word_or_whole_any_case(text) if any_case else word_or_whole_exactly(text)


def _terms(node: Node, _warnings: Warnings) -> Filter:
    entries = [
        (key, item)
        for key, item in entries_of(node, "terms")
        if key.text not in RANKING | {"minimum_match", "execution"}
    ]
    if len(entries) != 1:
        fail(node, f"terms with {len(entries)} fields", "one field with a list of values")
    key, values = entries[0]
    texts = [text_of(item, key.text) for item in items_of(values)]
    each = [_equal("term", key.text, text) for text in texts]
    return any_of(each, f"terms {key.text}: {', '.join(texts)}")


def _terms_set(node: Node, _warnings: Warnings) -> Filter:
    field, item = one_field(node, "terms_set")
    known = {"terms", "minimum_should_match", "minimum_should_match_field"}
    parts = parts_of(item, f"terms_set of {field}", known)
    values = items_of(required(parts, "terms", item, "terms_set"))
    each = [_equal("term", field, text_of(value, field)) for value in values]
    text = f"terms_set {field}: {written(item)}"
    needed = least(parts.get("minimum_should_match"))
    if needed is not None:
        return at_least(needed(len(each)), each, text)
    number = required(parts, "minimum_should_match_field", item, "terms_set")
    return _as_many_as_the_event_says(text, text_of(number, "minimum_should_match_field"), each)


def _as_many_as_the_event_says(text: str, field: str, each: list[Filter]) -> Filter:
    tests = [one.test for one in each]

    def test(document: Document) -> bool:
        needed = next(iter(document.values(field)), None)
        if isinstance(needed, bool) or not isinstance(needed, int | float):
            return False
        return sum(one(document) for one in tests) >= needed

    return judged(text, field, test, anchors_at(field, None))


def _range(node: Node, _warnings: Warnings) -> Filter:
    field, item = one_field(node, "range")
    known = {"gt", "gte", "lt", "lte", "from", "to", "include_lower", "include_upper", "time_zone", "format"}
    parts = parts_of(item, f"range of {field}", known)
    low, include_low = _end(item, field, parts, ("gte", "gt", "from"), "include_lower")
    high, include_high = _end(item, field, parts, ("lte", "lt", "to"), "include_upper")
    if is_null(low) and is_null(high):
        fail(item, f"range of {field} without a bound", "gt, gte, lt or lte")
    bounds = Bounds(_bound(low), _bound(high), include_low, include_high)
    try:
        test = range_test(bounds, dates_of(parts))
    except ValueError as problem:
        fail(item, f"range of {field} with {problem}", "now or a date||, then +1d, -2h or /d")
    return leaf(f"range {field}: {written(item)}", field, test)


def _end(
    item: Node, field: str, parts: Mapping[str, Node], names: tuple[str, ...], inclusion: str
) -> tuple[Node | None, bool]:
    """One end of a range and whether it is part of it."""
    given = [name for name in names if name in parts]
    if len(given) > 1:
        fail(item, f"range of {field} with both {given[0]} and {given[1]}", "one of them")
    if not given:
        return None, True
    (name,) = given
    if name in ("from", "to"):
        return parts[name], flag(parts, inclusion, default=True)
    return parts[name], name.endswith("e")


def _bound(node: Node | None) -> str | None:
    return None if node is None else text_of(node, "bound")


def _exists(node: Node, _warnings: Warnings) -> Filter:
    parts = parts_of(node, "exists", {"field"})
    item = required(parts, "field", node, "exists")
    name = text_of(item, "field")
    return exists(f"exists {name}", where_of(name, item))


def _missing(node: Node, _warnings: Warnings) -> Filter:
    """The opposite of `exists`, in old Elasticsearch; null never was a value here."""
    parts = parts_of(node, "missing", {"field", "existence", "null_value"})
    item = required(parts, "field", node, "missing")
    name = text_of(item, "field")
    return negate(exists(f"exists {name}", where_of(name, item)), f"missing {name}")


def _wildcard(node: Node, _warnings: Warnings) -> Filter:
    field, pattern, parts = field_query(node, "wildcard", "value", {"case_insensitive"}, ("wildcard",))
    text = text_of(pattern, field)
    return _glob("wildcard", field, text, glob_of(text), parts)


def _prefix(node: Node, _warnings: Warnings) -> Filter:
    field, value, parts = field_query(node, "prefix", "value", {"case_insensitive"}, ("prefix",))
    text = text_of(value, field)
    return _glob("prefix", field, text, (text, Wild.MANY), parts)


def _glob(what: str, field: str, text: str, glob: Glob, parts: Mapping[str, Node]) -> Filter:
    any_case = flag(parts, "case_insensitive")
    test = glob_test(glob, whole_only=wants_whole(field), ignore_case=any_case)
    return leaf(f"{what} {field}: {text}", field, test, tokens_of_glob(glob))


def _regexp(node: Node, _warnings: Warnings) -> Filter:
    extra = {"case_insensitive", "flags", "flags_value"}
    field, pattern, parts = field_query(node, "regexp", "value", extra)
    choice(parts, "flags", {"all", ""}, "all")
    ignore_case = "case_insensitive" in parts and boolean(parts["case_insensitive"], "case_insensitive")
    text = text_of(pattern, field)
    try:
        covers = compile_regexp(text, ignore_case=ignore_case)
    except ValueError as problem:
        fail(pattern, f"regular expression with {problem}", "a pattern without it")
    return leaf(f"regexp {field}: {text}", field, covered(covers, whole_only=wants_whole(field)))


def _re(node: Node, _warnings: Warnings) -> Filter:
    """An expression as most languages write it, found anywhere in the value; RE2 keeps it linear."""
    field, pattern, parts = field_query(node, "re", "value", {"flags"})
    text = text_of(pattern, field)
    flags = text_of(parts["flags"], "flags") if "flags" in parts else ""
    if set(flags) - set("ims"):
        fail(parts["flags"], f"flags are {flags[:20]!r}", "some of i, m, s")
    try:
        found = compile_search(text, flags)
    except ValueError as problem:
        fail(pattern, f"regular expression with {problem}", "RE2's syntax")
    where = where_of(field, pattern)
    return leaf(f"re {field}: {text}", where, lambda value, _document: found(scalar_text(value)))


def _fuzzy(node: Node, _warnings: Warnings) -> Filter:
    extra = {"fuzziness", "prefix_length", "transpositions"}
    field, value, parts = field_query(node, "fuzzy", "value", extra)
    text = text_of(value, field)
    test = nearly(
        text,
        edits_of(parts, automatic_edits)(len(text)),
        whole_only=wants_whole(field),
        prefix=whole_number(parts, "prefix_length", 1024),
        swaps=flag(parts, "transpositions", default=True),
    )
    return leaf(f"fuzzy {field}: {text}", field, test)


def _ids(node: Node, _warnings: Warnings) -> Filter:
    parts = parts_of(node, "ids", {"values", "type"})
    values = items_of(required(parts, "values", node, "ids"))
    each = [_id(text_of(value, "_id")) for value in values]
    return any_of(each, f"ids {written(parts['values'])}")


def _id(text: str) -> Filter:
    return leaf(f"_id: {text}", "_id", whole_value(text), tokens_of_value(text))


def _type(node: Node, _warnings: Warnings) -> Filter:
    """The kind of document, which old Elasticsearch kept in `_type`; here it is the event's `type`."""
    parts = parts_of(node, "type", {"value"})
    text = text_of(required(parts, "value", node, "type"), "type")
    tokens = tokens_of_any_word(text)
    each = [leaf(f"{field}: {text}", field, whole_value(text), tokens) for field in ("_type", "type")]
    return any_of(each, f"type {text}")


QUERIES: dict[str, Builder] = {
    "exists": _exists,
    "fuzzy": _fuzzy,
    "ids": _ids,
    "missing": _missing,
    "prefix": _prefix,
    "range": _range,
    "re": _re,
    "regexp": _regexp,
    "term": _term,
    "terms": _terms,
    "terms_set": _terms_set,
    "type": _type,
    "wildcard": _wildcard,
}
