"""What the sensor is told to do, read once from the environment.

The names are a contract with whatever starts the app. A bad value is never an error here: it becomes a
warning (the caller logs it) and the safe default, because a sensor must not stop its host from starting.
Nothing here reads the process environment by itself; the mapping is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from divertor_sensor.modes import ATTACK, PROBE, SIGNALS, TYPES, VULNERABILITY, Mode, Modes, RouteRule

__all__ = ["DEFAULT_SERVICE", "DEFAULT_SESSION_COOKIES", "Mode", "Settings", "is_enabled", "read_settings"]

#: The cookies that usually name a session: Flask, Django, PHP, Java.
DEFAULT_SESSION_COOKIES = ("session", "sessionid", "PHPSESSID", "JSESSIONID")
#: OpenTelemetry's name for a service that was not named.
DEFAULT_SERVICE = "unknown_service"
_MAX_HOPS = 16
_MAX_RULES = 256
_MAX_SAMPLE = 1_000_000
_MAX_SLOW = 3_600_000
#: What a signal may lead to: a probe reached nothing, so there is nothing to stop.
_ALLOWED = {ATTACK: tuple(Mode), VULNERABILITY: tuple(Mode), PROBE: (Mode.REPORT, Mode.OFF)}


@dataclass(frozen=True, slots=True)
class Settings:
    """The sensor's configuration. `endpoint` is a base URL; `/v1/logs` is added. Empty text means "not set".

    `mode` is for attacks; `mode_vulnerability` and `mode_probe` are for the two other signals, `routes` and
    `detectors` for single routes and types of finding (see `divertor_sensor.modes`).
    `trusted_hops` is the number of proxies whose X-Forwarded-For entry is believed; 0 uses the socket's peer.
    `session_headers` (lower case) name their senders, as API keys and bearer tokens do. `mode_file` is a file
    whose word (`divert`, `report`) counts instead of `mode` at the moment an attack is found.
    `sample` reports the outcome of one request in so many; 0 only of those the app failed at.
    `inside_hosts` are `host` or `host:port` (lower case) that inputs may name although they are inside.
    `slow` is the milliseconds from which on a call of a database or another service is told; 0 tells of none.
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
    mode_vulnerability: Mode = Mode.REPORT
    mode_probe: Mode = Mode.REPORT
    routes: tuple[RouteRule, ...] = ()
    detectors: tuple[tuple[str, Mode], ...] = ()
    sample: int = 0
    inside_hosts: tuple[str, ...] = ()
    slow: int = 1000

    def modes(self) -> Modes:
        """The modes as one table."""
        signals = {ATTACK: self.mode, VULNERABILITY: self.mode_vulnerability, PROBE: self.mode_probe}
        return Modes(signals, self.routes, self.detectors)


def is_enabled(environ: Mapping[str, str]) -> bool:
    """Whether `DIVERTOR_SENSOR` asks for the sensor (1, true, yes or on)."""
    return environ.get("DIVERTOR_SENSOR", "").strip().lower() in {"1", "true", "yes", "on"}


def read_settings(environ: Mapping[str, str]) -> tuple[Settings, tuple[str, ...]]:
    """The settings, and one warning for each value that could not be used."""
    warnings: list[str] = []
    return (
        Settings(
            mode=_mode("DIVERTOR_MODE", ATTACK, environ, warnings),
            endpoint=_endpoint(environ.get("DIVERTOR_ENDPOINT", ""), warnings),
            ingest_token=_token("DIVERTOR_INGEST_TOKEN", environ, warnings),
            divert_token=_token("DIVERTOR_DIVERT_TOKEN", environ, warnings),
            service=environ.get("DIVERTOR_SERVICE", "").strip() or DEFAULT_SERVICE,
            version=environ.get("DIVERTOR_VERSION", "").strip(),
            instance=environ.get("DIVERTOR_INSTANCE", "").strip(),
            session_cookies=_names(environ.get("DIVERTOR_SESSION_COOKIE", "")),
            session_headers=_words(environ.get("DIVERTOR_SESSION_HEADER", "")),
            trusted_hops=_number("DIVERTOR_TRUSTED_HOPS", _MAX_HOPS, environ, warnings),
            strict=environ.get("DIVERTOR_SENSOR_STRICT", "") == "1",
            mode_file=environ.get("DIVERTOR_MODE_FILE", "").strip(),
            mode_vulnerability=_mode("DIVERTOR_MODE_VULNERABILITY", VULNERABILITY, environ, warnings),
            mode_probe=_mode("DIVERTOR_MODE_PROBE", PROBE, environ, warnings),
            routes=_routes(environ.get("DIVERTOR_ROUTES", ""), warnings),
            detectors=_detectors(environ.get("DIVERTOR_DETECTORS", ""), warnings),
            sample=_number("DIVERTOR_SAMPLE", _MAX_SAMPLE, environ, warnings),
            slow=_number("DIVERTOR_SLOW", _MAX_SLOW, environ, warnings, 1000),
            inside_hosts=_words(environ.get("DIVERTOR_INSIDE_HOSTS", "")),
        ),
        tuple(warnings),
    )


def _mode(name: str, signal: str, environ: Mapping[str, str], warnings: list[str]) -> Mode:
    text = environ.get(name, "")
    found = _known_mode(text, signal)
    if text.strip() and found is None:
        expected = ", ".join(_ALLOWED[signal])
        warnings.append(f"{name} is {text!r}; expected one of {expected}: using report")
    return found or Mode.REPORT


def _known_mode(text: str, signal: str) -> Mode | None:
    word = text.strip().lower()
    return next((mode for mode in _ALLOWED[signal] if mode == word), None)


def _routes(text: str, warnings: list[str]) -> tuple[RouteRule, ...]:
    """`GET /health=off; /admin/*=block; /x=off:probe`: the first that applies decides. A rule that cannot be
    read is left out, which leaves its requests to the others.
    """
    pieces = [piece.strip() for piece in text.split(";") if piece.strip()]
    if len(pieces) > _MAX_RULES:
        warnings.append(f"DIVERTOR_ROUTES has more than {_MAX_RULES} rules: ignoring the last ones")
    found: list[RouteRule] = []
    for piece in pieces[:_MAX_RULES]:
        rule = _route(piece)
        if rule is None:
            warnings.append(
                f"DIVERTOR_ROUTES has {piece!r}; expected [METHOD ]/PATH=MODE[:SIGNAL]: ignoring it"
            )
        else:
            found.append(rule)
    return tuple(found)


def _route(piece: str) -> RouteRule | None:
    route, _, word = piece.rpartition("=")
    method, _, path = route.strip().rpartition(" ")
    mode_word, limited, signal = (part.strip().lower() for part in word.partition(":"))
    if limited and signal not in SIGNALS:
        return None
    mode = _known_mode(mode_word, signal or ATTACK)
    if mode is None or not path.startswith(("/", "*")) or not (method.strip() or "A").isalpha():
        return None
    return RouteRule(path, mode, method.strip().upper(), signal)


def _detectors(text: str, warnings: list[str]) -> tuple[tuple[str, Mode], ...]:
    """`-xss, open_redirect=report`: types of finding that are off, or have a mode of their own."""
    found: list[tuple[str, Mode]] = []
    for piece in filter(None, map(str.strip, text.split(","))):
        name, _, word = piece.removeprefix("-").partition("=")
        mode = Mode.OFF if piece.startswith("-") and not word else _known_mode(word, ATTACK)
        if mode is None or piece.startswith("-") and word or not name.strip().isidentifier():
            warnings.append(f"DIVERTOR_DETECTORS has {piece!r}; expected -TYPE or TYPE=MODE: ignoring it")
        elif name.strip() not in TYPES:
            known = ", ".join(sorted(TYPES))
            warnings.append(f"DIVERTOR_DETECTORS has {piece!r}; expected a type among {known}: ignoring it")
        else:
            found.append((name.strip(), mode))
    return tuple(found)


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


def _words(text: str) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in text.split(",") if name.strip())


def _number(
    name: str, largest: int, environ: Mapping[str, str], warnings: list[str], otherwise: int = 0
) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return otherwise
    if text.isascii() and text.isdecimal() and len(text) < 10 and int(text) <= largest:
        return int(text)
    warnings.append(f"{name} is {text!r}; expected a number from 0 to {largest}: using {otherwise}")
    return otherwise
