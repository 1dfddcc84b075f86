"""`alert: email`: a mail by SMTP, encrypted where the server can."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from divertor.alerts.accounts import read_account
from divertor.alerts.contract import Alerter, Delivery, DeliveryError, Receipt
from divertor.alerts.hook import Tools
from divertor.alerts.mail import Envelope, mail, recipients, thread
from divertor.alerts.tickets import ticket

#: Bytes of an image that a mail brings along.
MAX_IMAGE = 5 * 1024 * 1024


class Email:
    """Sends by a connection of its own, in a thread."""

    def __init__(self, wall: Callable[[], datetime]) -> None:
        self._wall = wall

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [options]

    async def deliver(self, delivery: Delivery) -> Receipt | None:
        """:raises DeliveryError: the server did not take it for everybody."""
        envelope = envelope_of(delivery)
        made = _mail(delivery, envelope, self._wall())
        await asyncio.to_thread(_send, delivery, envelope, made)
        return thread(delivery, made)


def envelope_of(delivery: Delivery) -> Envelope:
    """Who writes to whom."""
    options = delivery.options
    return Envelope(
        sender=options["from_addr"],
        to=recipients(
            delivery.notification, options["email"], options["email_from_field"], options["email_add_domain"]
        ),
        cc=options["cc"],
        bcc=options["bcc"],
        reply_to=options["email_reply_to"],
    )


def _mail(delivery: Delivery, envelope: Envelope, now: datetime) -> EmailMessage:
    options = delivery.options
    as_html = options["email_format"] == "html"
    link = ticket(delivery)
    more = f"\nJira ticket: {link}" if link else ""
    made = mail(delivery, envelope, now, as_html=as_html, more=more, headers=options["email_headers"])
    if as_html:
        names = zip(options["email_image_keys"], options["email_image_values"], strict=False)
        for key, name in names:
            _attach(made, key, Path(options["assets_dir"]) / name)
    return made


def _attach(made: EmailMessage, key: str, path: Path) -> None:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_IMAGE + 1)
    except OSError as problem:
        raise DeliveryError(
            f"the image {key} cannot be read ({type(problem).__name__})", again=False
        ) from None
    if len(content) > MAX_IMAGE:
        raise DeliveryError(f"the image {key} is longer than {MAX_IMAGE} bytes", again=False)
    kind = path.suffix.lstrip(".").lower().replace("jpg", "jpeg") or "png"
    made.add_related(content, "image", kind, cid=f"<{key}>")


def _send(delivery: Delivery, envelope: Envelope, made: EmailMessage) -> None:
    options = delivery.options
    where = f"{options['smtp_host']}:{options['smtp_port'] or ''}".rstrip(":")
    try:
        with _connection(options) as server:
            if options["smtp_auth_file"]:
                account = read_account(options["smtp_auth_file"], delivery.notification.rule)
                server.login(account.user, account.password)
            refused = server.send_message(made, _sender(envelope), envelope.everybody)
    except smtplib.SMTPAuthenticationError:
        raise DeliveryError(f"{where} does not take the account of smtp_auth_file", again=False) from None
    except smtplib.SMTPRecipientsRefused as problem:
        again = any(400 <= code < 500 for code, _why in problem.recipients.values())
        raise DeliveryError(f"{where} takes none of the recipients", again=again) from None
    except smtplib.SMTPResponseException as problem:
        again = not 500 <= problem.smtp_code < 600
        raise DeliveryError(f"{where} answered {problem.smtp_code}", again=again) from None
    except (smtplib.SMTPException, OSError, UnicodeError) as problem:
        raise DeliveryError(f"{where} cannot be reached ({type(problem).__name__})", again=True) from None
    if refused:
        # The others have it; another attempt would tell them twice.
        raise DeliveryError(f"{where} refused {len(refused)} of the recipients", again=False)


def _sender(envelope: Envelope) -> str:
    return envelope.sender


def _connection(options: Mapping[str, Any]) -> smtplib.SMTP:
    host, timeout = options["smtp_host"], options["smtp_timeout"]
    if options["smtp_ssl"]:
        port = options["smtp_port"] or smtplib.SMTP_SSL_PORT
        return smtplib.SMTP_SSL(host, port, timeout=timeout, context=_context(options))
    server = smtplib.SMTP(host, options["smtp_port"] or smtplib.SMTP_PORT, timeout=timeout)
    try:
        server.ehlo()
        if options["smtp_starttls"] == "always" or (
            options["smtp_starttls"] == "auto" and server.has_extn("starttls")
        ):
            server.starttls(context=_context(options))
            server.ehlo()
    except BaseException:
        server.close()
        raise
    return server


def _context(options: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options["smtp_ca_certs"] or None)
    if options["smtp_ignore_ssl_errors"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options["smtp_cert_file"]:
        context.load_cert_chain(options["smtp_cert_file"], options["smtp_key_file"] or None)
    return context


def make(tools: Tools) -> Alerter:
    return Email(tools.wall)
