"""What the sensor is told to do, read once from the environment.

The names are a contract with whatever starts the app. A bad value is never an error here: it becomes a
warning (the caller logs it) and the safe default, because a sensor must not stop its host from starting.
Nothing here reads the process environment by itself; the mapping is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

#: The cookies that usually name a session: Flask, Django, PHP, Java.
DEFAULT_SESSION_COOKIES = ("session", "sessionid", "PHPSESSID", "JSESSIONID")
#: OpenTelemetry's name for a service that was not named.
DEFAULT_SERVICE = "unknown_service"
_MAX_HOPS = 16


class Mode(StrEnum):
    """What happens to a request whose input turned into code."""

    DIVERT = "divert"
    BLOCK = "block"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Settings:
    """The sensor's configuration. `endpoint` is a base URL; `/v1/logs` is added. Empty text means "not set".

    `trusted_hops` is the number of proxies whose X-Forwarded-For entry is believed; 0 uses the socket's peer.
    `session_headers` (lower case) name their senders, as API keys and bearer tokens do. `mode_file` is a file
    whose word (`divert`, `report`) counts instead of `mode` at the moment an attack is found.
    `strict` lets the sensor's own faults out instead of containing them: for tests only.
    """

    mode: Mode = Mode.REPORT
    endpoint: str = ""
    ingest_token: str = ""
    divert_token: str = ""
    service: str = DEFAULT_SERVICE
    version: str = ""
    instance: str = ""
    session_cookies: tuple[str, ...] = DEFAULT_SESSION_COOKIES
    session_headers: tuple[str, ...] = ()
    trusted_hops: int = 0
    strict: bool = False
    mode_file: str = ""


def is_enabled(environ: Mapping[str, str]) -> bool:
    """Whether `DIVERTOR_SENSOR` asks for the sensor (1, true, yes or on)."""
    return environ.get("DIVERTOR_SENSOR", "").strip().lower() in {"1", "true", "yes", "on"}


def read_settings(environ: Mapping[str, str]) -> tuple[Settings, tuple[str, ...]]:
    """The settings, and one warning for each value that could not be used."""
    warnings: list[str] = []
    return (
        Settings(
            mode=_mode(environ.get("DIVERTOR_MODE", ""), warnings),
            endpoint=_endpoint(environ.get("DIVERTOR_ENDPOINT", ""), warnings),
            ingest_token=_token("DIVERTOR_INGEST_TOKEN", environ, warnings),
            divert_token=_token("DIVERTOR_DIVERT_TOKEN", environ, warnings),
            service=environ.get("DIVERTOR_SERVICE", "").strip() or DEFAULT_SERVICE,
            version=environ.get("DIVERTOR_VERSION", "").strip(),
            instance=environ.get("DIVERTOR_INSTANCE", "").strip(),
            session_cookies=_names(environ.get("DIVERTOR_SESSION_COOKIE", "")),
            session_headers=_headers(environ.get("DIVERTOR_SESSION_HEADER", "")),
            trusted_hops=_hops(environ.get("DIVERTOR_TRUSTED_HOPS", ""), warnings),
            strict=environ.get("DIVERTOR_SENSOR_STRICT", "") == "1",
            mode_file=environ.get("DIVERTOR_MODE_FILE", "").strip(),
        ),
        tuple(warnings),
    )


def _mode(text: str, warnings: list[str]) -> Mode:
    if not text.strip():
        return Mode.REPORT
    try:
        return Mode(text.strip().lower())
    except ValueError:
        warnings.append(f"DIVERTOR_MODE is {text!r}; expected divert, block or report: using report")
        return Mode.REPORT


def _endpoint(text: str, warnings: list[str]) -> str:
    text = text.strip().rstrip("/")
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if usable:
        return text
    warnings.append(
        f"DIVERTOR_ENDPOINT is {text!r}; expected http://host:port: detections go to the log only"
    )
    return ""


def _token(name: str, environ: Mapping[str, str], warnings: list[str]) -> str:
    """A secret travels in a header, so it must be printable ASCII; its value is never put into a warning."""
    text = environ.get(name, "").strip()
    if text.isascii() and text.isprintable() and " " not in text:
        return text
    warnings.append(f"{name} is no printable ASCII word: ignoring it")
    return ""


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip()) or DEFAULT_SESSION_COOKIES


def _headers(text: str) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in text.split(",") if name.strip())


def _hops(text: str, warnings: list[str]) -> int:
    if not text.strip():
        return 0
    if text.strip().isdecimal() and int(text) <= _MAX_HOPS:
        return int(text)
    warnings.append(f"DIVERTOR_TRUSTED_HOPS is {text!r}; expected a number from 0 to {_MAX_HOPS}: using 0")
    return 0
