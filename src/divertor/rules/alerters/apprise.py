"""`apprise` (ours): every service that Apprise knows, by its addresses."""

from __future__ import annotations

from divertor.model.documents import Node
from divertor.model.fields import fail
from divertor.rules.alerters.declaration import AlerterDeclaration, choice
from divertor.rules.reading.options import Option, number, texts


def _addresses(node: Node, what: str) -> tuple[str, ...]:
    """Addresses as Apprise writes them. They are secrets: a refusal does not repeat them."""
    found = texts(node, what)
    for address in found:
        if "://" not in address or not address.isprintable() or address.startswith(("file:", "syslog:")):
            fail(node, f"{what} has something that is no address of a service", "scheme://…, see Apprise")
    return found


DECLARATION = AlerterDeclaration(
    "apprise",
    (
        Option("apprise", _addresses, required=True),
        Option("apprise_format", choice("text", "markdown", "html"), default="text"),
        Option("apprise_timeout", number(0.1, 600), default=60.0),
    ),
    resolved="a message of the kind success",
)
