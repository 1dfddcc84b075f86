"""Server-side request forgery (CWE-918; OWASP A10:2021 SSRF, API7:2023; CAPEC-664).

Rule: an input must not decide that the app connects to an address inside: loopback, private, link-local, the
provider's metadata service. It does when the host that was connected to is one it names, or when a host it
names answered with a redirect to there. What is compared is the address really used, so a name of an
attacker's own that resolves to the inside counts, however often it resolves differently. Names resolved and
not connected to are no attack: that is how an app checks them itself. A host outside is the app's own matter:
web hooks are a feature. `file:` URLs named by an input read the machine's own files.

Four cures keep honest requests out of it:
 - a host named without a port counts as a mere vulnerability on the ports of databases and brokers, which an
   app connects to on its own account;
 - so does a single word that is a host's name (`search`), which may be one by chance; in a path or a header
   it does not count at all, as routes are called like the services behind them;
 - so does a parameter `iss`, and the issuer and audience in a token do not count: who checks a token asks
   the issuer he is configured with;
 - headers that carry the names of this very server and its clients (`Host`, `Referer`, `X-Forwarded-For`)
   count only for metadata services, which no server is called.

An input that names this app itself by an address inside counts like any other: pages for loopback only are
what it would be after. What it does not do: follow a host of which the input decides some labels in front.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from divertor_sensor.detectors import UNTOUCHED, Candidate, Detector, Finding, Judgement, worst
from divertor_sensor.detectors.ssrf_hosts import (
    MAX_TEXT,
    canonical,
    is_inside,
    is_metadata,
    is_numeric,
    named_hosts,
)
from divertor_sensor.sources.derived import derived_values
from divertor_sensor.sources.inputs import Input
from divertor_sensor.work import Work

#: Headers in which honest clients and proxies name this server, where they come from, and themselves.
_ADDRESSING = re.compile(
    r"host|origin|referer|forwarded|via|:authority"
    r"|x-(?:forwarded|envoy|original|real|client|cluster|remote|proxy)-.*"
    r"|.*-?(?:host|ip|addr|address)"
)
#: Databases, caches, queues, directories and mail: what apps connect to without any request's doing.
_BACKENDS = frozenset(
    {25, 389, 465, 587, 636, 1433, 1521, 3306, 4222, 5432, 5433, 5671, 5672, 6379, 6380, 6432, 9042, 9092}
    | {11211, 27017, 27018}
)
#: A name that may be any word: no address, and not `localhost`.
_WORD = re.compile(r"(?!localhost\Z|\d+\Z|0x[0-9a-f]+\Z)[^.:]+")
_NAMED_LIKE_SERVICES = frozenset({"path", "header"})
#: Who issued a token (RFC 7519), and for whom.
_PARTIES = frozenset({"iss", "aud", "azp"})
_MIN_TAIL = 6
_SCHEME = re.compile(r"\s*(?:url:)?([a-z][a-z0-9+._-]{1,20}):", re.IGNORECASE)
_READS_FILES = frozenset({"file", "local_file", "local-file"})
_WEB = frozenset({"http", "https", "ws", "wss"})
_SEPARATORS = re.compile(r"[\t\r\n]")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
#: As urllib takes an address out of a text about one (RFC 3986, appendix C).
_WRAPPED = re.compile(r"\s*+<\s*+(?:url:\s*+)?+([^<>]++)>\s*+", re.IGNORECASE)


class Connection(NamedTuple):
    """What a statement of the network sinks says: `root` names who redirected to `host`, or is empty."""

    root: str
    host: str
    port: int
    address: str


def statement_of(host: str, port: int, address: str, root: str = "") -> str:
    """The statement for a connection to `address`, which the app asked for as `host`; `root` (`host:port`)
    is who first sent it there by a redirect.
    """
    arrival = f"{host}:{port} at {address}"
    return f"{root}, redirected to {arrival}" if root else arrival


def parsed(statement: str) -> Connection | None:
    """What `statement_of` was given; None for a URL or anything else."""
    before, found, address = statement.rpartition(" at ")
    root, _, arrival = before.rpartition(", redirected to ")
    host, _, port = arrival.rpartition(":")
    if not found or not host or not port.isdecimal() or len(port) > 5:
        return None
    return Connection(root, host, int(port), address)


def select(value: str) -> list[str]:
    """The hosts that an input names, as `how host:port`, and itself when it is a URL of another scheme."""
    texts: dict[str, None] = {}
    text = value.strip()
    # What stands before an `@` may be of any length.
    ends = (text,) if len(text) <= MAX_TEXT else (text[:MAX_TEXT], text[-MAX_TEXT:])
    for form in (form for end in ends if end for form in derived_values(end)):
        compact = _SEPARATORS.sub("", form)
        wrapped = _WRAPPED.fullmatch(compact)
        compact = compact if wrapped is None else wrapped[1]
        for named in named_hosts(compact):
            texts[f"{named.how} {named.host}:{named.port}"] = None
        scheme = _SCHEME.match(compact)
        if scheme and scheme[1].lower() not in _WEB and ":/" in compact:
            texts[f"scheme {compact.strip().lower()}"] = None
    return list(texts)


def judge(statement: str, candidates: Sequence[Candidate], work: Work) -> Judgement:
    """Whether a candidate decided about the connection, or the URL, `statement`.

    :raises Spent: there is too much to look at.
    """
    work.spend(len(candidates) * 4)
    connection = parsed(statement)
    if connection is None:
        return _judge_url(statement, candidates)
    if not is_inside(connection.address):
        return UNTOUCHED
    root, _, port = connection.root.rpartition(":")
    if root:
        return _judge_host(root, int(port) if port.isdecimal() else 0, connection.address, candidates, True)
    return _judge_host(connection.host, connection.port, connection.address, candidates, False)


def is_named(host: str, port: int, candidates: Sequence[Candidate]) -> bool:
    """Whether one of the candidates decided about `host`, wherever it is."""
    return _judge_host(host, port, "", candidates, True).finding is not None


def _judge_host(
    host: str, port: int, address: str, candidates: Sequence[Candidate], is_root: bool
) -> Judgement:
    names = {canonical(host), host.lower().rstrip(".")}
    touched, finding = False, None
    for candidate in candidates:
        how, _, rest = candidate.text.partition(" ")
        named, _, digits = rest.rpartition(":")
        if how == "scheme" or not any(_matches(name, named, how) for name in names):
            continue
        touched = True
        if (digits != "0" and int(digits) != port) or not _counts(candidate.origin, address):
            continue
        is_word = digits == "0" and how == "bare" and _WORD.fullmatch(named) is not None
        if is_word and not _is_all_of(candidate.origin, named):
            continue
        hostile = is_root or digits != "0" or not (is_word or port in _BACKENDS)
        hostile = hostile and candidate.origin.name != "iss"
        finding = worst(finding, Finding(candidate.origin, hostile))
        if hostile:
            break
    return Judgement(True, finding) if touched else UNTOUCHED


def _matches(host: str, named: str, how: str) -> bool:
    """Whether `named` is the host or decides whose it is: its end, from within a label on."""
    if host == named:
        return True
    if how == "tail":
        return host.endswith(named)
    if how != "bare" or "." not in named or len(named) < _MIN_TAIL or not host.endswith(named):
        return False
    return host[-len(named) - 1] != "." and not is_numeric(host)


def _counts(origin: Input, address: str) -> bool:
    if origin.source == "jwt":
        return origin.name.rpartition(".")[2].partition("[")[0] not in _PARTIES
    if origin.source != "header" or not _ADDRESSING.fullmatch(origin.name):
        return True
    return is_metadata(address)


def _is_all_of(origin: Input, word: str) -> bool:
    """Whether an input is this word and nothing else, and not where words are named like services anyway."""
    if origin.source in _NAMED_LIKE_SERVICES:
        return False
    return canonical(_CONTROLS.sub("", origin.value).strip()) == word


def _judge_url(url: str, candidates: Sequence[Candidate]) -> Judgement:
    """A URL that is not the web's: who named its scheme?"""
    text = url.lower()
    for candidate in candidates:
        how, _, named = candidate.text.partition(" ")
        if how == "scheme" and text.startswith(named):
            scheme = _SCHEME.match(named)
            hostile = scheme is not None and scheme[1] in _READS_FILES
            return Judgement(True, Finding(candidate.origin, hostile))
    return UNTOUCHED


def is_innocent(statement: str) -> bool:
    """Whether a connection leads outside."""
    connection = parsed(statement)
    return connection is not None and not is_inside(connection.address)


def marks(statement: str) -> list[str]:
    """What an input that decided about it shares with the statement: the host as it was asked for."""
    connection = parsed(statement)
    if connection is None:
        return [statement[:64].lower()]
    if connection.root:
        return [connection.root.rpartition(":")[0].lower()]
    return [connection.host.lower(), connection.address.lower()]


DETECTOR = Detector(
    type="ssrf",
    cwe="CWE-918",
    owasp="A10:2021",
    select=select,
    judge=judge,
    is_innocent=is_innocent,
    marks=marks,
)
