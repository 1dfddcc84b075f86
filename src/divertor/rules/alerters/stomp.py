"""`stomp`: messages of a STOMP broker."""

from __future__ import annotations

from divertor.model.documents import Node
from divertor.model.fields import fail
from divertor.rules.alerters.declaration import AlerterDeclaration, host
from divertor.rules.reading.options import Option, boolean, number, text


def _port(node: Node, what: str) -> int:
    written = text(node, what)
    if not written.isdecimal() or not 0 < int(written[:6]) < 65536:
        fail(node, f"{what} is {written[:40]!r}", "a port")
    return int(written)


DECLARATION = AlerterDeclaration(
    "stomp",
    (
        Option("stomp_hostname", host, required=True),
        Option("stomp_hostport", _port, required=True),
        Option("stomp_login", text, required=True),
        Option("stomp_password", text, required=True),
        Option("stomp_destination", text, default="/queue/ALERT"),
        Option("stomp_ssl", boolean, default=False),
        Option("stomp_timeout", number(0.1, 120), default=10.0),
    ),
    resolved="a message with the status `resolved`",
)
