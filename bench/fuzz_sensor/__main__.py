"""`python -m bench.fuzz_sensor`: hostile inputs, led by coverage, for each detector and reader of the sensor.

Each target is fuzzed in a process of its own (`worker`, by atheris). A failure is any exception that comes
out, an input that takes more than 20 s, a quick answer that contradicts the judgement, or time that grows
faster than the length of the input (`growth`). Ends with 1 if there was one, with 2 when atheris is missing.

A million inputs take three to fifteen minutes for a target, and some four hours for all on one core.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.fuzz_sensor.targets import targets

INCOMPLETE = 2
_COVERED = re.compile(r"\bcov: (\d+)")
#: Seconds after which a target is given up: a million inputs, slowed down a hundred times.
_PATIENCE = 6 * 3600


def fuzz(name: str, inputs: int, seed: int) -> dict[str, Any]:
    """What became of `inputs` inputs for the target `name`."""
    with tempfile.TemporaryDirectory(prefix="divertor-fuzz-") as created:
        folder = Path(created)
        worker = [sys.executable, "-m", "bench.fuzz_sensor.worker", name, str(inputs), str(seed), created]
        with (folder / "log").open("wb") as log:
            subprocess.run(worker, stdout=log, stderr=log, timeout=_PATIENCE, check=False)
        said = (folder / "log").read_text(encoding="utf-8", errors="replace")
        covered = _COVERED.findall(said)
        if not (folder / "result.json").exists():
            hung = [file.read_bytes().hex() for file in folder.glob("hung-*")]
            return {
                "inputs": 0,
                "failures": [{"place": "the process ended", "problem": said[-400:], "input": hung}],
            }
        result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        result["covered"] = int(covered[-1]) if covered else 0
        growth = [sys.executable, "-m", "bench.fuzz_sensor.growth", name, str(folder / "result.json")]
        result["growth"] = json.loads(subprocess.run(growth, capture_output=True, check=True).stdout)
        del result["kept"]
    print(f"{name}: {result['inputs']:,} inputs in {result['seconds']:.0f} s", file=sys.stderr, flush=True)
    return result


def main() -> int:
    chosen = _options()
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: pip install atheris", file=sys.stderr)
        return INCOMPLETE
    names = chosen.target or list(targets())
    with ThreadPoolExecutor(chosen.jobs) as pool:
        results = list(pool.map(lambda name: fuzz(name, chosen.inputs, chosen.seed), names))
    found = dict(zip(names, results, strict=True))
    if chosen.json:
        Path(chosen.json).write_text(json.dumps(found, indent=2), encoding="utf-8")
    print(text(found))
    return 1 if any(_failures(result) for result in results) else 0


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="python -m bench.fuzz_sensor", description=__doc__)
    options.add_argument("--inputs", type=int, default=1_000_000, help="for each target (default 1,000,000)")
    options.add_argument(
        "--target", choices=targets(), action="append", metavar="NAME", help="only this one (may be repeated)"
    )
    options.add_argument("--seed", type=int, default=1, help="where chance begins (default 1)")
    options.add_argument("--jobs", type=int, default=1, help="targets at a time (default 1)")
    options.add_argument("--json", metavar="FILE", help="write everything that was found there as well")
    return options.parse_args()


def text(found: dict[str, dict[str, Any]]) -> str:
    """The table, and what failed below it."""
    titles = ("inputs", "s", "covered", "failed", "enlarged", "us/KB", "x2 takes", "too fast")
    lines = [f"{'':28}" + "".join(f"{title:>11}" for title in titles)]
    for name, result in found.items():
        growth = result.get("growth", {})
        cells = [
            f"{result['inputs']:,}",
            f"{result.get('seconds', 0):.0f}",
            f"{result.get('covered', 0):,}",
            str(len(result["failures"])),
            f"{growth.get('tried', 0):,}",
            f"{growth.get('worst_us_per_kb', 0):.0f}",
            f"x {growth.get('worst_factor', 0):.1f}",
            str(len(growth.get("superlinear", []))),
        ]
        lines.append(f"{name:28}" + "".join(f"{cell:>11}" for cell in cells))
    for name, result in found.items():
        lines += [f"{name}: {problem}" for problem in _failures(result)]
    return "\n".join([*lines, f"{sum(result['inputs'] for result in found.values()):,} inputs in all"])


def _failures(result: dict[str, Any]) -> list[str]:
    told = [f"{each['place']}: {each['problem']} (input {each['input']})" for each in result["failures"]]
    return told + [f"grows too fast: {each}" for each in result.get("growth", {}).get("superlinear", [])]


if __name__ == "__main__":
    sys.exit(main())
