"""A backtest over ten million stored events: `python -m bench.rules.history [--events N]`.

The store is made by the database itself, as the recorder would have filled it: a month of requests of 1,000
users in the order of their arrival, one in fifty up to ten seconds late. Then each rule is run over all of it
with the command people use, in a process of its own; its time and its memory are what the kernel says.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb

from divertor.layout import Layout
from divertor.store import EventStore

_FILL = """
INSERT INTO events
SELECT n // 500, printf('%032x', n), 'log',
       make_timestamp(arrived - CASE WHEN hash(n) % 50 = 0 THEN (hash(n, 1) % 10_000_000)::BIGINT ELSE 0 END),
       make_timestamp(arrived), ['logs'], [], [], NULL,
       format('{{"user":"user{}","ip":"10.{}.{}.{}","host":{{"name":"web-{}"}},"http":{{"request":{{"method":'
              '"GET","path":"/{}"}},"response":{{"status":{}}}}},"bytes":{}}}',
              hash(n, 2) % 1000, hash(n, 3) % 8, hash(n, 2) % 250, hash(n, 4) % 4, hash(n, 5) % 12,
              ['', 'login', 'cart', 'checkout', 'api/v1/items', 'search'][1 + (hash(n, 6) % 6)::INT],
              [200, 200, 200, 204, 302, 404, 500][1 + (hash(n, 7) % 7)::INT], hash(n, 8) % 20000)::JSON
FROM (SELECT range AS n, 1767225600000000 + range * (2592000000000 // ?) AS arrived FROM range(?))
"""

RULES: dict[str, dict[str, Any]] = {
    "frequency, everything passes": {"type": "frequency", "num_events": 60, "timeframe": {"hours": 4}},
    "frequency, one event in six passes": {
        "type": "frequency",
        "num_events": 20,
        "timeframe": {"hours": 4},
        "filter": [{"query_string": {"query": "http.request.path:login"}}],
    },
    "flatline": {"type": "flatline", "threshold": 1, "timeframe": {"hours": 2}},
}


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m bench.rules.history", description=__doc__)
    options.add_argument("--events", type=int, default=10_000_000)
    options.add_argument("--json", action="store_true", help="print one JSON document")
    options.add_argument("--fill", type=Path, help="only make the store, at this path")
    chosen = options.parse_args()
    if chosen.fill is not None:
        fill(chosen.fill, chosen.events)
        return 0
    with tempfile.TemporaryDirectory(prefix="divertor-bench-") as folder:
        layout = Layout(Path(folder) / "state")
        began = time.monotonic()
        # In a process of its own: the kernel counts the memory of whoever starts a process as that process's.
        filling = [sys.executable, "-m", "bench.rules.history", "--events", str(chosen.events)]
        subprocess.run([*filling, "--fill", str(layout.events)], check=True)
        print(f"made {chosen.events:,} events in {time.monotonic() - began:.0f} s", file=sys.stderr)
        found = []
        for name, rule in RULES.items():
            found.append({"rule": name, **run(layout, name, rule)})
            print(found[-1], file=sys.stderr, flush=True)
    print(json.dumps(found, indent=2) if chosen.json else text(found))
    return 0


def fill(path: Path, count: int) -> None:
    """A store of so many events."""

    async def make() -> None:
        await (await EventStore.open(path)).close()

    asyncio.run(make())
    with duckdb.connect(str(path), config={"memory_limit": "512MB", "threads": 2}) as database:
        database.execute(_FILL, [count, count])


def run(layout: Layout, name: str, rule: dict[str, Any]) -> dict[str, Any]:
    """One backtest: what it found, CPU and wall seconds, peak megabytes."""
    file = layout.root / "rule.json"
    file.write_text(
        json.dumps({"name": name, "index": "logs", "alert": "debug", "query_key": "user", **rule})
    )
    command = [sys.executable, "-m", "divertor.cli.main", "rules", "backtest", str(file), "--json"]
    began = time.monotonic()
    process = subprocess.Popen([*command, "--state", str(layout.root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        last = line
    _pid, status, used = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    totals: dict[str, Any] = json.loads(last)
    return {
        "events": totals["events"],
        "hits": totals["hits"],
        "alerts": totals["alerts"],
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "seconds": time.monotonic() - began,
        "megabytes": used.ru_maxrss / 1000,
    }


def text(found: list[dict[str, Any]]) -> str:
    lines = [f"{'backtest':38}{'events':>12}{'alerts':>9}{'CPU s':>8}{'events/s':>10}{'wall s':>8}{'MB':>6}"]
    lines += [
        f"{row['rule']:38}{row['events']:12,}{row['alerts']:9,}{row['cpu_seconds']:8.0f}"
        f"{row['events'] / row['cpu_seconds']:10,.0f}{row['seconds']:8.0f}{row['megabytes']:6.0f}"
        for row in found
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
