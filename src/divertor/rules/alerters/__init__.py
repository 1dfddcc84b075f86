"""Which alerters a rule may name and what options they take: one declaration per module.

`read_alerts` reads a rule's `alert`; the loader, the hints, the reference page and the deliveries derive from
`ALERTERS`.
"""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration
from divertor.rules.alerters.reading import (
    alert_option_names,
    alert_warnings,
    alerter_names,
    find_alerter,
    is_users_option,
    read_alerts,
)
from divertor.rules.alerters.table import ACTIONS, ALERTERS, MESSENGERS

__all__ = [
    "ACTIONS",
    "ALERTERS",
    "MESSENGERS",
    "AlerterDeclaration",
    "alert_option_names",
    "alert_warnings",
    "alerter_names",
    "find_alerter",
    "is_users_option",
    "read_alerts",
]
