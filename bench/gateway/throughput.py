"""The rounds: everybody once in each, in a new order every time; and the memory they hold afterwards."""

from __future__ import annotations

import http.client
import random
from collections.abc import Callable, Sequence

from bench import load
from bench.gateway.lineup import Entry
from bench.load import SESSION, Sample

#: Seconds of load before the first round: allocators and connection pools settle.
WARM_UP = 1


def measure(
    entries: Sequence[Entry], rounds: int, seconds: int, say: Callable[[str], None]
) -> dict[str, list[Sample]]:
    """The samples of each contender, in the order of the rounds.

    :raises RuntimeError: somebody answers with errors, or lets the wrong version answer.
    """
    for entry in entries:
        check(entry)
        load.run(entry.contender, WARM_UP, entry.session or SESSION)
    samples: dict[str, list[Sample]] = {entry.name: [] for entry in entries}
    for turn in range(rounds):
        say(f"throughput: round {turn + 1} of {rounds}")
        for entry in random.sample(entries, len(entries)):
            samples[entry.name].append(load.run(entry.contender, seconds, entry.session or SESSION))
    return samples


def check(entry: Entry) -> None:
    """:raises RuntimeError: the wrong version answers."""
    wanted = "audited" if entry.session else "newest"
    by = served_by(entry.contender.port, entry.session or SESSION)
    if by != wanted:
        raise RuntimeError(f"{entry.name}: {by or 'nobody'} answered instead of {wanted}")


def served_by(port: int, session: str) -> str | None:
    """The version that answers a session's request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/", headers={"cookie": f"session={session}"})
        answer = connection.getresponse()
        answer.read()
        return answer.getheader("served-by")
    finally:
        connection.close()


def memory(entry: Entry) -> float:
    """What a gateway holds in memory, MB; for Divertor its processes without the table, and the table's file
    whole, however many of its pages a worker has looked at so far."""
    table = entry.layout.table
    if not table.exists():
        return entry.contender.memory()
    return entry.contender.memory(without=table) + table.stat().st_size / (1 << 20)
