"""HAR 1.2: valid whatever was recorded, and nothing of it lost on the way."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from divertor.recording.exchange import Body, Kind
from divertor.recording.har import har

from .spooled import TIME, exchange, posted

SCHEMA = json.loads(Path(__file__).with_name("har-1.2.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())


def valid(data: Any) -> dict[str, Any]:
    """What a tool reads that is strict about Unicode too."""
    found = json.loads(json.dumps(data, ensure_ascii=False).encode("utf-8"))
    VALIDATOR.validate(found)
    assert isinstance(found, dict)
    return found


def entry(asked: Any) -> Any:
    return valid(har([asked], version="1"))["log"]["entries"][0]


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_an_empty_session_is_a_log() -> None:
    log = valid(har([], version="1.0", comment="isolation x"))["log"]
    assert (log["version"], log["creator"], log["entries"]) == (
        "1.2",
        {"name": "Divertor", "version": "1.0"},
        [],
    )


def test_request_and_answer_are_there() -> None:
    asked = exchange(
        path="/login?user=a%27&x=",
        request_headers=(("cookie", "session=s1; b=c=d"),),
        status=302,
        response_headers=(
            ("location", "/home"),
            ("content-type", "text/html"),
            ("set-cookie", "session=s2; Path=/x; HttpOnly; Secure; SameSite=Lax"),
        ),
        response_body=Body(b"<p>", 3),
    )
    found = entry(asked)
    request, response = found["request"], found["response"]
    assert (found["startedDateTime"], found["time"]) == ("2026-01-31T12:00:00.000000Z", 1.5)
    assert request["url"] == "http://shop.example/login?user=a%27&x="
    assert request["queryString"] == [{"name": "user", "value": "a'"}, {"name": "x", "value": ""}]
    assert request["cookies"] == [{"name": "session", "value": "s1"}, {"name": "b", "value": "c=d"}]
    assert (response["status"], response["statusText"], response["redirectURL"]) == (302, "Found", "/home")
    assert response["content"] == {"size": 3, "mimeType": "text/html", "text": "<p>"}
    renewed = {"name": "session", "value": "s2", "path": "/x", "httpOnly": True, "secure": True}
    assert response["cookies"] == [renewed]


def test_bytes_that_are_no_text_are_base64() -> None:
    found = entry(exchange(response_body=Body(b"\xff\0", 2)))["response"]["content"]
    assert (base64.b64decode(found["text"]), found["encoding"]) == (b"\xff\0", "base64")
    assert entry(posted(b"\xff", "x/y"))["request"]["postData"]["_encoding"] == "base64"


def test_what_is_missing_is_said() -> None:
    found = entry(
        exchange(
            status=None,
            microseconds=None,
            kind=Kind.REFUSED,
            request_body=Body(b"a", 9, cut=True),
            response_body=Body(b"", 4, withheld="it did not fit"),
            redacted=("field password",),
        )
    )
    assert found["comment"] == (
        "the client left before there was an answer; "
        "only the beginning of the request body of 9 bytes was kept; "
        "the response body was not kept: it did not fit; struck out: field password"
    )
    assert (found["response"]["status"], found["time"]) == (0, 0)


anything = st.binary(max_size=30).map(lambda data: data.decode("utf-8", "surrogateescape"))
headers = st.lists(
    st.tuples(
        st.sampled_from(["cookie", "set-cookie", "location", "content-type", "X"]) | anything, anything
    ),
    max_size=4,
).map(tuple)


@given(anything, anything, anything, headers, st.binary(max_size=20), st.none() | st.integers(0, 999))
def test_whatever_was_recorded_it_is_valid(
    method: str, host: str, path: str, sent: Any, body: bytes, status: int | None
) -> None:
    asked = exchange(
        time=TIME,
        method=method,
        authority=host,
        path=path,
        request_headers=sent,
        response_headers=sent,
        request_body=Body(body, len(body)),
        response_body=Body(body, len(body)),
        status=status,
    )
    assert entry(asked)["request"]["bodySize"] == len(body)
