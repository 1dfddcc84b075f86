"""`alert: post`: the match, or chosen fields of it, as JSON to any HTTP endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from divertor.alerts.contract import Delivery
from divertor.alerts.http import post_json
from divertor.rules.document import lookup
from divertor.rules.rule import Match


def payload(match: Match, options: Mapping[str, Any]) -> dict[str, Any]:
    """The whole match when asked for, then the static values, then the fields by their new names (missing:
    null).
    """
    out: dict[str, Any] = dict(match.document) if options["http_post_all_values"] else {}
    out.update(options["http_post_static_payload"])
    for name, field in options["http_post_payload"].items():
        out[name] = lookup(match.document, field)
    return out


class Post:
    """Posts to each address by itself."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [{**options, "http_post_url": url} for url in options["http_post_url"]]

    async def deliver(self, delivery: Delivery) -> None:
        """:raises DeliveryError: the endpoint did not take it."""
        match, options = delivery.notification.first, delivery.options
        await post_json(
            self._client,
            options["http_post_url"],
            payload(match, options),
            timeout=options["http_post_timeout"],
            headers=options["http_post_headers"],
        )
