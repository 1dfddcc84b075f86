"""Open redirect (CWE-601; OWASP A01:2021 Broken Access Control; CAPEC-98, its use for phishing).

Rule: the host that a `Location` or `Refresh` header sends the browser to must not be decided by an input. The
address is read as browsers read it (WHATWG URL): backslashes are slashes, blanks and control characters are
passed over, any number of slashes may follow `https:`, what stands before `@` is no host. An input that gives
the whole host, or its end, is an attack. An input that only gives a label of it (`{tenant}.example.com`) or
what follows the host is fine. `redirect_uri` and its like are meant to hold an address (OAuth 2.0, RFC 6749,
3.1.2): a redirect there is a vulnerability, reported and not stopped, since the app may have checked it.

What it does not do: know which hosts are the app's own; the caller leaves those out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from divertor_sensor.detectors import UNTOUCHED, Candidate, Detector, Finding, Judgement, windows, worst
from divertor_sensor.detectors.ssrf_hosts import canonical
from divertor_sensor.sources.derived import derived_values
from divertor_sensor.work import Work

_IGNORED = re.compile(r"[\t\n\r]")
_EDGES = "".join(map(chr, range(0x21)))
_AUTHORITY = re.compile(r"(?:(?:https?|ftp|wss?):[/\\]*+|[/\\]{2,}+)([^/\\?#]*+)", re.IGNORECASE)
_REFRESH = re.compile(r"\s*[\d.]*\s*[;,]?\s*(?:url\s*=\s*)?['\"]?(.*)", re.IGNORECASE | re.DOTALL)
_AUTHORITY_END = re.compile(r"[/\\?#]")
_MIN_LENGTH = 4
#: An address in a list or behind a word, which an app may split off.
_WITHIN = re.compile(r"[|,;\s]((?:https?:)?[/\\]{2}[^\s|,;]++)", re.IGNORECASE)
_MAX_WITHIN = 4
#: Parameters whose purpose is the address of another site.
_MEANT = frozenset({"redirect_uri", "post_logout_redirect_uri", "service", "wreply", "relaystate"})


def target_host(address: str) -> str:
    """The host a browser goes to, in lower case and without its port; empty when it stays where it is."""
    text = _IGNORED.sub("", address.strip(_EDGES))
    match = _AUTHORITY.match(text)
    if match is None:
        return ""
    host = match[1].rpartition("@")[2].lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].rstrip(".")


def refresh_address(value: str) -> str:
    """The address in a `Refresh` header (`5; url=…`); what there is when it holds none."""
    match = _REFRESH.match(value)
    return match[1].rstrip("'\"") if match else value


def select(value: str) -> list[str]:
    """The forms of an input that could name a host."""
    forms = [
        form for form in derived_values(value) if len(form) >= _MIN_LENGTH and ("." in form or "/" in form)
    ]
    return forms + [match[1] for match in islice(_WITHIN.finditer(value), _MAX_WITHIN)]


def judge(statement: str, candidates: Sequence[Candidate], work: Work) -> Judgement:
    """Whether a candidate decides the host of the address `statement`.

    :raises Spent: there is too much to look at.
    """
    host = target_host(statement)
    if not host:
        return UNTOUCHED
    touched, finding = False, None
    for candidate in candidates:
        work.spend(len(candidate.text) // 8 + 4)
        text = candidate.text.lower()
        if not _decides(text, host):
            touched = touched or text in statement.lower()
            continue
        touched = True
        meant = candidate.origin.name.lower() in _MEANT
        finding = worst(finding, Finding(candidate.origin, not meant))
    return Judgement(touched, finding)


def _decides(text: str, host: str) -> bool:
    """Whether the host, or its end with a dot in it, comes from `text`."""
    named = target_host(text)
    if host in (named, text):
        return True
    if not text.isascii() and host in (canonical(named), canonical(text)):
        return True  # as a library writes international names and their dots
    authority = _AUTHORITY_END.split(text.lstrip("/\\"), maxsplit=1)[0]
    name = authority.rpartition("@")[2].partition(":")[0]
    return "." in name.strip(".") and host.endswith(name)


def _is_innocent(address: str) -> bool:
    """Whether the browser stays where it is."""
    return not target_host(address)


DETECTOR = Detector(
    type="open_redirect",
    cwe="CWE-601",
    owasp="A01:2021",
    select=select,
    judge=judge,
    is_innocent=_is_innocent,
    marks=windows,
)
