"""`alert: stomp`: a message for a broker that speaks STOMP 1.2, which confirms that it has it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from divertor.alerts.contract import Alerter, Delivery, DeliveryError
from divertor.alerts.hook import Tools
from divertor.alerts.http import to_json
from divertor.alerts.stream import connection
from divertor.alerts.wording import text
from divertor.model.events import format_time
from divertor.rules.document import lookup

_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", ":": "\\c"})


def frame(command: str, headers: Mapping[str, str], content: bytes = b"") -> bytes:
    """A STOMP frame. In CONNECT nothing is escaped, so line breaks are left out there."""
    made = []
    for name, value in headers.items():
        plain = value.replace("\n", "").replace("\r", "")
        made.append(f"{name}:{plain if command == 'CONNECT' else value.translate(_ESCAPES)}")
    head = "\n".join([command, *made]).encode("utf-8", "replace")
    return head + b"\n\n" + content + b"\0"


def message(delivery: Delivery, now: datetime) -> dict[str, Any]:
    """The JSON of the message."""
    notification = delivery.notification
    rule, last = notification.rule, notification.matches[-1]
    made = [
        f"Rule {rule.name} generated an alert at {format_time(one.time)}:" for one in notification.matches
    ]
    key = lookup(last.document, ",".join(rule.query_key)) if rule.query_key else None
    return {
        "match": format_time(last.time) if key is None else key,
        "alerts": made,
        "rule": rule.name,
        "rule_file": rule.source,
        "matching": text(notification),
        "alertDate": now.strftime("%Y-%m-%d %H:%M:%S"),
        "body": text(notification),
        "matches": [one.document for one in notification.matches],
        "status": str(notification.status),
    }


class Stomp:
    """Connects, sends, waits for the receipt, disconnects."""

    def __init__(self, wall: Callable[[], datetime]) -> None:
        self._wall = wall

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [options]

    async def deliver(self, delivery: Delivery) -> None:
        """:raises DeliveryError: the broker did not confirm it."""
        options = delivery.options
        host, port = options["stomp_hostname"], options["stomp_hostport"]
        context = ssl.create_default_context() if options["stomp_ssl"] else None
        async with connection(host, port, options["stomp_timeout"], context) as (reader, writer):
            login = {"login": options["stomp_login"], "passcode": options["stomp_password"]}
            version = {"accept-version": "1.2", "host": host, "heart-beat": "0,0"}
            writer.write(frame("CONNECT", {**version, **login}))
            await _expect(reader, b"CONNECTED")
            content = to_json(message(delivery, self._wall()))
            headers = {
                "destination": options["stomp_destination"],
                "content-type": "application/json",
                "content-length": str(len(content)),
                "receipt": "sent",
                "idempotency-key": delivery.key,
            }
            writer.write(frame("SEND", headers, content))
            await _expect(reader, b"RECEIPT")
            writer.write(frame("DISCONNECT", {}))
            await writer.drain()


async def _expect(reader: asyncio.StreamReader, command: bytes) -> None:
    found = (await reader.readuntil(b"\0")).lstrip(b"\r\n").split(b"\n", 1)[0].strip()
    if found != command:
        # ERROR's text is the broker's, and may repeat what was sent.
        raise DeliveryError("refused by the broker", again=False)


def make(tools: Tools) -> Alerter:
    return Stomp(tools.wall)
