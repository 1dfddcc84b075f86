"""Words that are nearly right, and phrases whose words are out of place: fuzziness and slop.

Both take time linear in the value they look at, because the value comes from an attacker: words are compared
along a band as wide as the edits allowed, phrases by one pass over the positions of their words.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

#: Edits that Lucene allows at most.
MAX_EDITS = 2
#: Words of a phrase with slop.
MAX_WORDS = 64


def automatic_edits(length: int, low: int = 3, high: int = 6) -> int:
    """`AUTO`: none for one or two characters, one up to five, two beyond."""
    return 0 if length < low else 1 if length < high else 2


def within(text: str, wanted: str, edits: int, *, prefix: int = 0, transpositions: bool = True) -> bool:
    """Whether at most `edits` insertions, deletions, replacements or swaps of neighbours make one of the
    other; the first `prefix` characters must be the same.
    """
    if abs(len(text) - len(wanted)) > edits or text[:prefix] != wanted[:prefix]:
        return False
    if text == wanted:
        return True
    return bool(edits) and _distance_within(text, wanted, edits, transpositions)


def _distance_within(one: str, other: str, edits: int, transpositions: bool) -> bool:
    """The optimal string alignment distance, along the diagonal only."""
    far = edits + 1
    width = len(other) + 1
    before: list[int] = [far] * width
    row = [min(column, far) for column in range(width)]
    for at in range(1, len(one) + 1):
        oldest, before, row = before, row, [far] * width
        first, last = max(1, at - edits), min(len(other), at + edits)
        if at <= edits:
            row[0] = at
        for column in range(first, last + 1):
            change = one[at - 1] != other[column - 1]
            cost = min(before[column] + 1, row[column - 1] + 1, before[column - 1] + change)
            if transpositions and at > 1 and column > 1 and _swapped(one, at, other, column):
                cost = min(cost, oldest[column - 2] + 1)
            row[column] = cost
        if min(row[max(0, at - edits) : last + 1]) > edits:
            return False
    return row[len(other)] <= edits


def _swapped(one: str, at: int, other: str, column: int) -> bool:
    return one[at - 1] == other[column - 2] and one[at - 2] == other[column - 1]


def in_sloppy_row(have: Sequence[str], wanted: Sequence[str], slop: int) -> bool:
    """Whether the words are there with at most `slop` positions between where they are and a row.

    As in Lucene: each word's position less its place in the phrase; the largest and the smallest of those
    differ by the slop at most. Each word of the phrase takes a word of its own.
    """
    places: dict[str, list[int]] = {word: [] for word in wanted}
    for position, word in enumerate(have):
        if word in places:
            places[word].append(position)
    if not wanted or any(not found for found in places.values()):
        return False
    offsets = sorted(
        {(position - place, place) for place, word in enumerate(wanted) for position in places[word]}
    )
    repeated = len(places) < len(wanted)
    counts = [0] * len(wanted)
    missing, first = len(wanted), 0
    for offset, place in offsets:
        missing -= not counts[place]
        counts[place] += 1
        while offset - offsets[first][0] > slop:
            gone = offsets[first][1]
            counts[gone] -= 1
            missing += not counts[gone]
            first += 1
        if not missing and (not repeated or _each_its_own(wanted, places, offsets[first][0], slop)):
            return True
    return False


def _each_its_own(wanted: Sequence[str], places: dict[str, list[int]], low: int, slop: int) -> bool:
    """Whether words that occur twice in the phrase find two places within the window."""
    taken: dict[str, int] = {}
    for place, word in enumerate(wanted):
        found = places[word]
        at = bisect_left(found, max(low + place, taken.get(word, -1) + 1))
        if at == len(found) or found[at] > low + place + slop:
            return False
        taken[word] = found[at]
    return True
