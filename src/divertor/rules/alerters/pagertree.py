"""`pagertree`: incidents of PagerTree."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, transport
from divertor.rules.reading.options import Option, urls

DECLARATION = AlerterDeclaration(
    "pagertree",
    (
        Option("pagertree_integration_url", urls, required=True),
        *transport("pagertree"),
    ),
    resolved="the incident is resolved",
)
