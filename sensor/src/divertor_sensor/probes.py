"""The third signal: input shaped like an attack that reached no sink, and the waves in which it comes.

Judged once, when the response is on its way, by the request's query, path, cookies, user agent and the first
8 KiB of what was read of its body. `sign_of` is pure; `Probes` keeps the counts of each client. A probe is
told and never stopped: its shape alone proves nothing, and whoever stops shapes stops honest customers.
Counts are each process's own.
"""

from __future__ import annotations

import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from divertor_sensor import context
from divertor_sensor.findings import without_request_secrets
from divertor_sensor.modes import PROBE
from divertor_sensor.reports.detection import Detection
from divertor_sensor.request import Request
from divertor_sensor.responses import Raw

#: Bytes of a body, and characters of any other text, that are looked at.
LOOKED_AT = 8 * 1024
#: So many probes of one client within so many seconds are a wave, told once in so many seconds.
WAVE, WAVE_SECONDS, WAVE_PAUSE = 15, 60.0, 1200.0
#: Probes told of one client, and of all, within `WAVE_SECONDS`; more are only counted.
PER_CLIENT, IN_TOTAL = 5, 60
_MAX_CLIENTS = 2048
_MAX_PIECES = 64
_DECODINGS = 2
#: Characters of a text up to which what was found in it is remembered.
_MAX_KEPT = 1024

_NAME = re.compile(r"[\w.-]+")
_PART_FILE = re.compile(r";\s{0,8}filename\*?\s{0,8}=", re.IGNORECASE)
_DISPOSITION = b"content-disposition:"
#: The names in the head of a part of a form: its own, and that of its file.
_PART_NAMES = re.compile(r"name\*?\s{0,8}=\s{0,8}(\"(?:[^\"\\\r\n]|\\.)*+\"?|[^;\r\n]*+)", re.IGNORECASE)
_PLAIN = re.compile(r"[\w.~@,:=&/-]*(?:\+[\w.~@,:&-]+)*+")
#: What such signs can be made into nevertheless.
_NOT_PLAIN = ("..", "://", "--", "rO0AB", "/etc/", "/proc/")
_PLAIN_COOKIES = re.compile(r"[\w.~@,:=&/-]*+(?:; [\w.~@,:=&/-]*+)*+")
_COMMANDS = (
    "cat|ls|id|whoami|uname|wget|curl|nc|ncat|bash|sh|ping|sleep|python\\d?|perl|nslookup|dig|powershell|cmd"
    "|rm|touch|ifconfig|ipconfig|netstat|certutil"
)
#: Those that are no words: anything may follow them.
_PLAIN_COMMANDS = (
    "ls|whoami|uname|wget|curl|nc|ncat|sh|nslookup|powershell|ifconfig|ipconfig|netstat|certutil"
)
#: Type, weakness, what one of a text must hold for the pattern to be tried (a plain search is fast where a
#: pattern is not), and the pattern; in this order.
_PATTERNS: tuple[tuple[str, str, tuple[str, ...], re.Pattern[str]], ...] = tuple(
    (kind, cwe, tuple(hints.split(" ")), re.compile(pattern, re.IGNORECASE | re.DOTALL))
    for kind, cwe, hints, pattern in (
        ("jndi_lookup", "CWE-917", "${", r"\$\{.{0,80}(?:jndi|:-j|lower:j|upper:j).{0,80}:"),
        (
            "sql_injection",
            "CWE-89",
            "union",
            r"\bunion\b[\s/*()+]{1,40}(?:(?:all|distinct)[\s/*()+]{1,40})?select\b",
        ),
        (
            "sql_injection",
            "CWE-89",
            "_or 'or \"or )or /or _xor _and 'and \"and )and || &&",
            r"['\")]\s{0,40}+(?:x?or|and|\|\||&&)\s{0,40}+[('\"\w]{1,40}\s{0,40}(?:=|<|>|like\b|is\b|between\b)",
        ),
        (
            "sql_injection",
            "CWE-89",
            "= like",
            r"[\d*/]\s{1,40}+(?:x?or|and|\|\||&&)\s{1,40}+['\"\w]{1,40}\s{0,40}(?:=|like\b)",
        ),
        (
            "sql_injection",
            "CWE-89",
            "sleep benchmark extractvalue updatexml load_file randomblob",
            r"(?:sleep|benchmark|extractvalue|updatexml|load_file|randomblob)"
            r"\s{0,20}\(\s{0,20}(?:['\"]|\d{1,9}\s{0,20}[,)])",
        ),
        (
            "sql_injection",
            "CWE-89",
            "waitfor information_schema sqlite_master pg_catalog xp_cmdshell @@version",
            r"waitfor\s{1,40}delay\b|information_schema|sqlite_master|pg_catalog|xp_cmdshell|@@version",
        ),
        (
            "sql_injection",
            "CWE-89",
            "-- # /*",
            r"['\"]\s{0,40}\){0,9}\s{0,40};?\s{0,40}(?:--(?:\s|-|\+|\Z)|\#\s{0,40}\Z|/\*)",
        ),
        (
            "sql_injection",
            "CWE-89",
            "table shutdown exec",
            r"['\";]\s{0,40}(?:drop|truncate|alter)\s{1,40}table\b|['\"\d]\s{0,40};\s{0,40}(?:exec|shutdown)\b",
        ),
        (
            "sql_injection",
            "CWE-89",
            "-- #",
            r"order\s{1,20}by\s{1,20}\d{1,4}\s{0,20}(?:--|\#)",
        ),
        (
            "xss",
            "CWE-79",
            "< javascript: onmouse onfocus onload onerror onclick ontoggle onpointer onblur oninput onkey",
            r"<\s{0,20}/?(?:script|iframe|svg|object|embed|marquee|details|math)\b"
            r"|<[a-z!/][^>]{0,200}\bon[a-z]{3,20}\s{0,20}="
            r"|['\"][^>]{0,80}\bon[a-z]{4,20}\s{0,20}=\s{0,20}['\"]?[\w.]{1,40}[(`=]"
            r"|javascript:\s{0,20}[\w.]{1,40}[(`=]",
        ),
        (
            "xml_external_entity",
            "CWE-611",
            "<!doctype <!entity",
            # Pages and drawings of the old school name their document type's address.
            r"<!(?:doctype(?!\s{1,20}(?:html|svg)\s{1,20}public\b)|entity)\b"
            r"[^>]{0,200}(?:\bsystem\b|\bpublic\b|\[)",
        ),
        (
            "template_injection",
            "CWE-1336",
            "{{ ${ #{ <% {%",
            r"\{\{.{0,60}(?:\d\s{0,4}\*\s{0,4}['\"]?\d|__|config|self\.|request[.|]|lipsum|cycler|\|attr).{0,60}"
            r"|[$#]\{\s{0,8}(?:\d{1,9}\s{0,4}\*|T\(|.{0,40}(?:getclass|runtime|new\s)).{0,60}"
            r"|<%=\s{0,8}\d{1,9}\s{0,4}\*|\{%\s{0,8}(?:import|include|for|set)\b",
        ),
        (
            "path_traversal",
            "CWE-22",
            "../ ..\\ ..;/ /etc/ /proc/ :\\ php:// file:// /web-inf \0",
            r"\.\.;?[/\\]|/etc/(?:passwd|shadow|hosts|issue)\b|/proc/self/|\b[a-z]:[/\\]+(?:windows|winnt|boot)\b"
            r"|php://(?:filter|input)|\bfile:///|/web-inf/|\0",
        ),
        (
            "shell_injection",
            "CWE-78",
            "; | & ` \n",
            rf"[;|&`\n]\s{{0,20}}(?:/(?:usr/)?bin/)?(?:(?:{_COMMANDS})(?=\s{{0,20}}(?:[;|&`)'\"<>]|\Z)"
            rf"|\s{{1,20}}[-/$~.\d])|(?:{_PLAIN_COMMANDS})\s)",
        ),
        (
            "shell_injection",
            "CWE-78",
            "$( ${ifs ()",
            rf"\$\(\s{{0,20}}(?:{_COMMANDS})\b|\$\{{IFS\}}|\(\)\s{{0,8}}\{{\s{{0,8}}:?;?\s{{0,8}}\}}\s{{0,8}};",
        ),
        (
            "nosql_injection",
            "CWE-943",
            "[$ \"$ '$",
            r"\[\$(?:ne|eq|gte?|lte?|n?in|regex|where|exists|or)\]"
            r"|[\"']\$(?:ne|gte?|lte?|nin|regex|where|exists)[\"']\s{0,20}:",
        ),
        (
            "ssrf",
            "CWE-918",
            "://",
            r"\b(?:https?|ftp|gopher|dict|ldap)://(?:[^/\s]{0,40}@)?"
            r"(?:127\.|169\.254\.|0x7f|0\.0\.0\.0|\[::|localhost\b|2130706433|metadata\.)",
        ),
        (
            "header_injection",
            "CWE-113",
            "\r \n",
            r"[\r\n]\s{0,20}(?:set-cookie|location|content-(?:type|length)|http/1)\b",
        ),
        (
            "unsafe_deserialisation",
            "CWE-502",
            "ro0ab o: cos\n cposix\n",
            r"\bro0ab|\bo:\d{1,4}:\"[\w\\]{1,80}\":\d|\bc(?:os|posix|nt)\n",
        ),
    )
)
_AGENTS = re.compile(
    r"sqlmap|nikto|nmap|masscan|zgrab|nuclei|acunetix|nessus|openvas|dirbuster|gobuster|feroxbuster|\bffuf\b"
    r"|wfuzz|wpscan|owasp|\bzaproxy|arachni|w3af|havij|jaeles|commix|xsser|\bhydra\b|joomscan|whatweb|skipfish"
    r"|netsparker|dirsearch|sqlninja|burpsuite|l9explore|xray",
    re.IGNORECASE,
)
_PATHS = re.compile(
    r"/\.(?!well-known(?:/|\Z))[a-z]"
    r"|\.(?:php\d?|phtml|aspx?|ashx|jspx?|cgi|cfm|bak|old|orig|sql|swp|sqlite|pem|inc|env)(?:\Z|/|~)"
    r"|/(?:wp-(?:admin|login|content|includes|json)|phpmyadmin|pma|cgi-bin|server-status|actuator|boaform|hnap1"
    r"|manager/html|vendor/phpunit|_ignition|telescope|owa|autodiscover|solr|druid|jenkins|web-inf|\+cscoe\+"
    r"|remote/login|geoserver|console/|debug/pprof|node_modules|etc/passwd)(?:/|\Z|\.)",
    re.IGNORECASE,
)


class Sign(NamedTuple):
    """What looks like an attack: its type and weakness, and where it came in."""

    type: str
    cwe: str
    source: str
    name: str
    value: str


def sign_of(raw: Raw, body: bytes, status: int) -> Sign | None:
    """The first sign of an attack in a request, or None. A path that only scanners ask for is one when the
    app has nothing there (`status` is an error of the client's, or 0 when it is not known).
    """
    query, path, cookie, _, agent = raw
    found = _kept(_in_query, query)(query) if query else None
    found = found or _kept(_in_head, path, cookie, agent)(path, cookie, agent)
    if found is None and (400 <= status < 500 or not status) and _kept(_is_scanned, path)(path):
        found = Sign("forced_browsing", "CWE-425", "path", "", path[:LOOKED_AT])
    return found or (_in_body(body[:LOOKED_AT]) if body else None)


def _kept(look: Any, *texts: str) -> Any:
    """`look`, which remembers its answers; for long texts, which would fill the memory, without doing so."""
    return look if sum(map(len, texts)) <= _MAX_KEPT else look.__wrapped__


@lru_cache(maxsize=256)
def _in_query(query: str) -> Sign | None:
    query = query[:LOOKED_AT]
    return None if _is_plain(query) else _in_pairs("query", query)


@lru_cache(maxsize=256)
def _in_head(path: str, cookie: str, agent: str) -> Sign | None:
    """In what a browser sends again and again."""
    found: Sign | None = (
        _kept(_in_text, path)("path", path)
        or _kept(_in_text, cookie)("cookie", cookie)
        or _kept(_in_agent, agent)(agent)
    )
    return found


@lru_cache(maxsize=512)
def _in_text(source: str, text: str) -> Sign | None:
    """In a path, or in all cookies as one text."""
    plain = _PLAIN if source == "path" else _PLAIN_COOKIES
    if plain.fullmatch(text, 0, LOOKED_AT) and ".." not in text:
        return None
    for reading in _readings(text[:LOOKED_AT]):
        kind = _shape(reading) if source == "path" else _shape_of_cookies(reading)
        if kind:
            return Sign(*kind, source, "", reading)
    return None


@lru_cache(maxsize=128)
def _in_agent(agent: str) -> Sign | None:
    agent = agent[:LOOKED_AT]
    kind = _shape(agent) if "${" in agent or "'" in agent or "() {" in agent or "<" in agent else None
    if kind:
        return Sign(*kind, "header", "user-agent", agent)
    return Sign("scanner", "", "header", "user-agent", agent) if _AGENTS.search(agent) else None


@lru_cache(maxsize=256)
def _is_scanned(path: str) -> bool:
    return _PATHS.search(path[:LOOKED_AT]) is not None


def _in_body(body: bytes) -> Sign | None:
    if body.startswith(b"--") and _DISPOSITION in body.lower():
        return _in_parts(body.decode("utf-8", "replace"))
    if b"\0" in body:  # no text: its bytes come as they will
        return None
    text = body.decode("utf-8", "replace")
    if text.lstrip()[:1] not in {"{", "[", "<", "-"} and "=" in text and "\n" not in text:
        return _in_pairs("form", text)
    kind = _shape(text)
    return Sign(*kind, "body", "", text) if kind else None


def _in_parts(text: str) -> Sign | None:
    """In the names and values of a multipart form. What a file holds is what somebody keeps in files: a
    program, a page, a picture; only its name is looked at.
    """
    boundary = text.partition("\n")[0].rstrip("\r")
    for part in text.split(boundary, _MAX_PIECES)[1:]:
        head, _, value = part.partition("\r\n\r\n")
        names = [name.strip('"') for name in _PART_NAMES.findall(head)] or [""]
        is_file = _PART_FILE.search(head) is not None
        for given in names if is_file else [*names, value.removesuffix("\r\n")]:
            kind = None if _is_plain(given) else _shape(given)
            if kind:
                return Sign(*kind, "file" if is_file else "form", names[0][:256], given)
    return None


def _is_plain(text: str) -> bool:
    """Whether nothing can be made of a text: words and signs that do nothing by themselves."""
    if not _PLAIN.fullmatch(text):
        return False
    for sign in _NOT_PLAIN:  # a generator would cost more than the searches
        if sign in text:
            return False
    return True


def _in_pairs(source: str, text: str) -> Sign | None:
    for piece in text.split("&", _MAX_PIECES):
        name, _, value = piece.partition("=")
        if not value or not _NAME.fullmatch(name):
            name, value = "", piece
        if _is_plain(value):
            continue
        for reading in _readings(value):
            kind = _shape(reading)
            if kind:
                return Sign(*kind, source, name[:256], reading)
    return None


def _readings(text: str) -> Iterator[str]:
    """The text decoded once and twice; as it is when there is nothing to decode."""
    for number in range(_DECODINGS):
        decoded = unquote_plus(text)
        if decoded == text:
            if not number:
                yield text
            return
        text = decoded
        yield text


def _shape(text: str) -> tuple[str, str] | None:
    # An underscore among the hints stands for a blank.
    lowered = text.lower().replace(" ", "_").replace("\t", "_")
    for kind, cwe, hints, pattern in _PATTERNS:
        for hint in hints:
            if hint in lowered:
                if pattern.search(text):
                    return kind, cwe
                break
    return None


def _shape_of_cookies(text: str) -> tuple[str, str] | None:
    """Semicolons and quotes are how cookies are written: what needs nothing else is none."""
    kind = _shape(text)
    return kind if kind and kind[0] not in {"shell_injection", "nosql_injection"} else None


@dataclass(slots=True)
class _Client:
    """What one client did in the window that began at `since`."""

    since: float
    told: int = 0
    waved: float = float("-inf")
    kinds: Counter[str] = field(default_factory=Counter)


class Probes:
    """The probes of a process: which are told, and when they are a wave. No lock: a count may be lost where
    two threads meet, nothing else. `dropped` counts those that were not told.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._clients: dict[str, _Client] = {}
        self._since = float("-inf")
        self._told = 0
        self.dropped = 0

    def judge(self, request: Request, raw: Raw) -> None:
        """Tell whether this request, which is over, was a probe, or one of a wave. A request that had a
        finding is none, but an attack counts for the wave.
        """
        if request.has_findings():
            if request.hostile:
                self._count(request, "attack")
            return
        body = request.body.content() if request.body.size else b""
        sign = sign_of(raw, body, request.status)
        if sign is None or request.sensor.decide(request, sign.type, PROBE) is None:
            return
        client = self._count(request, sign.type)
        now = self._clock()
        if now - self._since >= WAVE_SECONDS:
            self._since, self._told = now, 0
        if client.told >= PER_CLIENT or self._told >= IN_TOTAL:
            self.dropped += 1
            return
        client.told += 1
        self._told += 1
        _report(request, sign)

    def _count(self, request: Request, kind: str) -> _Client:
        now, address = self._clock(), request.subject().address
        client = self._client(address, now)
        client.kinds[kind] += 1
        if client.kinds.total() >= WAVE and now - client.waved >= WAVE_PAUSE:
            client.waved = now
            self._report_wave(request, client)
        return client

    def _report_wave(self, request: Request, client: _Client) -> None:
        if request.sensor.decide(request, "attack_wave", PROBE) is not None:
            told = ", ".join(f"{kind} {count}" for kind, count in client.kinds.most_common(8))
            text = f"{client.kinds.total()} in {WAVE_SECONDS:.0f} s: {told}"
            _report(request, Sign("attack_wave", "", "client", "", text))

    def _client(self, address: str, now: float) -> _Client:
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = _Client(now)
            while len(self._clients) > _MAX_CLIENTS:
                with suppress(StopIteration, KeyError, RuntimeError):
                    del self._clients[next(iter(self._clients))]
        elif now - client.since >= WAVE_SECONDS:
            client.since, client.told, client.kinds = now, 0, Counter()
            # Whoever was seen last is forgotten last.
            self._clients.pop(address, None)
            self._clients[address] = client
        return client


def _report(request: Request, sign: Sign) -> None:
    with context.suspended():
        found = Detection(
            id=uuid.uuid4().hex,
            time=time.time_ns(),
            type=sign.type,
            cwe=sign.cwe,
            signal=PROBE,
            outcome="reported",
            source=sign.source,
            parameter=sign.name,
            payload=sign.value,
            sink="",
            statement="",
            subject=request.subject(),
            frames=(),
        )
        request.sensor.reporter.submit(without_request_secrets(request, found))
