"""`python -m bench.rules`: both engines in one run, each part in a process of its own, in shuffled rounds.

A ratio is the median of the ratios within the rounds: what the machine does beside meets both sides alike.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from bench.rules import report
from bench.rules.cases import CASES, Case

ROOT = Path(__file__).parents[2]
THEIRS = Path(__file__).with_name("theirs.py")
COUNTS = (100, 1000)
PACE = ("p50", "p99", "max", "tick", "collection", "alerts")
MEMORY = ("frequency", "change", "new_term", "cardinality", "spike", "flatline")


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m bench.rules", description=__doc__)
    options.add_argument("--rounds", type=int, default=5, help="how often everything is measured (default 5)")
    options.add_argument("--json", action="store_true", help="print one JSON document")
    options.add_argument(
        "--oracle", type=Path, default=ROOT / ".venv-oracle/bin/python", help="has elastalert2"
    )
    options.add_argument("--only", nargs="+", default=(), metavar="TYPE", help="only these rule types")
    options.add_argument("--keys", type=int, default=1_000_000, help="live keys for memory; 0: skip it")
    chosen = options.parse_args()
    if not chosen.oracle.is_file():
        print(f"{chosen.oracle}: no such Python; `make test` makes it, with elastalert2", file=sys.stderr)
        return 2
    cases = [case for case in CASES if not chosen.only or case.type in chosen.only]
    result: dict[str, Any] = {"types": by_type(cases, chosen.oracle, chosen.rounds)}
    if not chosen.only:
        result["many"] = by_count(chosen.rounds)
    if chosen.keys:
        kinds = [kind for kind in MEMORY if not chosen.only or kind in chosen.only]
        result["memory"] = [{"type": kind, **ours("memory", kind, str(chosen.keys))} for kind in kinds]
    print(json.dumps(result, indent=2) if chosen.json else report.text(result))
    return 0


def by_type(cases: list[Case], oracle: Path, rounds: int) -> list[dict[str, Any]]:
    """Events per CPU second of each type on both sides."""
    rates: dict[str, list[dict[str, float]]] = {case.type: [] for case in cases}
    for number in range(rounds):
        order = random.sample(cases, len(cases))
        for case in order:
            say(f"round {number + 1} of {rounds}: {case.type}")
            mine = ours("type", case.type)
            found = {"ours": mine["events"] / mine["seconds"]}
            if case.theirs:
                other = child([str(oracle), "-W", "ignore", str(THEIRS), case.type, str(case.theirs)])
                found["theirs"] = other["events"] / (other["per_hit"] + other["in_class"])
                found["their_class"] = other["events"] / other["in_class"]
                found["their_hits"] = other["events"] / other["per_hit"]
                found["ratio"] = found["ours"] / found["theirs"]
            rates[case.type].append(found)
    return [{"type": name, **_medians(found)} for name, found in rates.items()]


def by_count(rounds: int) -> list[dict[str, Any]]:
    """Many rules on one stream: events per CPU second, and the wait for an alert at half of that."""
    found = []
    for count in COUNTS:
        say(f"{count} rules")
        runs = [ours("many", str(count)) for _ in range(rounds)]
        rate = median(run["events"] / run["seconds"] for run in runs)
        paces = [ours("pace", str(count), str(rate / 2)) for _ in range(rounds)]
        waits = {name: median(pace[name] for pace in paces) for name in PACE}
        found.append({"rules": count, "rate": rate, "half": rate / 2, **waits})
    return found


def _medians(found: list[dict[str, float]]) -> dict[str, float]:
    return {name: median(each[name] for each in found) for name in found[0]}


def ours(*arguments: str) -> dict[str, Any]:
    return child([sys.executable, "-m", "bench.rules.ours", *arguments])


def child(command: list[str]) -> dict[str, Any]:
    """The JSON document that a process prints."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
