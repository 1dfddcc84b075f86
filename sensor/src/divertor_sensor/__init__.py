"""Divertor's in-app sensor: sees an attack at the sink, before it runs, and hands the request to a version
you trust.

    import divertor_sensor.auto           # before the app is imported

or `DIVERTOR_SENSOR=1` in the environment, or `divertor-sensor run COMMAND…`. A WSGI or ASGI app that neither
its framework nor its server brings under guard (`divertor-sensor doctor MODULE:APP` says so):
`app = divertor_sensor.protect(app)`. This module only names the public things.
"""

from __future__ import annotations

from divertor_sensor.frameworks.asgi import DivertorASGI
from divertor_sensor.frameworks.wsgi import DivertorWSGI
from divertor_sensor.request import AttackInterrupted, ConnectionCut
from divertor_sensor.runtime import instrument, protect
from divertor_sensor.sensor import Sensor
from divertor_sensor.settings import Mode, Settings
from divertor_sensor.users import set_user
from divertor_sensor.version import VERSION as __version__

__all__ = [
    "AttackInterrupted",
    "ConnectionCut",
    "DivertorASGI",
    "DivertorWSGI",
    "Mode",
    "Sensor",
    "Settings",
    "__version__",
    "instrument",
    "protect",
    "set_user",
]
