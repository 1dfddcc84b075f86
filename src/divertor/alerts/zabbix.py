"""`alert: zabbix`: values of a trapper item, by the protocol of zabbix_sender. An alarm is 1, its end 0."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

from divertor.alerts.contract import Alerter, Delivery, DeliveryError
from divertor.alerts.hook import Tools
from divertor.alerts.stream import MAX_ANSWER, connection
from divertor.alerts.wording import colour
from divertor.rules.document import lookup
from divertor.rules.notification import Notification

_HEADER = struct.Struct("<4sBII")
_MAGIC = b"ZBXD"


def packet(notification: Notification, options: Mapping[str, Any]) -> bytes:
    """A value for each match, at its time.

    :raises DeliveryError: the host is to be in a field that no match has.
    """
    named = options["zbx_host_from_field"]
    values = [
        {
            "host": str(lookup(match.document, options["zbx_host"]) or "") if named else options["zbx_host"],
            "key": options["zbx_key"],
            "value": colour(notification, "1", "0"),
            "clock": int(match.time.timestamp()),
        }
        for match in notification.matches
    ]
    known = [value for value in values if value["host"]]
    if not known:
        raise DeliveryError("no match has the field that zbx_host names", again=False)
    content = json.dumps({"request": "sender data", "data": known}).encode()
    return _HEADER.pack(_MAGIC, 1, len(content), 0) + content


class Zabbix:
    """Sends to a server or proxy and reads how many values it took."""

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [options]

    async def deliver(self, delivery: Delivery) -> None:
        """:raises DeliveryError: the server did not take every value."""
        options = delivery.options
        sent = packet(delivery.notification, options)
        where = options["zbx_sender_host"], options["zbx_sender_port"], options["zbx_timeout"]
        async with connection(*where) as (reader, writer):
            writer.write(sent)
            await writer.drain()
            magic, flags, length, _reserved = _HEADER.unpack(await reader.readexactly(_HEADER.size))
            if magic != _MAGIC or flags != 1 or length > MAX_ANSWER:
                raise DeliveryError("the answer is not Zabbix's", again=False)
            answer = await reader.readexactly(length)
        _check(answer)


def _check(answer: bytes) -> None:
    try:
        said = json.loads(answer)
    except ValueError:
        said = {}
    if not isinstance(said, dict) or said.get("response") != "success":
        raise DeliveryError("refused by Zabbix", again=False)
    if "failed: 0" not in str(said.get("info", "failed: 0")):
        # Host or item may not exist yet; they may be made meanwhile.
        raise DeliveryError("Zabbix does not know the host or its trapper item", again=True)


def make(tools: Tools) -> Alerter:
    del tools
    return Zabbix()
