"""`post`: matches, or chosen fields of them, as JSON to any HTTP endpoint."""

from __future__ import annotations

from typing import Any

from divertor.rules.alerters.declaration import AlerterDeclaration, headers, transport
from divertor.rules.reading.options import Given, Option, boolean, mapping, text_mapping, urls


def _check(options: dict[str, Any], _given: Given) -> None:
    """Without a payload of its own, the whole match is sent."""
    if options["http_post_all_values"] is None:
        options["http_post_all_values"] = not options["http_post_payload"]


DECLARATION = AlerterDeclaration(
    "post",
    (
        Option("http_post_url", urls, required=True),
        Option("http_post_payload", text_mapping, default={}),
        Option("http_post_static_payload", mapping, default={}),
        Option("http_post_headers", headers, default={}),
        Option("http_post_all_values", boolean),
        *transport("http_post"),
    ),
    check=_check,
    resolved="the match once more; add `http_post_static_payload` to tell them apart, or use `webhook`",
)
