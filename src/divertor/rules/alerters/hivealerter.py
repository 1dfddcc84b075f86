"""`hivealerter`: alerts of TheHive, with observables."""

from __future__ import annotations

from typing import Any

from divertor.model.fields import fail
from divertor.rules.alerters.declaration import AlerterDeclaration, plain
from divertor.rules.reading.options import Given, Option, mapping


def _check(options: dict[str, Any], given: Given) -> None:
    node = given.node("hive_connection")
    known = ("hive_host", "hive_port", "hive_apikey", "hive_proxies", "hive_verify")
    for name in options["hive_connection"]:
        if name not in known and node is not None:
            fail(node, f"unknown key {name[:80]!r} in hive_connection", ", ".join(known))


DECLARATION = AlerterDeclaration(
    "hivealerter",
    (
        Option("hive_connection", mapping, required=True),
        Option("hive_alert_config", mapping, required=True),
        Option("hive_observable_data_mapping", plain, default=()),
    ),
    check=_check,
    resolved="the alert is marked as read",
)
