"""How a gateway treats the requests it passes on: edits, limits, patience, copies, encryption.

Frozen values, nothing else, shared by blueprints (`artifacts`) and by the plan for Envoy (`envoy.plan`): what
a user writes here needs no translation. All times are in seconds, all sizes in bytes. A field that is None or
empty leaves the gateway's own default.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from divertor.model.isolation import KeySelector


@dataclass(frozen=True, slots=True)
class HeaderEdits:
    """Changes to one direction's headers, in this order: `remove`, `set` (replaces), `add` (appends).

    Values are literal text: nothing a client sends is ever expanded in them.
    """

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Retries:
    """When a request is sent again: at most `attempts` more times, `on` what happened (Envoy's words, such as
    `connect-failure`, `5xx`, `gateway-error`, `reset`), each try for `per_try` seconds."""

    attempts: int = 3
    on: tuple[str, ...] = ("connect-failure", "refused-stream")
    per_try: float | None = None


@dataclass(frozen=True, slots=True)
class Mirror:
    """A copy of `percent` of the requests goes to `to` too (a path, as in a route); its answers are lost."""

    to: str
    percent: int = 100


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a gateway, or one of its routes, does with requests. A route's own values win over its gateway's;
    `mirrors` and header edits add up. `timeout` 0: none. `idle`: how long a request may be silent."""

    timeout: float | None = None
    idle: float | None = None
    retries: Retries | None = None
    request_headers: HeaderEdits = HeaderEdits()
    response_headers: HeaderEdits = HeaderEdits()
    mirrors: tuple[Mirror, ...] = ()


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `requests` in `seconds` for each value of `per` (None: for everybody together); a bucket that
    holds `burst` and is filled evenly. Beyond it the answer is 429."""

    requests: int
    seconds: float
    per: KeySelector | None = None
    burst: int | None = None


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM, absolute; new contents are served within seconds, however they got there. With
    `client_ca`, clients must show a certificate that it signed (unless `optional`)."""

    certificate: str
    key: str = field(repr=False)
    client_ca: str = ""
    optional: bool = False
    minimum: str = "1.2"


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """An instance that answers `errors` times in a row with 5xx (or not at all) gets no requests for
    `ejection` seconds, each time longer; never more than `maximum` per cent of the instances at once."""

    errors: int = 5
    interval: float = 10.0
    ejection: float = 30.0
    maximum: int = 50


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """How much may be under way to one version at once; beyond it the answer is 503 at once."""

    connections: int = 10000
    pending: int = 10000
    requests: int = 50000
    retries: int = 100
