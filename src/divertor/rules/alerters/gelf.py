"""`gelf`: messages for Graylog, by HTTP, TCP or UDP."""

from __future__ import annotations

from typing import Any

from divertor.rules.alerters.declaration import AlerterDeclaration, choice, defaults, headers, host, proxy
from divertor.rules.reading.options import Given, Option, boolean, integer, number, text, text_mapping, urls


def _check(options: dict[str, Any], given: Given) -> None:
    needed = ("gelf_endpoint",) if options["gelf_type"] == "http" else ("gelf_host", "gelf_port")
    for name in needed:
        if not options[name]:
            given.read(Option(name, text, required=True), f"gelf_type {options['gelf_type']}")


DECLARATION = AlerterDeclaration(
    "gelf",
    (
        Option("gelf_type", choice("http", "tcp", "udp"), required=True),
        Option("gelf_endpoint", urls, default=()),
        Option("gelf_host", host, default=""),
        Option("gelf_port", integer(0, 65535), default=0),
        Option("gelf_payload", text_mapping, default={}),
        Option("gelf_version", text, default="1.1"),
        Option("gelf_log_level", integer(0, 7), default=5),
        Option("gelf_http_headers", headers, default={}),
        *defaults("gelf_ca_cert"),
        Option("gelf_http_ignore_ssl_errors", boolean, default=False),
        Option("gelf_proxy", proxy, default=""),
        Option("gelf_timeout", number(0.1, 120), default=30.0),
    ),
    check=_check,
    resolved="a message of level 6 (informational)",
)
