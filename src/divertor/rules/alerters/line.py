"""`line`: messages of the LINE Messaging API."""

from __future__ import annotations

from typing import Any

from divertor.model.fields import fail
from divertor.rules.alerters.declaration import AlerterDeclaration, defaults, header_text, transport
from divertor.rules.reading.options import Given, Option, text


def _check(options: dict[str, Any], given: Given) -> None:
    old = given.node("linenotify_access_token")
    if old is not None and not options["line_channel_access_token"]:
        fail(old, "LINE Notify was shut down on 31 March 2025", "line_channel_access_token and line_to")
    for name in ("line_channel_access_token", "line_to"):
        if not options[name]:
            given.read(Option(name, text, required=True), "alert line")


DECLARATION = AlerterDeclaration(
    "line",
    (
        Option("line_channel_access_token", header_text, default=""),
        *defaults("line_to", "linenotify_access_token"),
        *transport("line"),
    ),
    check=_check,
    resolved="a message that says so",
)
