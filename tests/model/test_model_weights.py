"""How routes share a gateway's traffic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from divertor.model.weights import distribute_weights

CASES: list[tuple[list[int | None], tuple[int, ...]]] = [
    ([], ()),
    ([None], (100,)),
    ([None, None, None], (33, 33, 34)),
    ([50, None, None], (50, 25, 25)),
    ([95, None], (95, 5)),
    ([100, None], (100, 0)),
    ([0, 100], (0, 100)),
    ([0, 0], (0, 0)),
    ([None, 90, None, None], (3, 90, 3, 4)),
]


@pytest.mark.parametrize(("weights", "filled"), CASES)
def test_routes_without_a_weight_share_what_is_left(
    weights: list[int | None], filled: tuple[int, ...]
) -> None:
    assert distribute_weights(weights) == filled


@pytest.mark.parametrize("weights", [[60, 50], [99], [101], [-1, 101], [50, 40], [101, None]])
def test_weights_that_do_not_add_up_are_refused(weights: list[int | None]) -> None:
    with pytest.raises(ValueError, match="sum up to"):
        distribute_weights(weights)


@given(st.lists(st.none() | st.integers(0, 30), max_size=8).filter(lambda weights: None in weights))
def test_a_share_is_never_negative_and_the_sum_is_whole(weights: list[int | None]) -> None:
    if sum(weight or 0 for weight in weights) > 100:
        return
    filled = distribute_weights(weights)
    assert sum(filled) == 100
    assert all(new >= 0 and old in (None, new) for old, new in zip(weights, filled, strict=True))
