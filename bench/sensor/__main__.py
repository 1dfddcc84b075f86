"""The sensor beside no sensor and its rivals: what a request, a query and an attack cost."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from bench import load
from bench.contenders import CORES, new_port
from bench.sensor import calls, report, serving
from bench.sensor.standins import standing_in
from bench.sensor.variants import HOSTS, ROOT, VARIANTS, Variant, installed

#: Exit status when a program is missing.
INCOMPLETE = 2


def main() -> int:
    chosen = _options()
    if missing := load.require("wrk"):
        print(missing, file=sys.stderr)
        return INCOMPLETE
    versions = installed(chosen.peers)
    if lacking := [name for name in HOSTS if name not in versions]:
        print(f"{chosen.peers} lacks {', '.join(lacking)}: pip install {' '.join(lacking)}", file=sys.stderr)
        return INCOMPLETE
    known = [each for each in VARIANTS if not (chosen.without_peers and each.distribution)]
    present = [each for each in known if not each.distribution or each.distribution in versions]
    document: report.Document = {
        "machine": _machine(versions),
        "rounds": chosen.rounds,
        "seconds": chosen.seconds,
        "missing": [
            {"title": each.title, "distribution": each.distribution} for each in known if each not in present
        ],
    }
    with tempfile.TemporaryDirectory(prefix="divertor-bench-") as folder:
        _measure(Path(folder), present, chosen, document)
    document["targets"] = report.to_json(report.targets(document))
    if chosen.json:
        chosen.json.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    print(report.text(document))
    return 0


def _measure(
    folder: Path, present: list[Variant], chosen: argparse.Namespace, document: report.Document
) -> None:
    taken: set[int] = set()
    with standing_in(new_port(taken)) as services:
        figures = calls.measure(present, chosen.peers, services, chosen.rounds, _say)
        document["calls"] = report.call_rows(figures)
        with serving.serving(folder, present, chosen.peers, services, taken) as entries:
            samples, honest = serving.measure(folder, entries, chosen.rounds, chosen.seconds, _say)
            attacked = serving.footprint(entries)
    document["serving"] = report.serving_rows(samples, honest, attacked)


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="python -m bench.sensor", description=__doc__)
    options.add_argument("--rounds", type=int, default=7, help="runs of each, in shuffled order (default 7)")
    options.add_argument("--seconds", type=int, default=2, help="seconds of a run (default 2)")
    options.add_argument("--quick", action="store_true", help="2 rounds of 1 second: to see that it works")
    options.add_argument("--without-peers", action="store_true", help="the sensor and no sensor only")
    options.add_argument(
        "--peers", type=Path, default=_peers(), help="a Python that has the rivals and the web frameworks"
    )
    options.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    chosen = options.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.seconds = 2, 1
    return chosen


def _peers() -> Path:
    own = ROOT / ".venv-bench" / "bin" / "python"
    return own if own.exists() else Path(sys.executable)


def _machine(versions: dict[str, str]) -> str:
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    model = models[0].partition(": ")[2] if models else os.uname().machine
    return f"{len(CORES)} cores ({model}), load {os.getloadavg()[0]:.1f} before the start; " + ", ".join(
        f"{name} {version}" for name, version in sorted(versions.items())
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
