"""`zabbix`: values of a trapper item, by the protocol of zabbix_sender."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, host
from divertor.rules.reading.options import Option, boolean, integer, number, text

DECLARATION = AlerterDeclaration(
    "zabbix",
    (
        Option("zbx_host", text, required=True),
        Option("zbx_key", text, required=True),
        Option("zbx_sender_host", host, default="localhost"),
        Option("zbx_sender_port", integer(1, 65535), default=10051),
        Option("zbx_host_from_field", boolean, default=False),
        Option("timestamp_strptime", text, default=""),
        Option("zbx_timeout", number(0.1, 120), default=10.0),
    ),
    resolved="the value 0",
)
