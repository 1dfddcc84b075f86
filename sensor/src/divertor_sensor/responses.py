"""Judges what is about to go out: the head of a response, and a page of HTML as its pieces come.

The exchanges call it, before the head is sent and before each piece is. Most responses cost one look at each
header's name; a page is only read when the raw request holds something that could change one. Looked at are
the first `LIMIT` bytes; a compressed body is not, nor one the server sends from a file. Failure policy: open,
also when there is too much to judge.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from divertor_sensor.detectors import Candidate, Detector, Finding, header, path, redirect, xss
from divertor_sensor.findings import Kind, conclude
from divertor_sensor.request import Request
from divertor_sensor.work import Spent, Work

#: Bytes of a response that are looked at.
LIMIT = 256 * 1024
#: How often a page that comes in pieces is read anew.
_MAX_READINGS = 32
_AROUND = 120
_MAX_ASKED = 64 * 1024
#: Characters of a text up to which the answer is remembered.
_MAX_KEPT = 1024
#: A plain search looks at this many characters in the time of one step.
_SEARCH = 16
_PAGES = ("text/html", "application/xhtml", "image/svg", "text/xml", "application/xml")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_MARKUP = re.compile(
    r"""[<>"'`]|%(?:3[ce]|2[257]|60|ef%bc)|javascript|vbscript|data(?::|%3a)|&(?:\#|lt|gt|quot|apos)"""
    r"""|(?:[+ /=]|%20|%2f|%0[9acd])on[a-z]{3}|\w(?:[+ ]|%20)?(?:\(|%28)(?!\)|%29)""",
    re.IGNORECASE,
)
_TAGS = re.compile(r"<|%3c", re.IGNORECASE)
_BODY_MARKUP = re.compile(
    rb"[<>'`\\]|%(?:3[ce]|2[257]|60)|javascript|vbscript|data(?::|%3a)|[+ /=]on[a-z]{3}|\w(?:\(|%28)",
    re.IGNORECASE,
)
#: The headers that somebody else's browser can be made to send.
_SENDABLE = frozenset({"referer", "x-forwarded-host", "user-agent"})
_NAMED = frozenset(
    {"content-type", "content-encoding", "location", "refresh", "x-content-type-options"}
    | {"x-accel-redirect", "x-sendfile"}
)
#: What browsers look into, to see whether it is a page (WHATWG MIME Sniffing, 7).
_UNKNOWN = ("", "*/*", "unknown/unknown", "application/unknown")
#: Labels below which anybody can have a name, as in `co.uk`.
_REGISTRIES = frozenset("co com org net edu gov ac or ne go gob nom asso".split())
_BREAKS = frozenset("\r\n\0")


class Raw(NamedTuple):
    """What the first questions are asked of: pieces of a request's head as they came."""

    query: str
    path: str
    cookie: str
    referer: str
    agent: str


class Page:
    """The body of one response, as its pieces go by; `feed` each of them before it is sent."""

    __slots__ = (
        "_charset",
        "_is_told",
        "_kept",
        "_needles",
        "_pieces",
        "_readings",
        "_request",
        "_tail",
        "_work",
    )

    def __init__(self, request: Request, charset: str) -> None:
        self._request = request
        self._charset = charset
        self._pieces: list[bytes] = []
        self._kept = 0
        self._tail = b""
        self._readings = 0
        self._is_told = False
        self._needles: list[bytes] | None = None
        self._work = Work()

    def feed(self, piece: bytes) -> None:
        """Judge the page up to this piece; the request is interrupted when an input has changed it."""
        if not piece or self._kept >= LIMIT:
            return
        try:
            self._feed(bytes(piece[: LIMIT - self._kept]))
        except Spent:
            self._kept = LIMIT
        except Exception as problem:
            self._kept = LIMIT
            self._request.sensor.faults.contain("reading a page", problem)

    def _feed(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._kept += len(piece)
        if self._needles is None:
            self._needles = _needles(_reflectable(self._request), self._charset)
        if not self._needles:
            self._kept = LIMIT
            return
        window = self._tail + piece
        self._work.spend(len(self._needles) * (2 + len(window) // _SEARCH))
        if any(needle in window for needle in self._needles):
            self._read()
        self._tail = window[1 - max(map(len, self._needles)) :]

    def _read(self) -> None:
        self._readings += 1
        if self._readings >= _MAX_READINGS:
            self._kept = LIMIT
        text = b"".join(self._pieces).decode(self._charset, "replace")
        finding = xss.judge(text, _reflectable(self._request), self._work).finding
        if finding is not None and (finding.hostile or not self._is_told):
            self._is_told = True
            if finding.hostile:
                self._kept = LIMIT
            at = max(0, text.find(finding.origin.value))
            excerpt = text[max(0, at - _AROUND) : at + len(finding.origin.value) + _AROUND]
            _conclude(self._request, xss.DETECTOR, "response body", excerpt, finding)


def check_head(request: Request, headers: Iterable[tuple[str, str]], raw: Raw) -> Page | None:
    """Judge the headers about to be sent; a `Page` when the body is to be judged too. The request is
    interrupted when one of them must not go out.
    """
    try:
        return _check_head(request, headers, raw)
    except Spent:
        return None
    except Exception as problem:
        request.sensor.faults.contain("reading a response's head", problem)
        return None


def _check_head(request: Request, headers: Iterable[tuple[str, str]], raw: Raw) -> Page | None:
    content_type: str | None = None
    options = ""
    is_plain, is_read = True, False
    for given, value in headers:
        is_read = True
        if not (value.isprintable() and given.isprintable()) and not _BREAKS.isdisjoint(given + value):
            _check_line(request, f"{given}: {value}")
        name = given.lower()
        if name not in _NAMED:
            continue
        if name == "content-type":
            content_type = value
        elif name == "content-encoding":
            is_plain = value.strip().lower() == "identity"
        elif name == "x-content-type-options":
            options = value.strip().lower()
        elif name.startswith("x-"):
            _check_file(request, given, value)
        else:
            _check_address(request, given, value)
    # Where no header could be read, there may be a type.
    if content_type is None and is_read:
        content_type = ""
    if not is_plain or content_type is None or not _is_page(content_type, options):
        return None
    return Page(request, _charset(content_type)) if _may_change_a_page(request, raw) else None


def _check_line(request: Request, line: str) -> None:
    finding = header.judge(line, request.candidates(header.DETECTOR), Work()).finding
    if finding is not None:
        _conclude(request, header.DETECTOR, "response header", line, finding)


def _check_file(request: Request, name: str, value: str) -> None:
    """A file that the server in front is asked to send; for nginx the path is that of a location."""
    if name.lower() == "x-accel-redirect" and ".." not in value:
        return
    finding = path.judge(value, request.candidates(path.DETECTOR), Work()).finding
    if finding is not None:
        _conclude(request, path.DETECTOR, f"response header {name}", value, finding)


def _check_address(request: Request, name: str, value: str) -> None:
    address = redirect.refresh_address(value) if name.lower() == "refresh" else value
    host = redirect.target_host(address)
    if not host or _is_own(request, host):
        return
    sendable = [each for each in request.candidates(redirect.DETECTOR) if each.origin.source != "header"]
    finding = redirect.judge(address, sendable, Work()).finding
    if finding is not None:
        if _is_sibling(request, host):
            finding = Finding(finding.origin, False)
        _conclude(request, redirect.DETECTOR, f"response header {name}", value, finding)


def _own_names(request: Request) -> list[str]:
    """The names the request was sent to, as the app and as the gateway were told, without `www`."""
    headers = request.head.headers
    hosts = (_host(f"//{headers.get('host', '')}"), _host(headers.get("x-divertor-origin", "")))
    return [host.removeprefix("www.") for host in hosts if host]


def _is_own(request: Request, host: str) -> bool:
    """Whether `host` is where the request went, or above or below it in name."""
    return any(
        host in (name, f"www.{name}")
        or host.endswith("." + name)
        or ("." in host and name.endswith("." + host))
        for name in _own_names(request)
    )


def _is_sibling(request: Request, host: str) -> bool:
    """Whether `host` stands beside the app's own in name: most likely another of the same owner, which a
    redirect may be meant for. Told, not stopped.
    """
    for name in _own_names(request):
        parent = name.partition(".")[2]
        label, dot, _ = parent.partition(".")
        if dot and label not in _REGISTRIES and not name.replace(".", "").isdecimal():
            return host.endswith("." + parent)
    return False


def _host(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").rstrip(".")
    except ValueError:
        return ""


@lru_cache(maxsize=256)
def _is_page(content_type: str, options: str) -> bool:
    """Whether a browser reads it as HTML or XML; without a type it does unless it is told not to guess."""
    kind = content_type.strip().lower()
    if kind.partition(";")[0].rstrip() in _UNKNOWN:
        return options != "nosniff"
    return kind.startswith(_PAGES) or "+xml" in kind


@lru_cache(maxsize=256)
def _charset(content_type: str) -> str:
    match = _CHARSET.search(content_type)
    try:
        "".encode(match[1]) if match else ""
    except LookupError:
        return "utf-8"
    return match[1] if match else "utf-8"


def _may_change_a_page(request: Request, raw: Raw) -> bool:
    """Whether the request holds anything that could be more than text on a page."""
    query, path, cookie, referer, agent = raw
    if query and (_has_markup if len(query) <= _MAX_KEPT else _has_markup.__wrapped__)(query):
        return True
    is_short = len(path) + len(cookie) + len(referer) + len(agent) <= _MAX_KEPT
    if (_may_change if is_short else _may_change.__wrapped__)(path, cookie, referer, agent):
        return True
    return request.body.size > 0 and _body_has_markup(request.body.content())


@lru_cache(maxsize=256)
def _has_markup(text: str) -> bool:
    return _holds(_MARKUP, text)


@lru_cache(maxsize=256)
def _may_change(path: str, cookie: str, referer: str, agent: str) -> bool:
    """The same of what a browser sends again and again."""
    return _holds(_MARKUP, path) or any(_holds(_TAGS, text) for text in (cookie, referer, agent))


def _holds(pattern: re.Pattern[str], text: str) -> bool:
    """Whether a text holds what `pattern` looks for; of a very long one that is taken for granted."""
    return len(text) > _MAX_ASKED or pattern.search(text) is not None


def _body_has_markup(body: bytes) -> bool:
    """JSON and multipart are full of quotes that are no input's: those count only where nothing else is."""
    if _BODY_MARKUP.search(body, 0, _MAX_ASKED) or len(body) > _MAX_ASKED:
        return True
    return b'"' in body and body.lstrip()[:1] not in (b"{", b"[", b"-")


def _reflectable(request: Request) -> Sequence[Candidate]:
    found = request.candidates(xss.DETECTOR)
    return [each for each in found if each.origin.source != "header" or each.origin.name in _SENDABLE]


def _needles(candidates: Iterable[Candidate], charset: str) -> list[bytes]:
    """The candidates as a page would hold them, plain or with their quotes as entities."""
    found: dict[str, None] = {}
    for candidate in candidates:
        escaped = html.escape(candidate.text)
        other = escaped.replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
        found.update(dict.fromkeys((candidate.text, escaped, other)))
    return [text.encode(charset, "replace") for text in found]


def _conclude(request: Request, detector: Detector, sink: str, statement: str, finding: Finding) -> None:
    kind = Kind(detector.type, detector.cwe, detector.owasp, sink)
    conclude(request, kind, statement, finding, tuple)
