"""How often Python looks for cycles in memory: seldom, where events pass by the ten thousand.

Events and what rules make of them hold no cycles, so reference counts free them; looking at the young objects
after every 700 of them, as Python does by default, took a third of the time to read an event. But whoever
survives is looked at once, at 0.3 to 0.7 µs each, and everything waits meanwhile: with 50,000 of them at a
time that took 13 to 37 ms now and then, which was all there was to the slowest alerts. 5,000 take 1.3 to
3.6 ms, and all looks together half a per cent of the time for an event; with 2,000 it would be five. A look
at everything comes after five million objects that stayed; with a million live keys it takes 0.2 s.
"""

from __future__ import annotations

import atexit
import gc

#: Objects made before the young ones are looked at, and how often that happens before older ones are.
THRESHOLDS = (5_000, 10, 100)


def collect_rarely() -> None:
    """From now on, in this process; what is there already is left alone."""
    gc.freeze()
    # At the end nothing may be left alone: DuckDB would report on standard error what it takes for leaks.
    atexit.register(gc.unfreeze)
    gc.set_threshold(*THRESHOLDS)
