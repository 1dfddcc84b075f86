"""`alert: tencent_sms`: text messages through Tencent Cloud, signed by TC3-HMAC-SHA256."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from divertor.alerts.contract import Alerter, Delivery, DeliveryError
from divertor.alerts.filling import plain_text
from divertor.alerts.hook import Tools
from divertor.alerts.http import Answer, Request, Transport, WebClient, send, to_json
from divertor.rules.document import lookup
from divertor.rules.rule import Match

_HOST = "sms.tencentcloudapi.com"
_ALGORITHM = "TC3-HMAC-SHA256"
_SIGNED = "content-type;host"
_TYPE = "application/json; charset=utf-8"

#: Errors after which another attempt may succeed.
_AGAIN = ("InternalError", "RequestLimitExceeded", "LimitExceeded.DeliveryFrequencyLimit")


def payload(delivery: Delivery) -> dict[str, Any]:
    """The request; the wording is the template's, filled with fields of the first match."""
    match, options = delivery.notification.first, delivery.options
    return {
        "SmsSdkAppId": options["tencent_sms_sdk_appid"],
        "SignName": options["tencent_sms_sign_name"],
        "PhoneNumberSet": list(options["tencent_sms_to_number"])[:200],
        "TemplateId": options["tencent_sms_template_id"],
        "TemplateParamSet": [_parameter(match, path) for path in options["tencent_sms_template_parm"]],
    }


def _parameter(match: Match, path: str) -> str:
    """A JSON pointer (`/user/name`), or a dotted path."""
    value: Any = match.document
    if not path.startswith("/"):
        value = lookup(value, path)
    else:
        for part in path[1:].split("/"):
            value = _step(value, part.replace("~1", "/").replace("~0", "~"))
    return match.rule.words.missing if value is None else plain_text(value)[:500]


def _step(value: Any, part: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, list) and part.isdecimal() and len(part) < 6:
        return value[int(part)] if int(part) < len(value) else None
    return None


def authorization(secret_id: str, secret_key: str, content: bytes, now: datetime) -> str:
    """The signature of a request to the SMS service."""
    digest = hashlib.sha256(content).hexdigest()
    canonical = "\n".join(["POST", "/", "", f"content-type:{_TYPE}", f"host:{_HOST}", "", _SIGNED, digest])
    day = now.astimezone(UTC).strftime("%Y-%m-%d")
    scope = f"{day}/sms/tc3_request"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join([_ALGORITHM, str(int(now.timestamp())), scope, hashed])
    key = f"TC3{secret_key}".encode()
    for part in (day, "sms", "tc3_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return f"{_ALGORITHM} Credential={secret_id}/{scope}, SignedHeaders={_SIGNED}, Signature={signature}"


class TencentSms:
    """Sends to all numbers at once."""

    def __init__(self, client: WebClient, wall: Callable[[], datetime]) -> None:
        self._client = client
        self._wall = wall

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [options]

    async def deliver(self, delivery: Delivery) -> None:
        """:raises DeliveryError: the service did not take it."""
        options, content, now = delivery.options, to_json(payload(delivery)), self._wall()
        headers = {
            "content-type": _TYPE,
            "host": _HOST,
            "x-tc-action": "SendSms",
            "x-tc-version": "2021-01-11",
            "x-tc-timestamp": str(int(now.timestamp())),
            "x-tc-region": options["tencent_sms_region"],
            "authorization": authorization(
                options["tencent_sms_secret_id"], options["tencent_sms_secret_key"], content, now
            ),
        }
        request = Request(f"https://{_HOST}/", content=content, headers=headers)
        _check(await send(self._client, request, Transport.of(options, "tencent_sms")))


def _check(answer: Answer) -> None:
    error = answer.get("Response", "Error", "Code")
    if error is not None:
        raise DeliveryError("refused by Tencent Cloud", again=str(error).startswith(_AGAIN))
    sent = answer.get("Response", "SendStatusSet")
    codes = [one.get("Code") for one in sent if isinstance(one, dict)] if isinstance(sent, list) else []
    failed = [code for code in codes if code != "Ok"]
    if failed:
        # Some numbers may have it: only when none has is another attempt no repetition.
        again = len(failed) == len(codes) and all(str(code).startswith(_AGAIN) for code in failed)
        raise DeliveryError(f"not sent to {len(failed)} of {len(codes)} numbers", again=again)


def make(tools: Tools) -> Alerter:
    return TencentSms(tools.client, tools.wall)
