"""What is struck out before anything is stored, and that everything else stays byte for byte."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from divertor.model.artifacts import Recording
from divertor.recording.decoding import MAX_DECODED
from divertor.recording.exchange import Body, Exchange
from divertor.recording.redaction import STRUCK, Rules, redacted

from .spooled import exchange, posted

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
RULES = Rules.of(Recording(redact=("header x-secret", "cookie remember", "field iban")))


def kept(asked: Exchange) -> Body:
    return redacted(asked, RULES).request_body


BODIES = [
    (FORM, b"user=a&password=hunter2&x=1", b"user=a&password=%5Bredacted%5D&x=1"),
    (FORM, b"u[Pass-Word]=hunter2", b"u[Pass-Word]=%5Bredacted%5D"),
    (FORM, b"p%61ssword=hunter2", b"p%61ssword=%5Bredacted%5D"),
    (FORM, b"iban=hunter2;q=2", b"iban=%5Bredacted%5D;q=2"),
    (FORM, b"data=%7B%22iban%22%3A%22hunter2%22%7D", b"data=%7B%22iban%22%3A%22%5Bredacted%5D%22%7D"),
    ("", b"password=hunter2", b"password=%5Bredacted%5D"),
    (FORM, b'{"password": "hunter2"}', b'{"password": "[redacted]"}'),
    (JSON, b'{"a": 1, "PASSWORD" : "hunter2"}', b'{"a": 1, "PASSWORD" : "[redacted]"}'),
    (
        JSON,
        b'{"a": [{"new_password": ["hunter2", {}]}], "b": 2}',
        b'{"a": [{"new_password": "[redacted]"}], "b": 2}',
    ),
    (JSON, b'{"p\\u0061ssword": "hunter2"}', b'{"p\\u0061ssword": "[redacted]"}'),
    (JSON, b'{"token": 123, "token": "hunter2"}', b'{"token": "[redacted]", "token": "[redacted]"}'),
    (JSON, b'{"password": "hunter2', b'{"password": "[redacted]"'),
    (JSON, b'{"secret": {"x": "hunter2"', b'{"secret": "[redacted]"'),
    ("text/plain", b'[{"apiKey":true}]', b'[{"apiKey":"[redacted]"}]'),
    (
        'multipart/form-data; boundary="b"',
        b'--b\r\nContent-Disposition: form-data; name="password"\r\n\r\nhunter2\r\n--b--',
        b'--b\r\nContent-Disposition: form-data; name="password"\r\n\r\n[redacted]\r\n--b--',
    ),
    (
        "multipart/form-data; boundary=b",
        b"--b\nContent-Disposition: form-data; name=iban\n\nhunter2",
        b"--b\nContent-Disposition: form-data; name=iban\n\n[redacted]",
    ),
]


@pytest.mark.parametrize(("kind", "sent", "expected"), BODIES)
def test_a_field_is_struck_out(kind: str, sent: bytes, expected: bytes) -> None:
    assert kept(posted(sent, kind)).data == expected


def test_all_bodies_were_tried() -> None:
    assert len(BODIES) == 16


def test_what_was_struck_out_is_named() -> None:
    asked = replace(posted(b"password=x", FORM), path="/?token=t")
    assert redacted(asked, RULES).redacted == ("field password", "field token")


HEADERS = [
    ("authorization", "Basic aGk=", STRUCK),
    ("X-Secret", "s", STRUCK),
    ("cookie", "session=4e1f0c9a; remember=me; b=c", f"session=4e1f0c9a; remember={STRUCK}; b=c"),
    ("set-cookie", "remember=me; Path=/", f"remember={STRUCK}; Path=/"),
    ("referer", "http://x/?access_token=t&a=b", "http://x/?access_token=%5Bredacted%5D&a=b"),
    ("x-other", "Basic aGk=", "Basic aGk="),
]


@pytest.mark.parametrize(("name", "value", "expected"), HEADERS)
def test_a_header_is_struck_out(name: str, value: str, expected: str) -> None:
    found = redacted(exchange(request_headers=((name, value),), response_headers=((name, value),)), RULES)
    assert found.request_headers == found.response_headers == ((name, expected),)


def test_all_headers_were_tried() -> None:
    assert len(HEADERS) == 6


def test_the_query_is_searched() -> None:
    found = redacted(exchange(path="/pay;card=1?CVC=2&q='--&csrf_token=3#token=4"), RULES)
    assert found.path == (
        "/pay;card=%5Bredacted%5D?CVC=%5Bredacted%5D&q='--&csrf_token=3#token=%5Bredacted%5D"
    )


def test_a_value_is_struck_out_to_its_end() -> None:
    found = redacted(exchange(path="/?password=a?b#c=d/e&x=1"), RULES)
    assert found.path == "/?password=%5Bredacted%5D&x=1"


def test_a_key_that_is_struck_out_keeps_no_value() -> None:
    rules = Rules.of(Recording(redact=("cookie session",)))
    found = redacted(exchange(), rules)
    assert found.by is not None and found.by.value == "4e1f…"
    assert found.request_headers == (("cookie", f"session={STRUCK}"),)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "GZIP, gzip", "identity"])
def test_a_compressed_body_is_searched(encoding: str) -> None:
    data = b"password=hunter2"
    for name in encoding.lower().split(", "):
        data = gzip.compress(data) if name == "gzip" else zlib.compress(data) if name == "deflate" else data
    found = kept(posted(data, FORM, encoding))
    assert found.data == b"password=%5Bredacted%5D" and found.is_whole


def test_a_compressed_body_without_secrets_stays_as_it_was() -> None:
    data = gzip.compress(b"q=' OR 1=1 --")
    assert kept(posted(data, FORM, "gzip")) == Body(data, len(data))


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (gzip.compress(bytes(MAX_DECODED + 1)), "gzip"),
        (gzip.compress(gzip.compress(bytes(100 << 20))), "gzip, gzip"),
        (b"password=hunter2", "gzip"),
        (b"password=hunter2", "secret-sauce"),
        (b"password=hunter2", "gzip, gzip, gzip, gzip"),
    ],
)
def test_what_cannot_be_decoded_within_bounds_is_withheld(data: bytes, encoding: str) -> None:
    found = kept(posted(data, FORM, encoding))
    assert found.data == b"" and found.withheld and found.size == len(data)


def test_a_compressed_body_that_was_cut_short_is_searched_as_far_as_it_goes() -> None:
    data = gzip.compress(b"password=hunter2&" + bytes(range(256)) * 40)
    found = kept(posted(data[:200], FORM, "gzip", size=len(data)))
    assert found.data.startswith(b"password=%5Bredacted%5D&")


def test_json_in_another_character_set_is_withheld() -> None:
    assert kept(posted('{"password": "hunter2"}'.encode("utf-16-le"), JSON)).withheld


def test_a_multipart_body_without_a_boundary_is_withheld() -> None:
    assert kept(posted(b'name="password"\r\n\r\nhunter2', "multipart/form-data")).withheld


@given(
    st.binary(max_size=200), st.sampled_from([FORM, JSON, "", "multipart/form-data; boundary=x", "text/html"])
)
def test_a_body_without_secrets_stays_byte_for_byte(data: bytes, kind: str) -> None:
    rules = Rules(fields=frozenset({"nobody-has-this"}))
    found = redacted(posted(data, kind), rules).request_body
    assert found.withheld or found.data == data


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("hunter2"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "password", "user token", "secret", 'q"uote']), inner, max_size=3
        )
    ),
    max_leaves=12,
)


def without_secrets(data: object) -> object:
    if isinstance(data, list):
        return [without_secrets(each) for each in data]
    if isinstance(data, dict):
        return {
            name: STRUCK if name in ("password", "secret") else without_secrets(value)
            for name, value in data.items()
        }
    return data


@given(documents, st.sampled_from([None, 2]))
def test_json_is_struck_out_as_its_structure_says(document: object, indent: int | None) -> None:
    text = json.dumps(document, indent=indent).encode()
    found = kept(posted(text, JSON)).data
    assert json.loads(found) == without_secrets(document)


N = 64 << 10
SLOW = [
    b"a",
    b"=",
    b"&",
    b"#",
    b"a=b#",
    b"?",
    b"=#&",
    b"%",
    b"{",
    b'"',
    b'"password":',
    b"[{",
    b"\\",
    b"a;",
    b"/;=",
    b"\r\n ",
]


@pytest.mark.parametrize("piece", SLOW)
@pytest.mark.parametrize("kind", [FORM, JSON, "multipart/form-data; boundary=a"])
def test_no_input_takes_long_or_raises(kind: str, piece: bytes) -> None:
    data = (piece * (N // len(piece)))[:N]
    asked = replace(
        posted(data, kind), path=f"/?{data.decode()}", response_headers=(("location", data.decode()),)
    )
    started = time.process_time()
    redacted(asked, RULES)
    assert time.process_time() - started < 2


def test_every_such_input_was_tried() -> None:
    assert len(SLOW) == 16


anything = st.binary(max_size=60) | st.lists(st.sampled_from(SLOW), max_size=20).map(b"".join)


@given(anything, anything, st.sampled_from(["", "gzip", "deflate", "br", "gzip, deflate", ","]))
def test_nothing_raises(data: bytes, header: bytes, encoding: str) -> None:
    text = header.decode("utf-8", "surrogateescape")
    asked = replace(
        posted(data, text, encoding), path=text, response_headers=(("set-cookie", text), ("cookie", text))
    )
    redacted(asked, RULES)
