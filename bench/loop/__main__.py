"""`python -m bench.loop`: the table, with the targets beside the figures."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median, quantiles

from bench.loop import reaction, throughput


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m bench.loop", description=__doc__)
    options.add_argument("--rounds", type=int, default=9, help="rounds of each contender (default 9)")
    options.add_argument("--seconds", type=int, default=2, help="seconds per run (default 2)")
    options.add_argument("--attacks", type=int, default=200, help="attacks per way (default 200)")
    options.add_argument("--json", action="store_true", help="print one JSON document")
    chosen = options.parse_args()
    result: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="divertor-bench-") as folder:
        samples = throughput.measure(Path(folder), chosen.rounds, chosen.seconds, _say)
    reacted = reaction.measure(chosen.attacks, _say)
    base = samples["bare Envoy"]
    rows = {}
    for name, mine in samples.items():
        rows[name] = {
            "requests_per_second": round(median(sample.rate for sample in mine)),
            "p50_ms": round(median(sample.p50 for sample in mine), 3),
            "p99_ms": round(median(sample.p99 for sample in mine), 3),
            "cpu_us_per_request": round(median(sample.cpu for sample in mine), 1),
            "rate_ratio": round(throughput.ratio(mine, base, lambda sample: sample.rate), 3),
            "p99_ratio": round(throughput.ratio(mine, base, lambda sample: sample.p99), 3),
        }
    percentiles = quantiles(reacted.milliseconds, n=100)
    result["gateway"] = rows
    result["reaction_ms"] = {"p50": round(percentiles[49], 2), "p99": round(percentiles[98], 2)}
    result["followed"] = f"{reacted.followed} of {reacted.attacks}"
    result["memory_mb"] = {name: round(size, 1) for name, size in reacted.memory.items()}
    result["memory_total_mb"] = round(sum(reacted.memory.values()), 1)
    print(json.dumps(result, indent=2)) if chosen.json else _print(result, rows)
    return 0


def _print(result: dict[str, object], rows: dict[str, dict[str, float]]) -> None:
    print(
        f"{'gateway':32}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'CPU µs':>9}"
        f"{'req/s ÷ bare':>14}{'p99 ÷ bare':>12}"
    )
    for name, row in rows.items():
        print(
            f"{name:32}{row['requests_per_second']:>9}{row['p50_ms']:>9}{row['p99_ms']:>9}"
            f"{row['cpu_us_per_request']:>9}{row['rate_ratio']:>14}{row['p99_ratio']:>12}"
        )
    print("target: Divertor ≥ 0.95 × bare Envoy in requests/s\n")
    print(f"detection → in effect, by report and rule: {result['reaction_ms']} ms (target p50 ≤ 5, p99 ≤ 25)")
    print(f"diverted attacks whose next request was isolated already: {result['followed']}")
    print(f"resident memory of the idle stack: {result['memory_total_mb']} MB (target ≤ 350)")
    print(f"  {result['memory_mb']}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
