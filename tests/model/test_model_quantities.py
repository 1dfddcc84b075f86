"""Sizes, times and percentages as people write them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from divertor.model import quantities as q
from divertor.model.artifacts import Protocol
from divertor.model.isolation import KeyKind, KeySelector

CASES: list[tuple[Callable[[str], Any], str, Any]] = [
    (q.parse_percentage, "50%", 50),
    (q.parse_percentage, " 7 % ", 7),
    (q.parse_percentage, "100", 100),
    (q.parse_cpu, "2", 2.0),
    (q.parse_cpu, "0.2", 0.2),
    (q.parse_cpu, "500m", 0.5),
    (q.parse_memory, "512MB", 512 * 1024**2),
    (q.parse_memory, "2gb", 2 * 1024**3),
    (q.parse_memory, "120 M", 120 * 1024**2),
    (q.parse_memory, "1.5GiB", 1536 * 1024**2),
    (q.parse_memory, "64", 64),
    (q.parse_seconds, "10s", 10),
    (q.parse_seconds, "1m", 60),
    (q.parse_seconds, "2h", 7200),
    (q.parse_seconds, "3 minutes", 180),
    (q.parse_seconds, "1 hrs", 3600),
    (q.parse_seconds, "0.5 sec", 0.5),
    (q.parse_duration, "24h", timedelta(days=1)),
    (q.parse_duration, "7d", timedelta(days=7)),
    (q.parse_duration, "forever", None),
    (q.parse_port, "8080", (8080, Protocol.HTTP)),
    (q.parse_port, "8080/http", (8080, Protocol.HTTP)),
    (q.parse_port, "5432/TCP", (5432, Protocol.TCP)),
    (q.parse_key_selector, "cookie session", KeySelector(KeyKind.COOKIE, "session")),
    (q.parse_key_selector, "Header X-Api-Key", KeySelector(KeyKind.HEADER, "x-api-key")),
    (q.parse_key_selector, "client  address", KeySelector(KeyKind.ADDRESS)),
    (q.parse_seconds, "250 ms", 0.25),
    (q.parse_port, "50051/grpc", (50051, Protocol.HTTP2)),
    (q.parse_port, "443/http2", (443, Protocol.HTTP2)),
    (q.parse_gateway_port, "443/http", (443, Protocol.HTTP)),
    (q.parse_key_selector, "client address/24", KeySelector(KeyKind.PREFIX, "24/64")),
    (q.parse_key_selector, "Client Address / 16 / 48", KeySelector(KeyKind.PREFIX, "16/48")),
    (q.parse_key_selector, "bearer token", KeySelector(KeyKind.BEARER)),
    (q.parse_key_selector, "TLS JA3", KeySelector(KeyKind.JA3)),
    (q.parse_key_selector, "tls ja4", KeySelector(KeyKind.JA4)),
    (q.parse_key_selector, "user id", KeySelector(KeyKind.USER)),
]

REFUSED: list[tuple[Callable[[str], Any], str]] = [
    *((q.parse_percentage, text) for text in ("101%", "-1", "12.5%", "", "50%%", "١%")),
    *((q.parse_cpu, text) for text in ("-1", "two", "1e3", "0.5m", "")),
    *((q.parse_memory, text) for text in ("-1MB", "1 PB", "MB", "1,5GB")),
    *((q.parse_seconds, text) for text in ("10", "s", "-1s", "1w", "99999d")),
    *((q.parse_duration, text) for text in ("0s", "0.0000001s", "always")),
    *((q.parse_port, text) for text in ("65536", "80/udp", "http", "-1", "80/")),
    *(
        (q.parse_key_selector, text)
        for text in (
            "cookie",
            "cookie a=b",
            "header x:y",
            "address",
            "cookie a b",
            "tls ja5",
            "token",
            f"cookie {201 * 'c'}",
        )
    ),
    *((q.parse_key_selector, f"client address/{bits}") for bits in ("7", "33", "24/129", "24/8", "a", "")),
    *((q.parse_gateway_port, text) for text in ("443/http2", "80/grpc", "80/h")),
]


@pytest.mark.parametrize(("parse", "text", "value"), CASES)
def test_a_quantity_is_read_in_all_its_spellings(parse: Callable[[str], Any], text: str, value: Any) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(("parse", "text"), REFUSED)
def test_what_is_no_quantity_is_refused(parse: Callable[[str], Any], text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_no_case_is_missing() -> None:
    assert (len(CASES), len(REFUSED)) == (36, 45)


@given(st.integers(0, 2**50))
def test_a_memory_size_survives_being_written(size: int) -> None:
    assert q.parse_memory(q.format_memory(size)) == size


@given(st.timedeltas(timedelta(microseconds=1), timedelta(days=3650)) | st.none())
def test_a_duration_survives_being_written(duration: timedelta | None) -> None:
    assert q.parse_duration(q.format_duration(duration)) == duration


@given(st.sampled_from([text for parse, text, _ in CASES if parse is q.parse_key_selector]))
def test_a_key_selector_survives_being_written(text: str) -> None:
    selector = q.parse_key_selector(text)
    assert q.parse_key_selector(str(selector)) == selector
