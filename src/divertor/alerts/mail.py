"""A mail about an alarm: who it is from and to, its text, and the headers that keep mails in a thread.

Pure. Nothing that a match holds can add a header or a recipient: line breaks are taken out of headers, and an
address from a field must be one plain address.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from hashlib import blake2b
from typing import Any

from divertor.alerts.contract import Delivery, DeliveryError, Receipt
from divertor.alerts.text import as_is
from divertor.alerts.wording import first_value, incident, text, title
from divertor.rules.notification import Notification

#: Recipients that a field of a match may name.
MAX_RECIPIENTS = 50

_ADDRESS = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?"
)
_USER = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who writes to whom."""

    sender: str
    to: tuple[str, ...]
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    reply_to: tuple[str, ...] = ()

    @property
    def everybody(self) -> list[str]:
        """The addresses that get it, each once."""
        found = [parseaddr(address)[1] or address for address in (*self.to, *self.cc, *self.bcc)]
        return list(dict.fromkeys(found))


def recipients(
    notification: Notification, written: tuple[str, ...], field: str, domain: str
) -> tuple[str, ...]:
    """Whom a field of the first match names, users completed by `domain`; else those that are written."""
    found = first_value(notification, field) if field else None
    values = found if isinstance(found, list) else [found]
    suffix = domain if domain.startswith("@") or not domain else f"@{domain}"
    completed = [_completed(value, suffix) for value in values[:MAX_RECIPIENTS]]
    return tuple(address for address in completed if address) or written


def _completed(value: Any, suffix: str) -> str:
    if not isinstance(value, str):
        return ""
    if _ADDRESS.fullmatch(value):
        return value
    return value + suffix if suffix and _USER.fullmatch(value) else ""


def mail(
    delivery: Delivery,
    envelope: Envelope,
    now: datetime,
    *,
    as_html: bool = False,
    more: str = "",
    headers: Mapping[str, str] | None = None,
) -> EmailMessage:
    """The mail; `more` is added to its text. Its id is the same for each attempt at this delivery."""
    notification = delivery.notification
    made = EmailMessage(policy=SMTP)
    try:
        made["Subject"] = one_line(title(notification, limit=900))
        made["From"] = one_line(envelope.sender)
        made["To"] = ", ".join(envelope.to)
        if envelope.cc:
            made["Cc"] = ", ".join(envelope.cc)
        made["Reply-To"] = ", ".join(envelope.reply_to or envelope.to)
        made["Date"] = format_datetime(now)
        for name, value in _thread_headers(delivery, envelope).items():
            made[name] = value
        made["Auto-Submitted"] = "auto-generated"
        for name, value in (headers or {}).items():
            made[name] = one_line(value)
    except (ValueError, IndexError):
        raise DeliveryError(
            "a header of the mail is not usable: see from_addr, email, cc", again=False
        ) from None
    said = (text(notification, html.escape if as_html else as_is) + more).encode("utf-8", "replace").decode()
    made.set_content(said, subtype="html" if as_html else "plain", cte="base64")
    return made


def _thread_headers(delivery: Delivery, envelope: Envelope) -> dict[str, str]:
    domain = parseaddr(envelope.sender)[1].rpartition("@")[2]
    domain = domain if re.fullmatch(r"[A-Za-z0-9.-]{1,200}", domain) and "." in domain else "divertor.invalid"
    id = blake2b(f"{delivery.key} {delivery.notification.id}".encode(), digest_size=16).hexdigest()
    headers = {"Message-ID": f"<{id}@{domain}>"}
    first = (delivery.receipt or {}).get("message_id")
    # Without the first mail's id, mails of an alarm still refer to the same one.
    alarm = blake2b(incident(delivery.notification).encode(), digest_size=16).hexdigest()
    root = first if isinstance(first, str) and first else f"<alarm-{alarm}@{domain}>"
    return {**headers, **({"In-Reply-To": root} if first else {}), "References": root}


def thread(delivery: Delivery, sent: EmailMessage) -> Receipt:
    """What later mails of the alarm refer to."""
    return delivery.receipt or {"message_id": str(sent["Message-ID"])}


def one_line(value: str) -> str:
    """Without line breaks and other control characters, which could end a header."""
    return " ".join("".join(char if char.isprintable() else " " for char in value).split())
