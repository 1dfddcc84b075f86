"""`tencent_sms`: text messages through Tencent Cloud."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, defaults, path_part, transport
from divertor.rules.reading.options import Option, text, texts

DECLARATION = AlerterDeclaration(
    "tencent_sms",
    (
        Option("tencent_sms_secret_id", text, required=True),
        Option("tencent_sms_secret_key", text, required=True),
        Option("tencent_sms_sdk_appid", text, required=True),
        Option("tencent_sms_template_id", text, required=True),
        Option("tencent_sms_to_number", texts, required=True),
        Option("tencent_sms_region", path_part, default="ap-guangzhou"),
        *defaults("tencent_sms_sign_name"),
        Option("tencent_sms_template_parm", texts, default=()),
        *transport("tencent_sms"),
    ),
    resolved="the same text message: its wording is that of the template",
)
