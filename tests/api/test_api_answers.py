"""The form of answers: JSON or YAML, pages, and errors with their place."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from divertor.api.answers import Page, answer, page_headers, prefers_yaml, to_json
from divertor.api.bodies import SOURCE, located, plain
from divertor.errors import InputError, Position
from divertor.model.documents import from_value, parse_documents

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from(" #:-'\"0e1._T~")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc-0.: ~", min_size=1), inner, max_size=4)
    ),
    max_leaves=12,
)


def request(accept: str = "", query: bytes = b"") -> Request:
    headers = [(b"accept", accept.encode())]
    return Request({"type": "http", "method": "GET", "path": "/p", "query_string": query, "headers": headers})


@given(VALUES.filter(lambda value: value is not None))
def test_what_is_answered_as_yaml_is_read_back_by_our_own_reader(value: Any) -> None:
    text = bytes(answer(request("application/yaml"), {"it": value}).body).decode()
    (node,) = parse_documents(text, "t")
    assert json.loads(json.dumps(_numbers(plain(node)))) == json.loads(json.dumps(_numbers({"it": value})))


def _numbers(value: Any) -> Any:
    """Numbers as texts: `plain` leaves a number that JSON writes otherwise the text it was."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return value if value is None or isinstance(value, str | bool) else float(value)


@given(VALUES)
def test_json_is_json_in_ascii(value: Any) -> None:
    text = to_json(value)
    assert text.isascii()
    assert json.loads(text) == value


def test_what_json_has_no_word_for_is_text() -> None:
    assert json.loads(to_json({"a": [math.inf, 1.5, "\ud800"]})) == {"a": ["inf", 1.5, "\ud800"]}


ACCEPTS = [
    ("", False),
    ("*/*", False),
    ("application/json", False),
    ("application/yaml", True),
    ("text/yaml, application/json", True),
    ("application/json, text/yaml", False),
    ("application/json;q=0.5, application/x-yaml", True),
    ("text/yaml;q=0.1, */*;q=0.2", False),
    ("text/yaml;q=x", False),
    ("text/yaml;q=0", False),
    ("text/html", False),
    (",;,=", False),
]


def test_every_accept_header_is_tried() -> None:
    assert len(ACCEPTS) == 12


@pytest.mark.parametrize(("accept", "expected"), ACCEPTS)
def test_yaml_is_answered_to_who_prefers_it(accept: str, expected: bool) -> None:
    assert prefers_yaml(accept) is expected


@given(st.lists(st.integers()), st.integers(1, 20), st.integers(1, 20))
def test_pages_together_are_the_list(items: list[int], size: int, number: int) -> None:
    pages = -(-len(items) // size)
    assert [item for page in range(1, pages + 1) for item in Page(page, size).of(items)] == items
    assert len(Page(number, size).of(items)) <= size


def test_links_keep_the_rest_of_the_query_and_lead_nowhere_outside() -> None:
    headers = page_headers(request(query=b"a=%3E&page=1&a=2"), Page(1, 2), 3)
    assert headers["link"] == (
        '</p?a=%3E&a=2&page=1&per_page=2>; rel="first", </p?a=%3E&a=2&page=2&per_page=2>; rel="next", '
        '</p?a=%3E&a=2&page=2&per_page=2>; rel="last"'
    )


TEXT = "clusters:\n  shop:\n    services:\n      - breed: x\n      - {scale: 1.10}\n"


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        ("clusters.shop.services[1].scale", 5, 17),
        ("clusters.shop", 3, 5),
        ("clusters.shop.services[0]", 4, 9),
    ],
)
def test_a_path_is_given_its_line_and_column(path: str, line: int, column: int) -> None:
    (body,) = parse_documents(TEXT, SOURCE)
    error = located(InputError("wrong", Position(f"deployment at {path}"), "right"), body)
    assert (error.position, error.expected) == (Position(SOURCE, line, column), "right")


@pytest.mark.parametrize(
    "position", [Position("isolation"), Position("deployment at no.such"), Position("x", 3, 4)]
)
def test_a_place_that_is_not_in_the_body_stays(position: Position) -> None:
    (body,) = parse_documents(TEXT, SOURCE)
    assert located(InputError("wrong", position), body).position == position


def test_every_path_of_a_value_is_found_again() -> None:
    """The paths are the ones that `from_value` makes."""
    (body,) = parse_documents(TEXT, SOURCE)
    services = from_value(plain(body), "t").entries[0][1].entries[0][1].entries[0][1]  # type: ignore[union-attr]
    error = located(InputError("wrong", services.items[1].position), body)  # type: ignore[union-attr]
    assert (error.position.line, error.position.column) == (5, 9)


def test_a_number_stays_as_it_was_written() -> None:
    (body,) = parse_documents("{version: 1.10, count: 3, half: 0.5, big: 1e3, no: ~, yes: true}", "t")
    assert plain(body) == {
        "version": "1.10", "count": 3, "half": 0.5, "big": "1e3", "no": None, "yes": True
    }  # fmt: skip
