"""What a condition answers, one rule at a time; `test_conditions_envoy` compares with the gateway."""

from __future__ import annotations

import pytest

from divertor.conditions import RequestView, matches, parse


def request(host: str = "shop.example", *headers: tuple[str, str]) -> RequestView:
    return RequestView(host=host, headers=headers)


@pytest.mark.parametrize(
    ("condition", "host", "answer"),
    [
        ("host == shop.example", "SHOP.example:8080", True),
        ("host == shop.example", "shop.example:", True),
        ("host == shop.example:80", "shop.example", False),
        ("host == SHOP.example:80", "shop.example:80", True),
        ("host == shop.example", "my.shop.example", False),
        ("host == [::1]", "[::1]:80", True),
        ("header host has example", "shop.example", True),
    ],
)
def test_a_host_is_compared_whole_without_case_and_port(condition: str, host: str, answer: bool) -> None:
    assert matches(parse(condition), request(host)) is answer


@pytest.mark.parametrize(
    ("condition", "cookie", "answer"),
    [
        ("cookie s has 12", "s=0123", True),
        ("cookie s has 12", "t=0123", False),
        ("cookie s has 12", "xs=0123", False),
        ("cookie s has 12", "s=0; t=12", False),
        ("cookie s has 12", "t=1;s = 12", True),
        ("cookie s has 12", "S=12", False),
        ("cookie s has 12", "s=9; s=12", True),
        ("cookie s misses 12", "s=9; s=12", False),
        ("has cookie s", "s=", True),
        ("has cookie s", "s", False),
        ("has cookie s", "t=s=", False),
        ("misses cookie s", "t=1", True),
        ("cookie s has é", "s=\xc3\xa9", True),
    ],
)
def test_a_cookie_is_its_name_and_what_follows_to_the_next_semicolon(
    condition: str, cookie: str, answer: bool
) -> None:
    assert matches(parse(condition), request("h", ("cookie", cookie))) is answer


def test_repeated_cookie_headers_count_each() -> None:
    view = request("h", ("cookie", "s=1"), ("cookie", "s=2"))
    assert all(matches(parse(f"cookie s has {value}"), view) for value in "12")


def test_a_header_matches_whatever_the_case_of_its_name() -> None:
    assert matches(parse("header X-Test has b"), request("h", ("x-test", "abc")))


def test_repeated_headers_are_one_joined_by_commas() -> None:
    assert matches(parse("header a has 'b,c'"), request("h", ("a", "b"), ("a", "c")))


def test_an_empty_header_is_present() -> None:
    assert matches(parse("has header a"), request("h", ("a", "")))


def test_a_missing_header_contains_nothing() -> None:
    assert not matches(parse("user-agent = a or header a has a"), request())


def test_values_keep_their_case() -> None:
    assert not matches(parse("user-agent = Mozilla"), request("h", ("user-agent", "mozilla")))


@pytest.mark.parametrize(
    ("condition", "answer"),
    [
        ("true", True),
        ("false", False),
        ("not true", False),
        ("false or true and true", True),
        ("1 and 0", False),
    ],
)
def test_constants_combine(condition: str, answer: bool) -> None:
    assert matches(parse(condition), request()) is answer


@pytest.mark.parametrize(
    ("condition", "client", "answer"),
    [
        ("client address is 203.0.113.9", "203.0.113.9", True),
        ("client address is 203.0.113.9", "203.0.113.90", False),
        ("client address in 10.0.0.0/8, 2001:db8::/32", "10.255.0.1", True),
        ("client address in 10.0.0.0/8, 2001:db8::/32", "2001:db8:1::1", True),
        ("client address in 10.0.0.0/8, 2001:db8::/32", "11.0.0.1", False),
        ("client address in 10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("client address in ::/0", "10.0.0.1", False),
        ("client address not in 10.0.0.0/8", "11.0.0.1", True),
        ("client address in 0.0.0.0/0, ::/0", "", False),
        ("100% of clients", "10.0.0.1", True),
        ("100% of clients", "", False),
    ],
)
def test_a_client_is_its_address(condition: str, client: str, answer: bool) -> None:
    assert matches(parse(condition), RequestView(client=client)) is answer


@pytest.mark.parametrize(
    ("condition", "answer"),
    [
        ("method is POST", True),
        ("method in GET, HEAD", False),
        ("method not in GET, HEAD", True),
        ("header a is b", True),
        ("header a is B", False),
        ("header a is not bb", True),
        ("header c is d", False),
        ("header a matches '(?i)B'", True),
        ("header c matches .*", False),
        ("100% by header a", True),
        ("100% by header c", False),
    ],
)
def test_methods_and_headers_are_compared_whole(condition: str, answer: bool) -> None:
    assert matches(parse(condition), RequestView("POST", headers=(("a", "b"),))) is answer
