"""A million keys at once: how long the table takes to hold them, in a process of its own.

`table` is the writing of ready fingerprints; `sink` what the agent does with records of isolations, hashing
included, as it starts (`replace`); `import` the same for keys that come on top (`extend`); `growth` the one
put that makes a table grow that is three quarters full.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from bench.gateway.lineup import SECRET, digest, session
from bench.gateway.reaction import isolation
from divertor.gateway.process import prepare
from divertor.gateway.sink import TableSink
from divertor.isolation.layout import FOREVER
from divertor.isolation.table import Table
from divertor.layout import Layout


def measure(many: int) -> dict[str, float]:
    """Seconds of each, and MB: the table's file, and what the records take in the process that decides."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, many).result()


def _measure(many: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="divertor-bench-") as folder:
        layout = Layout(Path(folder))
        layout.create()
        prepare(layout)
        return {**_table(layout, many), **_sink(layout, many)}


def _table(layout: Layout, many: int) -> dict[str, float]:
    pairs = [(digest(session(number)), FOREVER) for number in range(many)]
    table = Table.open(layout.table)
    loaded = _seconds(lambda: table.replace(pairs))
    size = layout.table.stat().st_size / (1 << 20)
    growth = _growth(table)
    table.replace(())
    table.close()
    return {
        "table_seconds": round(loaded, 2),
        "table_mb": round(size, 1),
        "growth_seconds": round(growth, 2),
    }


def _growth(table: Table) -> float:
    """Seconds of the longest put until the table has grown."""
    capacity, number, longest = table.capacity, 1 << 40, 0.0
    while table.capacity == capacity:
        value = digest(session(number))
        start = time.perf_counter()
        table.put(value, FOREVER, 0)
        longest = max(longest, time.perf_counter() - start)
        number += 1
    return longest


def _sink(layout: Layout, many: int) -> dict[str, float]:
    before = _resident()
    records = [isolation(session(number)) for number in range(many)]
    held = _resident() - before
    sink = TableSink(layout, SECRET, lambda: datetime.now(UTC))
    imported, count = _seconds(lambda: asyncio.run(sink.extend(records))), len(sink)
    sink.replace(())
    loaded = _seconds(lambda: sink.replace(records))
    counts = {count, len(sink)}
    sink.close()
    if counts != {many}:
        raise RuntimeError(f"the table holds {counts} of {many} keys")
    return {
        "sink_seconds": round(loaded, 2),
        "import_seconds": round(imported, 2),
        "records_mb": round(held, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)
