"""`alert: gelf`: messages for Graylog by HTTP, by TCP (ended by a zero byte) or by UDP (compressed, in chunks
when it has to be).
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import zlib
from collections.abc import Mapping
from typing import Any

from divertor.alerts.contract import Alerter, Delivery, DeliveryError
from divertor.alerts.filling import cut, plain_text
from divertor.alerts.hook import Tools, spread
from divertor.alerts.http import Request, Transport, WebClient, send, to_json
from divertor.alerts.stream import connection
from divertor.alerts.wording import colour, text, title
from divertor.rules.document import lookup

#: Bytes of a datagram, chunk header included, and how many chunks a message may have.
CHUNK = 1420
MAX_CHUNKS = 128
_MAGIC = b"\x1e\x0f"
_INFORMATIONAL = 6
_MAX_FIELD = 8000


def message(delivery: Delivery) -> dict[str, Any]:
    """The GELF message. `short_message` is a JSON text of the wanted fields, as in ElastAlert; they are
    fields of their own as well.
    """
    notification, options = delivery.notification, delivery.options
    wanted: dict[str, Any] = {"Title": title(notification)}
    for match in notification.matches:
        for name, field in options["gelf_payload"].items():
            wanted[name] = _bounded(lookup(match.document, field))
    extra = {f"_{name}": plain_text(wanted[name]) for name in options["gelf_payload"] if name != "id"}
    return {
        "version": options["gelf_version"],
        "host": socket.gethostname(),
        "short_message": to_json(wanted).decode(),
        "full_message": text(notification, limit=30_000),
        "timestamp": notification.first.time.timestamp(),
        "level": colour(notification, options["gelf_log_level"], _INFORMATIONAL),
        **extra,
    }


def _bounded(value: Any) -> Any:
    """Graylog indexes fields as words of at most 32 KiB."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return cut(plain_text(value), _MAX_FIELD)


def datagrams(content: bytes, key: str) -> list[bytes]:
    """The compressed message in one datagram or in chunks; the same key makes the same message id.

    :raises DeliveryError: it is too long for GELF.
    """
    packed = zlib.compress(content)
    if len(packed) <= CHUNK:
        return [packed]
    room = CHUNK - 12
    parts = [packed[start : start + room] for start in range(0, len(packed), room)]
    if len(parts) > MAX_CHUNKS:
        raise DeliveryError(f"a message of {len(packed)} bytes is too long for GELF over UDP", again=False)
    id = hashlib.blake2b(key.encode() + content, digest_size=8).digest()
    return [_MAGIC + id + bytes((place, len(parts))) + part for place, part in enumerate(parts)]


class Gelf:
    """Sends in the way that `gelf_type` says."""

    def __init__(self, client: WebClient) -> None:
        self._client = client

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return spread(options, "gelf_endpoint")

    async def deliver(self, delivery: Delivery) -> None:
        """:raises DeliveryError: it could not be sent. UDP does not say whether it arrived."""
        content, options = to_json(message(delivery)), delivery.options
        if options["gelf_type"] == "http":
            await self._by_http(content, options)
        elif options["gelf_type"] == "tcp":
            await _by_tcp(content, options)
        else:
            await _by_udp(datagrams(content, delivery.key), options)

    async def _by_http(self, content: bytes, options: Mapping[str, Any]) -> None:
        headers = {"content-type": "application/json", **options["gelf_http_headers"]}
        way = Transport(
            proxy=options["gelf_proxy"],
            ca=options["gelf_ca_cert"],
            verify=not options["gelf_http_ignore_ssl_errors"],
            timeout=options["gelf_timeout"],
        )
        await send(self._client, Request(options["gelf_endpoint"], content=content, headers=headers), way)


async def _by_tcp(content: bytes, options: Mapping[str, Any]) -> None:
    context = None
    if options["gelf_ca_cert"]:
        try:
            context = ssl.create_default_context(cafile=options["gelf_ca_cert"])
        except (OSError, ValueError):
            raise DeliveryError("the certificates of gelf_ca_cert cannot be read", again=True) from None
    where = options["gelf_host"], options["gelf_port"], options["gelf_timeout"]
    async with connection(*where, context) as (_reader, writer):
        writer.write(content + b"\0")
        await writer.drain()
        writer.close()
        await writer.wait_closed()


async def _by_udp(parts: list[bytes], options: Mapping[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    try:
        transport, _protocol = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=(options["gelf_host"], options["gelf_port"])
        )
    except OSError as problem:
        raise DeliveryError(f"gelf_host cannot be found ({type(problem).__name__})", again=True) from None
    for part in parts:
        transport.sendto(part)
    transport.close()


def make(tools: Tools) -> Alerter:
    return Gelf(tools.client)
