"""How often Python looks for cycles in memory: seldom, where events pass by the ten thousand.

Events and what rules make of them hold no cycles, so reference counts free them; looking at the young objects
after every 700 of them, as Python does by default, took a third of the time to read an event.
"""

from __future__ import annotations

import atexit
import gc

#: Objects made before the young ones are looked at, and how often that happens before older ones are.
THRESHOLDS = (50_000, 50, 100)


def collect_rarely() -> None:
    """From now on, in this process; what is there already is left alone."""
    gc.freeze()
    # At the end nothing may be left alone: DuckDB would report on standard error what it takes for leaks.
    atexit.register(gc.unfreeze)
    gc.set_threshold(*THRESHOLDS)
