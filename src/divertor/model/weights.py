"""How routes share the traffic of a gateway: explicit weights, and a fair share of the rest.

Vamp's rule: weights are whole percentages; routes without one share what is left in equal whole parts, and
the last of them takes the rounding rest.
"""

from __future__ import annotations

from collections.abc import Sequence


def distribute_weights(weights: Sequence[int | None]) -> tuple[int, ...]:
    """Every weight filled in; the sum is 100, or 0 for a gateway that is shut.

    :raises ValueError: a weight is outside 0..100, the sum exceeds 100, or every weight is given and the
        sum is neither 0 nor 100.
    """
    given = [weight for weight in weights if weight is not None]
    total = sum(given)
    if any(not 0 <= weight <= 100 for weight in given) or total > 100:
        raise ValueError(f"weights between 0% and 100% that sum up to at most 100%, not {total}%")
    open_places = len(weights) - len(given)
    if not open_places:
        if total not in (0, 100):
            raise ValueError(f"weights that sum up to 100% (or all 0%), not {total}%")
        return tuple(given)
    shares = iter(_equal_shares(100 - total, open_places))
    return tuple(next(shares) if weight is None else weight for weight in weights)


def rescaled_weights(weights: Sequence[int]) -> tuple[int, ...]:
    """Whole weights in the same proportion that sum up to 100; all 0 when they are. What rounding leaves over
    goes to the largest fractions, of equal ones to the first."""
    total = sum(weights)
    if not total:
        return tuple(weights)
    shares = [weight * 100 // total for weight in weights]
    by_fraction = sorted(range(len(weights)), key=lambda place: -(weights[place] * 100 % total))
    for place in by_fraction[: 100 - sum(shares)]:
        shares[place] += 1
    return tuple(shares)


def _equal_shares(rest: int, places: int) -> list[int]:
    share = rest // places
    return [share] * (places - 1) + [rest - share * (places - 1)]
