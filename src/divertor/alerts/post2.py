"""`alert: post2`: each match as JSON that Jinja templates make, in the payload and in headers.

A template that makes a whole JSON document gets values escaped for a JSON text; names and values of a mapping
are templates by themselves, whose result is one text whatever it holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from divertor.alerts.contract import Alerter, Delivery, DeliveryError
from divertor.alerts.hook import Tools, spread
from divertor.alerts.http import Request, Transport, WebClient, send
from divertor.alerts.post import keyed
from divertor.rules.document import lookup
from divertor.rules.rule import Match
from divertor.rules.wording.jinja import RenderError, parse_jinja

_HEADERS = {"accept": "application/json;charset=utf-8"}


def _within_json(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)[1:-1]


def _one_line(value: str) -> str:
    """For a header: what would end it, or is not ASCII, is left out."""
    return re.sub(r"[^\x20-\x7e]", "", value)


def _rendered(value: Any, match: Match) -> Any:
    """A structure with every text in it filled in."""
    if isinstance(value, dict):
        return {_text(name, match): _rendered(inner, match) for name, inner in value.items()}
    if isinstance(value, list):
        return [_rendered(inner, match) for inner in value]
    return _text(value, match) if isinstance(value, str) else value


def _text(template: str, match: Match) -> str:
    if "{" not in template:
        return template
    return parse_jinja(template, _root(match)).render(match.document)


def _root(match: Match) -> str:
    return str(match.rule.properties.get("jinja_root_name") or "_data")


def _made(template: Any, match: Match, what: str) -> dict[str, Any]:
    try:
        if not isinstance(template, str):
            made = _rendered(template, match)
        else:
            made = json.loads(parse_jinja(template, _root(match)).render(match.document, _within_json))
    except RenderError as problem:
        raise DeliveryError(f"{what} cannot be filled in: {problem}", again=False) from None
    except ValueError:
        raise DeliveryError(f"{what} makes no JSON", again=False) from None
    if not isinstance(made, dict):
        raise DeliveryError(f"{what} makes no JSON object", again=False)
    return made


def payload(match: Match, options: Mapping[str, Any]) -> dict[str, Any]:
    """:raises DeliveryError: the template cannot be filled in from this match."""
    out: dict[str, Any] = dict(match.document) if options["http_post2_all_values"] else {}
    out.update(_made(options["http_post2_payload"], match, "http_post2_payload"))
    for name, field in options["http_post2_raw_fields"].items():
        out[name] = lookup(match.document, field)
    return out


def headers(match: Match, options: Mapping[str, Any]) -> dict[str, str]:
    """One line each, whatever a value holds.

    :raises DeliveryError: the template cannot be filled in from this match, or makes what is no text.
    """
    made = _made(options["http_post2_headers"], match, "http_post2_headers")
    out = dict(_HEADERS)
    for name, value in made.items():
        if isinstance(value, dict | list) or value is None:
            raise DeliveryError("http_post2_headers makes what is no text", again=False)
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}", name):
            raise DeliveryError("http_post2_headers makes what is no name of a header", again=False)
        out[name.lower()] = _one_line(str(value))
    return out


class Post2:
    """Posts to each address by itself."""

    def __init__(self, client: WebClient) -> None:
        self._client = client

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return spread(options, "http_post2_url")

    async def deliver(self, delivery: Delivery) -> None:
        """:raises DeliveryError: the endpoint did not take it, or a template cannot be filled in."""
        options = delivery.options
        way = Transport.of(options, "http_post2")
        for place, match in enumerate(delivery.notification.matches):
            own = keyed(headers(match, options), delivery, place)
            await send(
                self._client, Request(options["http_post2_url"], payload(match, options), headers=own), way
            )


def make(tools: Tools) -> Alerter:
    return Post2(tools.client)
