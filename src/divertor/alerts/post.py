"""`alert: post`: each match, or chosen fields of it, as JSON to any HTTP endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Tools, spread
from divertor.alerts.http import Request, Transport, WebClient, send
from divertor.rules.document import lookup
from divertor.rules.rule import Match

_HEADERS = {"accept": "application/json;charset=utf-8"}


def payload(match: Match, options: Mapping[str, Any]) -> dict[str, Any]:
    """The whole match when asked for, then the static values, then the fields by their new names (missing:
    null).
    """
    out: dict[str, Any] = dict(match.document) if options["http_post_all_values"] else {}
    out.update(options["http_post_static_payload"])
    for name, field in options["http_post_payload"].items():
        out[name] = lookup(match.document, field)
    return out


def keyed(headers: Mapping[str, str], delivery: Delivery, place: int) -> dict[str, str]:
    """With a key by which the endpoint can tell a repetition of the match at `place`, unless there is one."""
    lower = {name.lower(): value for name, value in headers.items()}
    key = f"{delivery.key}-{place}" if place else delivery.key
    return {**({"idempotency-key": key} if key else {}), **lower}


class Post:
    """Posts to each address by itself."""

    def __init__(self, client: WebClient) -> None:
        self._client = client

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return spread(options, "http_post_url")

    async def deliver(self, delivery: Delivery) -> None:
        """Matches that were gathered are posted one after the other. When one fails, another attempt begins
        with the first: each has a key of its own.

        :raises DeliveryError: the endpoint did not take it.
        """
        options = delivery.options
        way = Transport.of(options, "http_post")
        for place, match in enumerate(delivery.notification.matches):
            headers = keyed({**_HEADERS, **options["http_post_headers"]}, delivery, place)
            request = Request(options["http_post_url"], payload(match, options), headers=headers)
            await send(self._client, request, way)


def make(tools: Tools) -> Alerter:
    return Post(tools.client)
