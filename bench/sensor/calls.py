"""Single calls within a request, without a server: `bench.sensor.inside` in processes of their own."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.contenders import CORE, pinned
from bench.sensor.variants import Variant, command, environment

#: By variant: the figures of each process, microseconds by name.
Figures = dict[str, list[dict[str, float]]]


def measure(
    variants: Sequence[Variant], python: Path, services: str, rounds: int, say: Callable[[str], None]
) -> Figures:
    """As many processes of each variant as there are rounds; the order is another one in each round."""
    figures: Figures = {variant.name: [] for variant in variants}
    order = list(variants)
    for turn in range(rounds):
        random.shuffle(order)
        for variant in order:
            say(f"calls, round {turn + 1} of {rounds}: {variant.title}")
            figures[variant.name].append(_one(variant, python, services))
    return figures


def _one(variant: Variant, python: Path, services: str) -> dict[str, float]:
    argv = command(variant, python, ("-m", "bench.sensor.inside"))
    with pinned(CORE):
        told = subprocess.run(
            argv, env={**os.environ, **environment(variant, services)}, capture_output=True, text=True
        )
    if told.returncode:
        raise RuntimeError(f"{variant.title} failed:\n{told.stderr[-2000:]}")
    found: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return found
