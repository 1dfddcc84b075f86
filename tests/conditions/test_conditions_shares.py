"""The hash behind shares: xxHash's own examples; `test_conditions_envoy` compares shares with the gateway."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from divertor.conditions.shares import WHOLE, is_in_share, xxh64


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0xEF46DB3751D8E999),
        (b"a", 0xD24EC4F1A98C6E5B),
        (b"abc", 0x44BC2CF5AD770999),
        (b"Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1),
    ],
)
def test_the_hash_is_xxh64(data: bytes, expected: int) -> None:
    assert xxh64(data) == expected


@given(st.binary(max_size=80), st.integers(0, WHOLE), st.integers(0, WHOLE))
def test_a_larger_share_keeps_all_of_a_smaller_one(value: bytes, one: int, other: int) -> None:
    smaller, larger = sorted((one, other))
    assert is_in_share(value, larger) or not is_in_share(value, smaller)


@pytest.mark.parametrize("percent", [1, 10, 50])
def test_a_share_of_addresses_is_as_large_as_it_says(percent: int) -> None:
    addresses = [f"198.51.{high}.{low}".encode() for high in range(40) for low in range(250)]
    found = sum(is_in_share(address, percent * WHOLE // 100) for address in addresses)
    assert abs(found / len(addresses) - percent / 100) < 0.02


@pytest.mark.parametrize(("millionths", "holds"), [(0, False), (WHOLE, True)])
def test_nobody_and_everybody_are_shares_too(millionths: int, holds: bool) -> None:
    assert is_in_share(b"198.51.100.7", millionths) is holds
