"""Keys that a rule type remembers something about: which to forget when there are too many, or when time
passed.

Attackers choose keys, so what is kept by key is bounded. A mapping that is kept in order of last use (an
entry is taken out and put back when it is used) has the longest idle first; these two functions rely on
that.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import blake2b
from itertools import islice
from typing import Any, TypeVar

from divertor.rules.document import scalar_text
from divertor.rules.running.projection import plain

K = TypeVar("K")
V = TypeVar("V")

#: Keys of one rule that are remembered.
MAX_KEYS = 1_000_000

#: A longer value is remembered by its beginning and a digest.
MAX_VALUE = 256


def longest_idle(by_key: dict[K, V]) -> list[K]:
    """A sixteenth of the keys, at least one: forgetting them one by one would search for the first one each
    time, past the gaps that the others left.
    """
    return list(islice(by_key, len(by_key) // 16 or 1))


def idle(by_key: dict[K, V], is_stale: Callable[[V], bool]) -> list[K]:
    """The keys that nobody needs any more, up to the first that somebody does: each is looked at once,
    however often this is asked.
    """
    found = []
    for key, value in by_key.items():
        if not is_stale(value):
            break
        found.append(key)
    return found


def compact(value: Any) -> str:
    """A value as a text of bounded length: equal for equal values, different for different ones."""
    text = value if value.__class__ is str else _spelled(value)
    if len(text) <= MAX_VALUE:
        return text
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{text[:64]}…{digest}"


def is_long(value: Any) -> bool:
    """Whether `compact` cuts the value."""
    return len(_spelled(value)) > MAX_VALUE


def _spelled(value: Any) -> str:
    if isinstance(value, list | tuple | dict):
        return json.dumps(plain(value), sort_keys=True)
    return scalar_text(value)
