"""`python -m bench.loop`: from an attack to its isolation, with the targets beside the figures."""

from __future__ import annotations

import argparse
import json
import sys
from statistics import quantiles

from bench.loop import reaction


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m bench.loop", description=__doc__)
    options.add_argument("--attacks", type=int, default=200, help="attacks per way (default 200)")
    options.add_argument("--json", action="store_true", help="print one JSON document")
    chosen = options.parse_args()
    reacted = reaction.measure(chosen.attacks, _say)
    percentiles = quantiles(reacted.milliseconds, n=100)
    result = {
        "reaction_ms": {"p50": round(percentiles[49], 2), "p99": round(percentiles[98], 2)},
        "followed": f"{reacted.followed} of {reacted.attacks}",
        "memory_mb": {name: round(size, 1) for name, size in reacted.memory.items()},
        "memory_total_mb": round(sum(reacted.memory.values()), 1),
    }
    print(json.dumps(result, indent=2)) if chosen.json else _print(result)
    return 0


def _print(result: dict[str, object]) -> None:
    print(f"detection → in effect, by report and rule: {result['reaction_ms']} ms (target p50 ≤ 5, p99 ≤ 25)")
    print(f"diverted attacks whose next request was isolated already: {result['followed']}")
    print(f"resident memory of the idle stack: {result['memory_total_mb']} MB (target ≤ 350)")
    print(f"  {result['memory_mb']}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
