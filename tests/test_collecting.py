"""A process that looks for cycles seldom."""

from __future__ import annotations

import subprocess
import sys


def test_it_ends_without_a_report_of_leaks() -> None:
    script = "import duckdb; from divertor.collecting import collect_rarely; collect_rarely()"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stderr == ""
