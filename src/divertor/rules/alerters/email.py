"""`email`: mails by SMTP; the mails of an alarm are one thread."""

from __future__ import annotations

from divertor.model.documents import Node
from divertor.model.fields import fail, items_of
from divertor.rules.alerters.declaration import AlerterDeclaration, choice, defaults, headers, host
from divertor.rules.reading.options import Option, boolean, integer, number, text, texts

_OWN_HEADERS = frozenset(
    """bcc cc content-transfer-encoding content-type date from in-reply-to message-id mime-version received
    references reply-to sender subject to""".split()
)


def _address(node: Node, what: str) -> str:
    written = text(node, what)
    if not written.isprintable() or len(written) > 500:
        fail(node, f"{what} is no address", "one line, such as Name <user@example.org>")
    return written


def _addresses(node: Node, what: str) -> tuple[str, ...]:
    return tuple(_address(item, what) for item in items_of(node))


def _mail_headers(node: Node, what: str) -> dict[str, str]:
    """Headers of one's own; those that a mail has anyhow are not among them."""
    found = headers(node, what)
    for name in found:
        if name.lower() in _OWN_HEADERS:
            fail(node, f"{what} sets {name}, which the mail has anyhow", "another header")
    return found


DECLARATION = AlerterDeclaration(
    "email",
    (
        Option("email", _addresses, required=True),
        Option("smtp_host", host, default="localhost"),
        Option("smtp_port", integer(1, 65535)),
        Option("smtp_ssl", boolean, default=False),
        Option("smtp_starttls", choice("auto", "always", "never"), default="auto"),
        *defaults("smtp_auth_file", "smtp_key_file", "smtp_cert_file", "smtp_ca_certs"),
        Option("smtp_ignore_ssl_errors", boolean, default=False),
        Option("smtp_timeout", number(0.1, 300), default=30.0),
        Option("from_addr", _address, default="ElastAlert"),
        Option("email_reply_to", _addresses, default=()),
        Option("cc", _addresses, default=()),
        Option("bcc", _addresses, default=()),
        Option("notify_email", texts, default=()),
        *defaults("email_from_field", "email_add_domain"),
        Option("email_format", choice("plain", "html"), default="plain"),
        Option("assets_dir", text, default="/tmp"),
        Option("email_image_keys", texts, default=()),
        Option("email_image_values", texts, default=()),
        Option("email_headers", _mail_headers, default={}),
    ),
    resolved="a mail in the alarm's thread",
)
