"""`yzj`: messages of a Yunzhijia robot."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, host, path_part, transport
from divertor.rules.reading.options import Option

DECLARATION = AlerterDeclaration(
    "yzj",
    (
        Option("yzj_token", path_part, required=True),
        Option("yzj_type", path_part, default="0"),
        Option("yzj_custom_loc", host, default=""),
        *transport("yzj"),
    ),
    resolved="a message that says so",
)
