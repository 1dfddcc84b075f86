"""`python -m bench.fuzz_sensor.growth TARGET FILE`: how a target's time grows with the length of an input.

Gets the inputs a fuzzer kept, as JSON, and repeats each of them, and pieces of each, up to some lengths. An
input whose time more than doubles whenever its length doubles, three times in a row, is reported. Not
instrumented: the times are those of the sensor as it is.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from bench.fuzz_sensor.targets import Target, targets

#: Lengths at which it is found out which inputs take longest, and at which those are looked at closely.
_FIRST = (128, 512, 2048)
_LENGTHS = tuple(1024 << power for power in range(7))
#: Nothing longer is tried of an input that takes so many seconds.
_ENOUGH = 0.5
_PIECES = 2
#: Doubling the length may take this many times as long; what takes less than the floor says nothing.
_FACTOR = 2.6
_FLOOR = 0.001
_IN_A_ROW = 3
#: Enlarged inputs that are looked at closely: those that take longest.
_CLOSELY = 20


class Recipe(NamedTuple):
    """An input that can be of any length: what is repeated, and what stands around it."""

    choice: int
    before: str
    unit: str
    after: str

    def text(self, length: int) -> str:
        """The input, of about `length` characters."""
        return self.before + self.unit * max(1, length // len(self.unit)) + self.after


@dataclass
class Growth:
    """How long inputs take; `worst_factor` is the least of `_IN_A_ROW` doublings of the worst input."""

    tried: int = 0
    worst_us_per_kb: float = 0.0
    worst_input: str = ""
    worst_factor: float = 0.0
    superlinear: list[str] = field(default_factory=list)


def measure(target: Target, kept: list[str]) -> Growth:
    """Enlarge what was kept, and see how long it takes."""
    timed = [(max(_times(target, recipe, _FIRST, 1)), recipe) for recipe in _recipes(kept)]
    timed.sort(key=lambda entry: entry[0], reverse=True)
    found = Growth(tried=len(timed))
    for _, recipe in timed[:_CLOSELY]:
        _look_closely(target, recipe, found)
    return found


def _recipes(kept: list[str]) -> Iterator[Recipe]:
    for number, data in enumerate(kept):
        raw = bytes.fromhex(data)
        choice, text = raw[0] if raw else 0, raw[1:].decode("utf-8", "surrogateescape")
        if not text:
            continue
        yield Recipe(choice, "", text, "")
        chance = random.Random(number)
        for _ in range(_PIECES):
            start = chance.randrange(len(text))
            end = min(len(text), start + 1 + int(chance.expovariate(0.15)))
            yield Recipe(choice, text[:start], text[start:end], text[end:])


def _look_closely(target: Target, recipe: Recipe, found: Growth) -> None:
    times = _times(target, recipe, _LENGTHS, 2)
    length = len(recipe.text(_LENGTHS[len(times) - 1]))
    per_kb = times[-1] * 1e6 / (length / 1024)
    if per_kb > found.worst_us_per_kb:
        found.worst_us_per_kb, found.worst_input = per_kb, ascii(recipe)[:300]
    factors = [after / before for before, after in zip(times, times[1:], strict=False) if before > _FLOOR]
    if len(factors) < _IN_A_ROW:
        return
    least = min(factors[-_IN_A_ROW:])
    found.worst_factor = max(found.worst_factor, least)
    if least > _FACTOR:
        found.superlinear.append(f"{[round(factor, 1) for factor in factors]} {ascii(recipe)[:300]}")


def _times(target: Target, recipe: Recipe, lengths: Sequence[int], times: int) -> list[float]:
    """The least processor times at growing lengths, as far as that is bearable."""
    found: list[float] = []
    for length in lengths:
        found.append(_seconds(target, recipe, length, times))
        if found[-1] > _ENOUGH:
            break
    return found


def _seconds(target: Target, recipe: Recipe, length: int, times: int) -> float:
    text, least = recipe.text(length), float("inf")
    for _ in range(times):
        started = time.process_time()
        # What is raised was told by the fuzzer; here only time counts.
        with suppress(Exception):
            target.attempt(text, recipe.choice)
        least = min(least, time.process_time() - started)
    return least


if __name__ == "__main__":
    print(
        json.dumps(asdict(measure(targets()[sys.argv[1]], json.loads(Path(sys.argv[2]).read_text())["kept"])))
    )
