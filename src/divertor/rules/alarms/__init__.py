"""Alarms: which hits of a rule become alerts, when an alarm is over, and who is told.

Between a rule type, which says what fired, and the alerters, which tell people. Pure: every moment is an
argument, in microseconds since the epoch.
"""

from divertor.rules.alarms.controls import Ack, Controls, Shown, Silence
from divertor.rules.alarms.judging import Alarms
from divertor.rules.alarms.routing import concerns, routed
from divertor.rules.alarms.tracks import Alarm
from divertor.rules.alarms.verdict import Verdict, identity

__all__ = [
    "Ack",
    "Alarm",
    "Alarms",
    "Controls",
    "Shown",
    "Silence",
    "Verdict",
    "concerns",
    "identity",
    "routed",
]
