"""Turns the sensor on when it is imported: `import divertor_sensor.auto`, first thing in a program.

For programs that are started with neither the command nor the environment variable. It does no more than
`divertor_sensor.instrument()`, and importing it twice changes nothing.
"""

from __future__ import annotations

from divertor_sensor.runtime import instrument

instrument()
