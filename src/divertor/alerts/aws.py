"""Requests to Amazon's services: signed (Signature Version 4), with credentials from a rule, the environment
or the shared credentials file.

Written here because the official library is a hundred times the size of what three alerters need of it.
"""

from __future__ import annotations

import configparser
import hashlib
import hmac
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from divertor.alerts.contract import DeliveryError
from divertor.alerts.http import Request

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who signs. `token` belongs to credentials that end."""

    key_id: str
    secret: str
    token: str = ""


def credentials(
    options: Mapping[str, Any], prefix: str, environment: Mapping[str, str] = os.environ
) -> Credentials:
    """From the rule's options, else of the profile it names, else from the environment, else of the default
    profile.

    :raises DeliveryError: there are none.
    """
    own = options[f"{prefix}_aws_access_key_id"], options[f"{prefix}_aws_secret_access_key"]
    if all(own):
        return Credentials(*own)
    profile = options[f"{prefix}_aws_profile"]
    if not profile and environment.get("AWS_ACCESS_KEY_ID") and environment.get("AWS_SECRET_ACCESS_KEY"):
        return Credentials(
            environment["AWS_ACCESS_KEY_ID"],
            environment["AWS_SECRET_ACCESS_KEY"],
            environment.get("AWS_SESSION_TOKEN", ""),
        )
    return _of_profile(profile or environment.get("AWS_PROFILE", "default"), environment)


def _of_profile(profile: str, environment: Mapping[str, str]) -> Credentials:
    given = environment.get("AWS_SHARED_CREDENTIALS_FILE")
    path = Path(given) if given else Path(environment.get("HOME", "/")) / ".aws" / "credentials"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
        section = parser[profile]
        return Credentials(
            section["aws_access_key_id"],
            section["aws_secret_access_key"],
            section.get("aws_session_token", ""),
        )
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError):
        # The file may be renewed just now.
        raise DeliveryError("no credentials for Amazon's services", again=True) from None


def region(options: Mapping[str, Any], prefix: str, environment: Mapping[str, str] = os.environ) -> str:
    """The region of the rule, else of the environment, else the first there was."""
    return options[f"{prefix}_aws_region"] or environment.get("AWS_REGION") or "us-east-1"


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs requests to one service in one region; `wall` is the time of day."""

    credentials: Credentials
    region: str
    service: str
    wall: Callable[[], datetime]

    def signed(self, request: Request) -> Request:
        """The request with its `Authorization`; all of its headers are signed."""
        now = self.wall().astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        content, described = request.body()
        headers = {"host": _host(request.url), "x-amz-date": now, **described, **(request.headers or {})}
        if self.credentials.token:
            headers["x-amz-security-token"] = self.credentials.token
        lower = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
        lower["authorization"] = self._authorization(request, lower, content or b"", now)
        return Request(request.url, method=request.method, headers=lower, content=content or b"")

    def _authorization(self, request: Request, headers: Mapping[str, str], content: bytes, now: str) -> str:
        names = ";".join(sorted(headers))
        canonical = "\n".join(
            [
                request.method,
                quote(urlsplit(request.url).path or "/", safe="/-_.~"),
                _query(request.url),
                *(f"{name}:{headers[name]}" for name in sorted(headers)),
                "",
                names,
                hashlib.sha256(content).hexdigest(),
            ]
        )
        scope = f"{now[:8]}/{self.region}/{self.service}/aws4_request"
        text = "\n".join([_ALGORITHM, now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        signature = hmac.new(self._key(now[:8]), text.encode(), hashlib.sha256).hexdigest()
        who = f"{self.credentials.key_id}/{scope}"
        return f"{_ALGORITHM} Credential={who}, SignedHeaders={names}, Signature={signature}"

    def _key(self, day: str) -> bytes:
        key = b"AWS4" + self.credentials.secret.encode()
        for part in (day, self.region, self.service, "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return key


def _host(url: str) -> str:
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    port = f":{parts.port}" if parts.port and parts.port != default else ""
    return f"{parts.hostname or ''}{port}"


def _query(url: str) -> str:
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    return "&".join(
        sorted(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)
    )
