"""What the start-up hook calls in every Python process of an installation: turn the sensor on when asked to.

It must not cost anything when it is off, and never keep an interpreter from starting.
"""

from __future__ import annotations

import os
import sys


def start() -> None:
    """`instrument`, if `DIVERTOR_SENSOR` asks for it."""
    try:
        from divertor_sensor.settings import is_enabled

        if is_enabled(os.environ):
            from divertor_sensor.runtime import instrument

            instrument()
    except Exception as problem:
        # Logging is not set up this early, and a traceback would be taken for the host's own.
        print(f"divertor_sensor: not started: {problem!r}", file=sys.stderr)
