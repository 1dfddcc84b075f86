"""The events of the benchmark: requests to a web shop, the same for both engines.

Only the standard library, because ElastAlert's process makes them, too. Everything comes from a seed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

START = datetime(2026, 1, 1, tzinfo=UTC)
#: Events per second of simulated time, and in one message of the bus.
RATE = 1000
BATCH = 500

_PATHS = [
    "/",
    "/login",
    "/cart",
    "/checkout",
    "/api/v1/items",
    "/api/v1/items/17",
    "/static/app.js",
    "/search",
]
_AGENTS = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/139.0 Safari/537.36",
    "curl/8.5.0",
]
_STATES = [200, 200, 200, 200, 204, 302, 404, 500]


def bodies(count: int, keys: int = 1000, seed: int = 1) -> Iterator[dict[str, Any]]:
    """What `count` events say: `user` is one of `keys`."""
    random = Random(seed)
    for _ in range(count):
        user, path, state = random.randrange(keys), random.choice(_PATHS), random.choice(_STATES)
        yield {
            "user": f"user{user}",
            "ip": f"10.{random.randrange(8)}.{user % 250}.{random.randrange(4)}",
            "host": {"name": f"web-{random.randrange(12)}"},
            "http": {"request": {"method": "GET", "path": path}, "response": {"status": state}},
            "user_agent": random.choice(_AGENTS),
            "country": f"c{user % 40 if random.random() < 0.98 else 41}",
            "bytes": random.randrange(20_000),
        }


def moment(number: int) -> str:
    """When the event with this number happens, as Divertor writes times."""
    return (
        (START + timedelta(microseconds=number * 1_000_000 // RATE))
        .isoformat(timespec="microseconds")
        .replace("+00:00", "Z")
    )


def record(number: int, body: dict[str, Any], index: str = "logs") -> dict[str, Any]:
    """An event as the bus carries it."""
    time = moment(number)
    return {
        "id": f"{number:032x}",
        "type": "log",
        "timestamp": time,
        "received": time,
        "indices": [index],
        "tags": [],
        "value": None,
        "body": body,
    }


def messages(records: Iterator[dict[str, Any]]) -> list[bytes]:
    """Messages of the bus."""
    lines = [json.dumps(one, separators=(",", ":")).encode() for one in records]
    return [b"\n".join(lines[first : first + BATCH]) for first in range(0, len(lines), BATCH)]


def hits(count: int, keys: int = 1000, seed: int = 1) -> list[dict[str, Any]]:
    """The same events as Elasticsearch answers them, JSON already read."""
    return [
        {"_id": f"{number:032x}", "_index": "logs", "_source": {"@timestamp": moment(number), **body}}
        for number, body in enumerate(bodies(count, keys, seed))
    ]
