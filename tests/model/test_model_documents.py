"""Text to nodes: places, limits, and what is refused."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.errors import InputError
from divertor.model.documents import MappingNode, Scalar, from_value, parse_documents, to_value


def value_of(text: str) -> Any:
    (node,) = parse_documents(text, "x.yaml")
    return to_value(node)


def test_a_node_knows_its_line_and_column() -> None:
    (node,) = parse_documents("a: 1\nb:\n  - c: text\n", "x.yaml")
    assert isinstance(node, MappingNode)
    inner = node.entries[1][1]
    assert str(inner.position) == "x.yaml:3:3"


def test_a_scalar_keeps_the_text_it_was_written_as() -> None:
    (node,) = parse_documents("1.10", "x.yaml")
    assert isinstance(node, Scalar) and (node.text, node.value) == ("1.10", 1.1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1, -2, 0.5, 1e3, true, False, null, ~]", [1, -2, 0.5, 1000.0, True, False, None, None]),
        ("[yes, NO, on, 010, 0x1f, 1:30, 2001-01-01, '1', .inf]",
         ["yes", "NO", "on", 10, "0x1f", "1:30", "2001-01-01", "1", ".inf"]),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ('{"a": "\\u00e9 \\ud83d\\ude00"}', {"a": "é 😀"}),
        ('{\n\t"a": [1,\t2]\n}', {"a": [1, 2]}),
        ('{"a": "b\u2028 \x85c"}', {"a": "b\u2028 \x85c"}),
        ("!!str 5", "5"),
    ],
)  # fmt: skip
def test_values_follow_the_core_rules_and_json(text: str, value: Any) -> None:
    assert value_of(text) == value


def test_empty_documents_are_left_out() -> None:
    assert [to_value(node) for node in parse_documents("---\na: 1\n---\n---\nb: 2\n", "x")] == [
        {"a": 1},
        {"b": 2},
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "x.yaml:2:1: the key 'a' is given twice"),
        ('{\t"a": 1,\t"a": 2}', "given twice"),
        ("a: !!python/object:os.system x", "x.yaml:1:4: the tag .* is not supported"),
        ("a: !thing x", "the tag '!thing' is not supported"),
        ("a: *b", "x.yaml:1:4: no finished anchor &b before this"),
        ("a: &a [*a]", "no finished anchor &a before this"),
        ("? [1]\n: 2", "a key that is no plain value"),
        ("a: &x {b: 1}\nc:\n  <<: *x", "x.yaml:3:3: merge keys are not supported"),
        ("a: [1", "x.yaml:2:1: .*expected YAML or JSON"),
        ("a: b: c", "x.yaml:1:5: mapping values"),
        ("a: b\n\u2028c", "x.yaml:2:1: an unusual line break"),
        ("a: \x00", "x.yaml: .*expected YAML or JSON"),
        ("a: \ud800", "x.yaml:1:4: half a surrogate pair"),
    ],
)
def test_what_could_surprise_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_documents(text, "x.yaml")


def test_the_length_of_a_document_is_bounded() -> None:
    with pytest.raises(InputError, match="at most 1048576"):
        parse_documents("a" * (1024 * 1024 + 1), "x")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "- " * 65 + "a", "[" * 65 + "]" * 65, "{a: " * 65 + "}" * 65]
)
def test_the_depth_of_a_document_is_bounded(text: str) -> None:
    with pytest.raises(InputError, match="nested too deeply"):
        parse_documents(text, "x")


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    started = time.perf_counter()
    with pytest.raises(InputError, match="at most 100000 values"):
        parse_documents("\n".join(lines), "x")
    assert time.perf_counter() - started < 1


def test_aliases_cannot_nest_beyond_the_depth() -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 70))]
    with pytest.raises(InputError, match="nested too deeply"):
        parse_documents("\n".join(lines), "x")


@pytest.mark.parametrize("depth", [65, 5_000])
def test_the_depth_of_decoded_json_is_bounded(depth: int) -> None:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    with pytest.raises(InputError, match="64 levels"):
        from_value(value, "body")


def test_a_place_in_decoded_json_is_its_path() -> None:
    node = from_value({"a": [{"b": 1}]}, "body")
    assert isinstance(node, MappingNode)
    assert to_value(node) == {"a": [{"b": 1}]}
    with pytest.raises(InputError, match=r"body at a\[0\].b: a set is no JSON value"):
        from_value({"a": [{"b": {1}}]}, "body")


TEXTS = st.text(st.characters(codec="utf-8"))
NUMBERS = st.integers(-(10**15), 10**15) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None)
@given(JSON, st.booleans())
def test_json_text_is_read_as_json_means_it(value: Any, ascii_only: bool) -> None:
    documents = parse_documents(json.dumps({"v": value}, ensure_ascii=ascii_only), "x")
    assert to_value(documents[0]) == {"v": value}


@settings(max_examples=800, deadline=None)
@given(st.text(max_size=80) | st.text("ab:-{}[]&*!#|>'\"?,%@ \n\t", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        documents = parse_documents(text, "x")
    except InputError:
        return
    assert all(to_value(node) is not None for node in documents)
