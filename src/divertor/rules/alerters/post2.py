"""`post2`: JSON made by Jinja templates, to any HTTP endpoint."""

from __future__ import annotations

from typing import Any

from divertor.model.documents import Node
from divertor.model.fields import fail
from divertor.rules.alerters.declaration import AlerterDeclaration, plain, transport
from divertor.rules.reading.options import Given, Option, boolean, text_mapping, urls
from divertor.rules.wording.jinja import parse_jinja


def _templates(value: Any, node: Node, what: str) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _templates(key, node, what)
            _templates(inner, node, what)
    elif isinstance(value, list):
        for inner in value:
            _templates(inner, node, what)
    elif isinstance(value, str):
        try:
            parse_jinja(value)
        except ValueError as problem:
            fail(node, f"{what}: {problem}", "a Jinja template")


def _payload(node: Node, what: str) -> Any:
    """A mapping whose texts are templates, or the JSON of one as one template."""
    value = plain(node, what)
    if not isinstance(value, dict | str):
        fail(node, f"{what} is neither a mapping nor a text", "names and templates")
    _templates(value, node, what)
    return value


def _headers(node: Node, what: str) -> Any:
    return _payload(node, what)


def _check(options: dict[str, Any], _given: Given) -> None:
    if options["http_post2_all_values"] is None:
        options["http_post2_all_values"] = not options["http_post2_payload"]


DECLARATION = AlerterDeclaration(
    "post2",
    (
        Option("http_post2_url", urls, required=True),
        Option("http_post2_payload", _payload, default={}),
        Option("http_post2_raw_fields", text_mapping, default={}),
        Option("http_post2_all_values", boolean),
        Option("http_post2_headers", _headers, default={}),
        *transport("http_post2"),
    ),
    check=_check,
    resolved="the templates once more; `divertor.status` tells them apart",
)
