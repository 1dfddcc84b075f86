"""Encoded values: whatever a server's own decoder finds, the condition finds too."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.conditions import PathIs, QueryContains, QueryIs, RequestView, matches, parse

#: Printable, as a condition's values are.
TEXTS = st.text("ab %+;=/é'~", min_size=1, max_size=4)
SENT = st.lists(
    st.sampled_from(
        ["a", "b", "%61", "%41", "%20", "+", "%2B", "%2b", "%c3%a9", "%C3%A9", "=", "%3D", "%25", "~", "/"]
    ),
    max_size=6,
).map("".join)


def asks(target: str) -> RequestView:
    return RequestView(path=target)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["q", "r", "%71"]), SENT), min_size=1, max_size=3))
def test_every_value_a_server_decodes_is_found(parameters: list[tuple[str, str]]) -> None:
    target = "/?" + "&".join(f"{name}={value}" for name, value in parameters)
    for name, value in parse_qsl(target[2:]):
        assert matches(QueryIs(name, value), asks(target))
        assert matches(QueryContains(name, value[len(value) // 2 :]), asks(target))


@settings(max_examples=300, deadline=None)
@given(TEXTS, SENT)
def test_a_value_that_no_server_reads_is_not_found(value: str, sent: str) -> None:
    readings = {decoded for plus in (sent, sent.replace("+", " ")) for decoded in (plus, unquote(plus))}
    plain = not any(set(reading) & set("%+ ;=") for reading in (*readings, value))
    if plain:
        assert matches(QueryIs("q", value), asks(f"/?q={sent}")) is (value in readings)


@settings(max_examples=300, deadline=None)
@given(SENT)
def test_a_path_is_found_as_a_server_decodes_it(sent: str) -> None:
    assert matches(PathIs("/" + unquote(sent)), asks("/" + sent + "?x"))


@pytest.mark.parametrize(
    ("condition", "target", "answer"),
    [
        ("query q is x", "/?q=x", True),
        ("query q is x", "/?q=a&q=x", True),
        ("query q is x", "/?q=x&q=a", True),
        ("query q is x", "/?q=a;q=x", True),
        ("query q is x", "/?q=xx", False),
        ("query q is x", "/?Q=x", False),
        ("query q is x", "/?qq=x", False),
        ("query q is x", "/q=x", False),
        ("query q is x", "/?a?q=x", False),
        ("query q is x", "/?a=?&q=x", True),
        ("query q is x", "/?%71=%78", True),
        ("query q is not x", "/?q=a&q=x", False),
        ("query q is 'a b'", "/?q=a+b", True),
        ("query q is 'a&b'", "/?q=a&b", False),
        ("query q is 'a&b'", "/?q=a%26b", True),
        ("query q has b", "/?q=abc", True),
        ("query q has b", "/?q=a&b", False),
        ("query q matches '\\d+'", "/?q=%31%32", True),
        ("query q matches '\\d+'", "/?q=12a", False),
        ("query q matches '.*'", "/?r=1", False),
        ("has query q", "/?q", True),
        ("has query q", "/?a&q=", True),
        ("has query q", "/?", False),
        ("misses query q", "/q", True),
        ("path is /a", "/a?b", True),
        ("path is /a", "/a/", False),
        ("path is '/a b'", "/a%20b", True),
        ("path is '/a b'", "/a+b", False),
        ("path is /a/b", "/a%2Fb", True),
        ("path starts with /a", "/ab", True),
        ("path has b", "/?b", False),
        ("path matches '/[^/]+/x'", "/%61/x?y", True),
        ("path matches /a", "/a/b", False),
        ("not path matches '/a.*'", "/b", True),
    ],
)
def test_a_target_is_read_as_the_manual_says(condition: str, target: str, answer: bool) -> None:
    assert matches(parse(condition), asks(target)) is answer


@pytest.mark.parametrize(
    ("condition", "cookie", "answer"),
    [
        ("cookie s is 12", "s=12", True),
        ("cookie s is 12", "s=123", False),
        ("cookie s is 12", "t=1; s = 12 ; u=3", True),
        ("cookie s is 12", 's="12"', True),
        ("cookie s is 12", "s=9; s=12", True),
        ("cookie s is 12", "s=12,t=3", True),
        ("cookie s is '12,t=3'", "s=12,t=3", True),
        ("cookie s is 12", "xs=12", False),
        ("cookie s is not 12", "s=9; s=12", False),
        ("cookie s matches '[0-9]+'", "t=a; s=12; u=b", True),
        ("cookie s matches '[0-9]+'", "s=12a", False),
        ("cookie s matches '.*b'", "s=a; t=b", False),
        ("cookie s matches ';'", "s=;", False),
    ],
)
def test_a_cookies_whole_value_is_what_any_server_may_take_for_it(
    condition: str, cookie: str, answer: bool
) -> None:
    assert matches(parse(condition), RequestView(headers=(("cookie", cookie),))) is answer
