"""A process that looks for cycles seldom."""

from __future__ import annotations

import subprocess
import sys


def test_it_ends_without_a_report_of_leaks() -> None:
    script = "import duckdb; from divertor.collecting import collect_rarely; collect_rarely()"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stderr == ""


def test_what_survives_is_looked_at_in_portions_too_small_to_hold_anything_up() -> None:
    script = """
import gc
from divertor.collecting import collect_rarely

collect_rarely()
young, kept = [], []
gc.callbacks.append(lambda phase, _info: phase == "start" and young.append(len(gc.get_objects(0))))
for _number in range(60_000):
    kept.append([])
print(len(young), max(young))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    looks, most = map(int, done.stdout.split())
    assert looks > 5
    assert most < 6_000
