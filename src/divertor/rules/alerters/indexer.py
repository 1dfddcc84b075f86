"""`indexer`: documents of an Elasticsearch or OpenSearch index."""

from __future__ import annotations

from typing import Any

from divertor.rules.alerters.declaration import AlerterDeclaration, defaults, required_unless
from divertor.rules.reading.options import Given, Option, mapping


def _check(options: dict[str, Any], given: Given) -> None:
    required_unless(options, given, "indexer_connection", "indexer_config")


DECLARATION = AlerterDeclaration(
    "indexer",
    (
        Option("indexer_alert_config", mapping, required=True),
        Option("indexer_connection", mapping, default={}),
        *defaults("indexer_config", "indexer_alerts_name"),
    ),
    check=_check,
    resolved="a document that says so",
)
