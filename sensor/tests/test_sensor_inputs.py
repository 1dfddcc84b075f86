"""How the parts of a request become values."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from divertor_sensor.sources.bodies import read_body
from divertor_sensor.sources.documents import MAX_DEPTH
from divertor_sensor.sources.inputs import (
    MAX_INPUTS,
    Inputs,
    cookie_pairs,
    read_cookies,
    read_headers,
    read_pairs,
    read_path,
)

MULTIPART = (
    b'--B\r\nContent-Disposition: form-data; name="title"\r\n\r\nhello; world\r\n'
    b'--B\r\nContent-Disposition: form-data; name="up"; filename="../../x.sh"\r\n'
    b"Content-Type: text/plain\r\n\r\ncontent\r\n--B--\r\n"
)


def body(content_type: str, data: bytes, whole: bool = True) -> Inputs:
    inputs = Inputs()
    read_body(inputs, content_type, data, whole)
    return inputs


def found(inputs: Inputs) -> set[tuple[str, str, str]]:
    return {tuple(value) for value in inputs.values}  # type: ignore[misc]


def test_a_query_is_decoded_and_an_odd_name_is_a_value_too() -> None:
    inputs = Inputs()
    read_pairs(inputs, "query", "a=1%27+x&b[%27]=2&&c")
    assert found(inputs) == {
        ("query", "a", "1' x"),
        ("query", "a", "1'+x"),
        ("query", "b[']", "2"),
        ("query", "b[']", "b[']"),
    }


def test_a_multipart_form_gives_its_texts_its_file_names_and_contents() -> None:
    inputs = body("multipart/form-data; boundary=B", MULTIPART)
    assert found(inputs) == {
        ("form", "title", "hello; world"),
        ("file", "up", "../../x.sh"),
        ("form", "up", "content"),
    }


def test_json_gives_nested_values_and_odd_keys() -> None:
    inputs = body("application/json", b'{"a": {"b": ["x y"]}, "k\'": 1}')
    assert found(inputs) == {("json", "a.b[0]", "x y"), ("json", "k'", "k'")}


def test_json_sent_under_another_type_is_still_read() -> None:
    assert ("json", "a", "x'") in found(body("text/plain", b'{"a": "x\'"}'))


def test_json_that_was_cut_gives_the_strings_it_holds() -> None:
    inputs = body("application/json", b'{"a": "x\\u0027 or", "b": "tail', whole=False)
    assert ("json", "", "x' or") in found(inputs) and not inputs.complete


def test_a_raw_body_is_one_value() -> None:
    assert found(body("text/plain", b"x' or 1")) == {("form", "(body)", "x' or 1")}


def test_json_deeper_than_the_bound_is_not_followed_and_told() -> None:
    nested = json.dumps("x'")
    for _ in range(MAX_DEPTH + 2):
        nested = f"[{nested}]"
    assert not body("application/json", nested.encode()).complete


def test_json_too_deep_for_the_parser_is_contained() -> None:
    inputs = body("application/json", b"[" * 100_000 + b'"x\'"')
    assert ("json", "", "x'") in found(inputs)


def test_more_values_than_the_bound_are_cut_and_told() -> None:
    inputs = Inputs()
    read_pairs(inputs, "query", "&".join(f"p{number}=v" for number in range(MAX_INPUTS + 5)))
    assert len(inputs.values) == MAX_INPUTS and not inputs.complete


def test_cookies_are_split_and_unquoted() -> None:
    assert list(cookie_pairs('a=1; b="x y"; c; d=e=f')) == [("a", "1"), ("b", "x y"), ("d", "e=f")]


def test_a_quoted_cookie_is_unescaped_as_its_reader_does() -> None:
    assert list(cookie_pairs('a="x\\" \\054 y"')) == [("a", 'x" , y')]


def test_the_gateways_own_headers_and_cookies_are_no_header_input() -> None:
    inputs = Inputs()
    read_headers(inputs, [("cookie", "a=b"), ("x-divertor-origin", "http://h/"), ("referer", "r")])
    read_cookies(inputs, "a=b")
    assert found(inputs) == {("header", "referer", "r"), ("cookie", "a", "b")}


def test_a_path_gives_its_segments_and_their_tails() -> None:
    inputs = Inputs()
    read_path(inputs, "/files/../x")
    assert {value for _, _, value in found(inputs)} == {"files", "..", "x", "files/../x", "../x"}


@given(
    st.binary(max_size=200),
    st.sampled_from(["multipart/form-data; boundary=B", "application/json", "", "a/b"]),
)
@settings(max_examples=200, deadline=None)
def test_any_body_is_read_without_a_fault(data: bytes, content_type: str) -> None:
    assert len(body(content_type, data).values) <= MAX_INPUTS
