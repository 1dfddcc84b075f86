"""The detectors: pure functions that decide whether input changed what a statement means.

One file each, with the rule, the weakness it covers and its test vectors beside it. A detector reads no
clock, no environment and no request object: it gets the statement and the candidates, and returns a
`Judgement`. Adding a kind of attack is one file here plus the sinks that call it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from divertor_sensor.sources.inputs import Input
from divertor_sensor.work import Work


@dataclass(frozen=True, slots=True)
class Candidate:
    """One form of one input that is worth looking for. `text` is as the detector compares it."""

    text: str
    origin: Input


@dataclass(frozen=True, slots=True)
class Finding:
    """Input that left the place the code meant for it.

    `hostile` is False when the code is shown to be vulnerable but the input does nothing with it (an
    apostrophe in a name): such a finding is reported and never stops a request.
    """

    origin: Input
    hostile: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """`touched`: some candidate occurs in the statement at all; `finding`: the worst thing found, or None."""

    touched: bool
    finding: Finding | None


#: A plain search looks at this many characters in the time of one step.
SEARCH = 16
UNTOUCHED = Judgement(False, None)


@dataclass(frozen=True, slots=True, eq=False)
class Detector:
    """A detector's declaration: the type it reports, the weakness, and its two pure functions.

    `select` picks, from one input, the texts worth searching for (most inputs give none);
    `judge` decides over a statement, and raises `divertor_sensor.work.Spent` when that would cost too much.

    The last two are for a request whose inputs could not all be judged. `is_innocent` tells that a statement
    has nowhere an input could have done harm; `marks` gives the pieces of a statement of which at least one
    occurs in the raw request when an input is in it.

    `skeleton`, if there is one, spares the judging of most statements: it gives a statement without what its
    literals hold, or None when that is not plain to see. Where it gives one, a candidate that has no
    apostrophe and does not begin in the skeleton must not lead to a finding
    (`divertor_sensor.detectors.skeleton`).
    """

    type: str
    cwe: str
    owasp: str
    select: Callable[[str], Sequence[str]]
    judge: Callable[[str, Sequence[Candidate], Work], Judgement]
    is_innocent: Callable[[str], bool]
    marks: Callable[[str], Sequence[str]]
    skeleton: Callable[[str], str | None] | None = None


def worst(first: Finding | None, second: Finding | None) -> Finding | None:
    """The more severe of two findings; the first when they are equal."""
    if first is None or (second is not None and second.hostile and not first.hostile):
        return second
    return first


def worst_occurrence(
    text: str, candidate: Candidate, at: int, work: Work, severity: Callable[[int, int], bool | None]
) -> Finding | None:
    """The worst of a candidate's places in `text`, of which `at` is the first.

    `severity` tells of a place, by its start and end, whether it is hostile; None is for no finding.

    :raises Spent: there are too many.
    """
    finding: Finding | None = None
    while at >= 0:
        found = severity(at, at + len(candidate.text))
        if found is not None:
            finding = worst(finding, Finding(candidate.origin, found))
            if found:
                return finding
        following = text.find(candidate.text, at + 1)
        work.spend((following - at if following > 0 else len(text) - at) // SEARCH)
        at = following
    return finding


def common_length(text: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    low, high = 0, min(len(text), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if text[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def windows(statement: str) -> list[str]:
    """Overlapping pieces of a statement: whatever shares six characters in a row with it holds one."""
    text = statement.lower()
    return list(dict.fromkeys(text[at : at + 5] for at in range(0, max(1, len(text) - 4), 2)))
