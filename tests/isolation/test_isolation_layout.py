"""Python and the filter's C agree on fingerprints, cookies and what a value may mean."""

from __future__ import annotations

import ipaddress
import socket
from datetime import UTC, datetime
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from divertor.isolation.layout import (
    FOREVER,
    MAX_VALUE,
    canonical_value,
    expiry_second,
    fingerprint,
    key_words,
    readings,
    scope_key,
)
from divertor.model.isolation import KeyKind, KeySelector

if TYPE_CHECKING:
    from tests.isolation.conftest import Filter

COOKIE = KeySelector(KeyKind.COOKIE, "session")
HEADER = KeySelector(KeyKind.HEADER, "x-api-key")
ADDRESS = KeySelector(KeyKind.ADDRESS)
BEARER = KeySelector(KeyKind.BEARER)
PREFIX = KeySelector(KeyKind.PREFIX, "24/64")
JA3, JA4, USER = (KeySelector(kind) for kind in (KeyKind.JA3, KeyKind.JA4, KeyKind.USER))
KEY = scope_key(b"secret", "shop/web", COOKIE)

some = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
#: Text made of what means something to some reader of cookies.
TRICKY = st.lists(
    st.sampled_from(
        [b"session", b"=", b";", b" ", b",", b'"', b"\\", b"\\141", b"%61", b"%", b"+", b"a", b"b"]
        + [
            b"\xc2\xa0",
            b"\xa0",
            b"\x85",
            b"\xe2\x80\x83",
            b"\xef\xbb\xbf",
            b"\xff",
            b"\t",
            b"%3D",
            b"x" * 4095,
        ]
    ),
    max_size=12,
).map(b"".join)


@some
@given(st.binary(max_size=40) | st.binary(min_size=8, max_size=8), st.binary(min_size=16, max_size=16))
def test_fingerprints_are_equal_on_any_bytes(native: Filter, data: bytes, key: bytes) -> None:
    assert fingerprint(key, data.decode("utf-8", "surrogateescape")) == native.fingerprint(key, data)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 255, 256, MAX_VALUE - 1, MAX_VALUE, MAX_VALUE + 1, 70000])
def test_fingerprints_are_equal_at_every_length(native: Filter, length: int) -> None:
    data = bytes(at % 251 for at in range(length))
    assert fingerprint(KEY, data.decode("latin-1").encode("latin-1").decode("utf-8", "surrogateescape")) == (
        native.fingerprint(KEY, data)
    )


def test_only_the_first_4096_bytes_count() -> None:
    assert fingerprint(KEY, "x" * 4096) == fingerprint(KEY, "x" * 4096 + "y") != fingerprint(KEY, "x" * 4095)


def test_a_fingerprint_is_never_the_mark_of_an_empty_slot(native: Filter) -> None:
    assert all(native.fingerprint(KEY, str(number).encode()) for number in range(1000))


def test_a_key_is_handed_to_the_filter_as_two_words() -> None:
    assert key_words(bytes(range(16))) == ("0706050403020100", "0f0e0d0c0b0a0908")


def test_the_same_value_elsewhere_is_somebody_else() -> None:
    places = [("a/b", COOKIE), ("a/c", COOKIE), ("a/b", HEADER), ("a/b", KeySelector(KeyKind.COOKIE, "s"))]
    assert len({scope_key(b"secret", scope, selector) for scope, selector in places}) == 4


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ("session=abc", ["abc"]),
        ("a=1; session=abc;b=2", ["abc"]),
        ("session =abc", ["abc"]),
        ("  session=\t abc  ;", ["abc"]),
        ("session=a; session=b", ["a", "b"]),
        ('session="abc"', ["abc"]),
        (r'session="\141bc"', ["abc"]),
        (r'session="\a\"c"', ['a"c']),
        ("session=", []),
        ("Session=abc", []),
        ("xsession=abc", []),
        ("session", []),
        ("$Version=1; session=abc; $Path=/", ["abc"]),
        ("a=1,session=abc", ["abc"]),
        ("a=1 session=abc", ["abc"]),
        ('a="x; session=abc"', ['abc"']),
        ("%73ession=abc", ["abc"]),
        ("session\u00a0=\u2003abc\ufeff", ["abc"]),
        ("session=a=b", ["a=b"]),
        ("session=session=abc", ["session=abc", "abc"]),
        ("", []),
        ("=;==;;", []),
    ],
)
def test_a_cookie_is_found_however_it_is_written(native: Filter, header: str, values: list[str]) -> None:
    assert native.cookies(header.encode(), b"session") == [value.encode() for value in values]


def test_white_space_of_latin_1_is_trimmed_as_applications_do(native: Filter) -> None:
    assert native.cookies(b"session\xa0=\x85abc\xa0", b"session") == [b"abc"]


@some
@given(TRICKY)
def test_what_the_filter_finds_is_what_python_reads_into_it(native: Filter, data: bytes) -> None:
    """The filter's readings of what was sent are among those of the value as it was sent, and the reverse."""
    header = b"session=" + data.replace(b";", b"").replace(b"=", b"")
    sent = header.partition(b"=")[2]
    found = {reading for value in native.cookies(header, b"session") for reading in native.readings(value)}
    told = {text.encode("utf-8", "surrogateescape")[:MAX_VALUE] for text in readings(COOKIE, _text(sent))}
    assert found <= told
    assert {fingerprint(KEY, _text(value)) for value in found} <= {
        fingerprint(KEY, text) for text in readings(COOKIE, _text(sent))
    }


@some
@given(TRICKY.filter(bytes.strip))
def test_a_value_is_recognised_by_what_was_recorded_of_it(native: Filter, value: bytes) -> None:
    """Whatever the sensor or a person recorded, the filter finds it when the client sends the same again."""
    sent = value.replace(b";", b"").replace(b"=", b"")
    found = {
        native.fingerprint(KEY, reading)
        for each in native.cookies(b"session=" + sent, b"session")
        for reading in native.readings(each)
    }
    recorded = {fingerprint(KEY, text) for text in readings(COOKIE, _text(sent))}
    assert not found or found & recorded


@some
@given(
    st.lists(st.tuples(st.sampled_from(["session", "a", "b-c"]), st.text("abc1%", min_size=1)), max_size=4)
)
def test_whatever_pythons_own_reader_sees_the_filter_sees(
    native: Filter, pairs: list[tuple[str, str]]
) -> None:
    writer = [SimpleCookie({name: value}).output(header="").strip() for name, value in pairs]
    header = "; ".join(writer)
    read = SimpleCookie(header)
    if "session" in read:
        assert read["session"].value.encode() in native.cookies(header.encode(), b"session")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("abc", "%61bc"),
        ("s%3Aabc.x", "s:abc.x"),
        ("s%3Aabc", "s%3aabc"),
        ("a b", "a+b"),
        ("abc", "\u00a0abc"),
        ("abc", "abc junk=1"),
        ("abc", "abc,d"),
        ("abc", '"abc" d'),
        ("abc", r'"\141bc"'),
    ],
)
def test_two_ways_to_write_a_session_meet(one: str, other: str) -> None:
    assert set(readings(COOKIE, one)) & set(readings(COOKIE, other))


def test_readings_begin_with_the_value_itself() -> None:
    assert readings(COOKIE, "a%20b")[0] == "a%20b" and readings(COOKIE, "plain") == ("plain",)


def test_a_header_is_only_trimmed() -> None:
    assert readings(HEADER, " a%20b, c ") == (" a%20b, c ", "a%20b, c")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"session=abc; Path=/; HttpOnly", (b"session", b"abc")),
        (b' session = "a\\073b" ;x', (b"session", b"a;b")),
        (b"session=; Max-Age=0", None),
        (b"session", None),
        (b"=x", None),
        (b"; session=abc", None),
        (b"", None),
        (b"session=a=b", (b"session", b"a=b")),
    ],
)
def test_set_cookie_is_read_as_browsers_do(
    native: Filter, line: bytes, told: tuple[bytes, bytes] | None
) -> None:
    assert native.set_cookie(line) == told


def _plain(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that an IPv6 one stands for."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


@some
@given(st.ip_addresses(), st.integers(0, 32), st.integers(0, 128))
def test_the_filter_finds_the_network_of_an_address(
    native: Filter, address: ipaddress.IPv4Address | ipaddress.IPv6Address, four: int, six: int
) -> None:
    plain = _plain(address)
    family = socket.AF_INET if plain.version == 4 else socket.AF_INET6
    bits = four if plain.version == 4 else six
    network = ipaddress.ip_network((plain, bits), strict=False)
    told = f"{socket.inet_ntop(family, network.network_address.packed)}/{bits}"
    assert native.network(str(address).encode(), four, six) == told.encode()


@pytest.mark.parametrize("text", [b"::ffff:192.0.2.77", b"::ffff:c000:24d", b"192.0.2.77"])
def test_an_ipv4_address_written_as_ipv6_is_in_its_own_network(native: Filter, text: bytes) -> None:
    assert native.network(text, 24, 64) == b"192.0.2.0/24"


@pytest.mark.parametrize("text", [b"", b"[", b"192.0.2", b"192.0.2.1:80", b"::g", b"1" * 80])
def test_what_is_no_address_is_in_no_network(native: Filter, text: bytes) -> None:
    assert native.network(text, 24, 64) == b""


@some
@given(st.ip_addresses())
def test_an_address_is_written_as_envoy_writes_it(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    plain = _plain(address)
    family = socket.AF_INET if plain.version == 4 else socket.AF_INET6
    assert canonical_value(ADDRESS, address.exploded) == socket.inet_ntop(family, plain.packed)


@pytest.mark.parametrize(
    ("selector", "value", "canonical"),
    [
        (PREFIX, "192.0.2.77", "192.0.2.0/24"),
        (PREFIX, "192.0.2.0/24", "192.0.2.0/24"),
        (PREFIX, "192.0.2.77/24", "192.0.2.0/24"),
        (PREFIX, "2001:DB8:0:0:1::5", "2001:db8::/64"),
        (PREFIX, "::ffff:192.0.2.77", "192.0.2.0/24"),
        (ADDRESS, "::FFFF:192.0.2.77", "192.0.2.77"),
        (KeySelector(KeyKind.PREFIX, "0/128"), "192.0.2.77", "0.0.0.0/0"),
        (KeySelector(KeyKind.PREFIX, "0/128"), "2001:db8::1", "2001:db8::1/128"),
        (BEARER, "abc.def", "abc.def"),
        (BEARER, "Bearer abc.def", "abc.def"),
        (BEARER, "  bEARER \t abc.def ", "abc.def"),
        (BEARER, "Bearerabc", "Bearerabc"),
        (BEARER, "bearer", "bearer"),
        (JA3, " E7D705A3286E19EA42F587B344EE6865", "e7d705a3286e19ea42f587b344ee6865"),
        (JA4, "t13d1516h2_8DAAF6152771_e5627efa2ab1 ", "t13d1516h2_8daaf6152771_e5627efa2ab1"),
        (USER, "alice", "alice"),
    ],
)
def test_a_key_has_one_form(selector: KeySelector, value: str, canonical: str) -> None:
    assert canonical_value(selector, value) == canonical == canonical_value(selector, canonical)


@pytest.mark.parametrize(
    ("selector", "value", "expected"),
    [
        (PREFIX, "192.0.2.0/25", "of 24 .IPv4. or 64"),
        (PREFIX, "192.0.2.0/", "an address, or a network"),
        (PREFIX, "nowhere", "an address, or a network"),
        (KeySelector(KeyKind.PREFIX, "33/64"), "192.0.2.1", "two lengths"),
        (KeySelector(KeyKind.PREFIX, "24"), "192.0.2.1", "two lengths"),
        (ADDRESS, "192.0.2.0/24", "an IP address"),
        (JA3, "e7d7", "32 hex digits"),
        (JA4, "e7d705a3286e19ea42f587b344ee6865", "a JA4 such as"),
    ],
)
def test_what_is_no_key_is_refused(selector: KeySelector, value: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        canonical_value(selector, value)


@some
@given(st.ip_addresses(), st.integers(0, 32), st.integers(0, 128))
def test_the_network_of_an_address_is_the_filters_and_stable(
    native: Filter, address: ipaddress.IPv4Address | ipaddress.IPv6Address, four: int, six: int
) -> None:
    selector = KeySelector(KeyKind.PREFIX, f"{four}/{six}")
    told = canonical_value(selector, str(address))
    assert told.encode() == native.network(str(address).encode(), four, six)
    assert canonical_value(selector, told) == told


@some
@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40))
def test_the_form_of_a_token_is_stable_and_read_as_itself(text: str) -> None:
    once = canonical_value(BEARER, f"Bearer {text}")
    assert canonical_value(BEARER, f"bearer\t{text} ") == once
    assert canonical_value(BEARER, once) == once == readings(BEARER, once)[0]


@some
@given(st.text("abcXYZ019-_.~!#$&'()*/:<=>?@[]^`{|}", min_size=1, max_size=60))
def test_what_needs_no_reading_has_no_other(text: str) -> None:
    """The short cut for plain values agrees with the long way, which a space before it forces."""
    assert readings(COOKIE, text) == (text,) and readings(COOKIE, f" {text}")[1:] == (text,)


@some
@given(st.text('ab% +,"\\;\t=', min_size=1, max_size=12).map(str.encode))
def test_what_the_filter_calls_plain_has_one_reading(native: Filter, value: bytes) -> None:
    assert not native.is_plain(value) or native.readings(value) == {value}


def test_a_user_is_nothing_the_filter_sees() -> None:
    assert readings(USER, "alice") == ()


def test_an_isolation_holds_through_its_last_second() -> None:
    assert expiry_second(datetime(2026, 1, 1, 0, 0, 0, 999999, UTC)) == 1767225601
    assert expiry_second(None) == FOREVER
    assert expiry_second(datetime(2200, 1, 1, tzinfo=UTC)) == FOREVER - 1


@pytest.mark.parametrize("value", [b"%41" * 5000, b'"' + b"\\101" * 5000 + b'"', b"a" * 9000])
def test_a_value_is_cut_where_it_no_longer_counts(native: Filter, value: bytes) -> None:
    (found,) = native.cookies(b"session=" + value, b"session")
    assert max(map(len, native.readings(found))) == MAX_VALUE


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
