"""What a finding leads to: the mode that applies to a signal, on a route, for a type.

Pure: the request's method and path are arguments, and nothing is read. The rules are read from text once, in
`divertor_sensor.settings`. What a mode then means for one request is `divertor_sensor.sensor`'s.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

ATTACK, VULNERABILITY, PROBE = SIGNALS = ("attack", "vulnerability", "probe")

#: What a finding can be of: the detectors' types, then those that only probes have.
TYPES = (
    "argument_injection",
    "code_injection",
    "header_injection",
    "ldap_injection",
    "nosql_injection",
    "open_redirect",
    "path_traversal",
    "shell_injection",
    "sql_injection",
    "ssrf",
    "template_injection",
    "unsafe_deserialisation",
    "xml_external_entity",
    "xss",
    "attack_wave",
    "forced_browsing",
    "jndi_lookup",
    "scanner",
)


class Mode(StrEnum):
    """What happens to a request with a finding.

    `simulate` stops nothing and reports what `divert` would have done; `off` does not even report.
    """

    DIVERT = "divert"
    BLOCK = "block"
    REPORT = "report"
    SIMULATE = "simulate"
    OFF = "off"


_STOPPING = frozenset({Mode.DIVERT, Mode.BLOCK})


@dataclass(frozen=True, slots=True)
class RouteRule:
    """A mode for the requests of a route. `method` is upper case, or empty for any. In `path` each `*` stands
    for any characters, slashes too. `signal` limits the rule; without one it is about attacks, and `off`
    about all signals.
    """

    path: str
    mode: Mode
    method: str = ""
    signal: str = ""

    def __str__(self) -> str:
        """As it is written in the setting."""
        method, limit = self.method and f"{self.method} ", self.signal and f":{self.signal}"
        return f"{method}{self.path}={self.mode}{limit}"

    def applies(self, signal: str, method: str, path: str) -> bool:
        """Whether the rule decides for `signal` of a request.

        A rule that stops less holds only for a path written plainly: `/health/../admin` is not `/health/*`.
        One that stops holds for whatever the path may be tidied to.
        """
        if not _covers(self.signal, self.mode, signal):
            return False
        tidy, is_stopping = _tidied(path), self.mode in _STOPPING
        # What answers GET answers HEAD, and often the path with a slash more.
        asked = "GET" if is_stopping and method == "HEAD" and self.method != "HEAD" else method
        if self.method not in ("", asked):
            return False
        if is_stopping:
            return any(_fits(self.path, each) for each in (path, tidy, tidy.rstrip("/")))
        return path == tidy and _fits(self.path, path)


@dataclass(frozen=True, slots=True)
class Modes:
    """All that is configured: the mode of each signal, the routes' in order, and those of single types."""

    signals: Mapping[str, Mode]
    routes: Sequence[RouteRule] = ()
    types: Sequence[tuple[str, Mode]] = ()

    def find(self, kind: str, signal: str, method: str, path: str) -> Mode:
        """The mode for a finding of type `kind`: a type that is off, else the first route that applies, else
        the type's own, else the signal's.
        """
        own = next((mode for name, mode in self.types if name == kind and _covers("", mode, signal)), None)
        if own is Mode.OFF:
            return own
        for rule in self.routes:
            if rule.applies(signal, method, path):
                return rule.mode
        return self.signals.get(signal, Mode.REPORT) if own is None else own

    def may_report(self, signal: str) -> bool:
        """Whether a finding of this signal could be reported for any request."""
        routes = any(
            rule.mode is not Mode.OFF and _covers(rule.signal, rule.mode, signal) for rule in self.routes
        )
        return self.signals.get(signal, Mode.REPORT) is not Mode.OFF or routes


def _covers(limit: str, mode: Mode, signal: str) -> bool:
    if limit:
        return limit == signal
    return mode is Mode.OFF or signal == ATTACK


def _tidied(path: str) -> str:
    """The path as a lenient server may read it."""
    text = path.replace("\\", "/")
    tidy = posixpath.normpath("/" + text.lstrip("/"))
    return tidy + "/" if text.endswith("/") and tidy != "/" else tidy


def _fits(pattern: str, path: str) -> bool:
    """Whether the whole path fits a pattern whose `*` stand for anything; linear in the path per `*`."""
    first, *rest = pattern.split("*")
    if not rest:
        return path == pattern
    if not path.startswith(first):
        return False
    at, last = len(first), rest.pop()
    for piece in rest:
        at = path.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return path.endswith(last) and len(path) - len(last) >= at
