"""Whatever host inside a client's own parser reads in a URL, the detector reads it as well."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import pytest
import requests
import urllib3
import yarl

from divertor_sensor.detectors import Candidate, ssrf
from divertor_sensor.detectors.ssrf_hosts import canonical, is_inside
from divertor_sensor.sources.inputs import Input
from divertor_sensor.work import Work

Target = tuple[str | None, int | None]


def _urllib(url: str) -> Target:
    parts = urlsplit(url)
    return parts.hostname, parts.port


def _urllib3(url: str) -> Target:
    parts = urllib3.util.parse_url(url)
    return parts.host, parts.port


def _requests(url: str) -> Target:
    return _urllib3(requests.Request("GET", url).prepare().url or "")


def _yarl(url: str) -> Target:
    parts = yarl.URL(url)
    return parts.host, parts.explicit_port


def _httpx(url: str) -> Target:
    parts = httpx.URL(url)
    return parts.host, parts.port


PARSERS: dict[str, Callable[[str], Target]] = {
    "urllib": _urllib,
    "urllib3": _urllib3,
    "requests": _requests,
    "yarl": _yarl,
    "httpx": _httpx,
}
SCHEMES = ("http://", "HTTPS://", "http:///", "http:\\\\", "//", "ht\ttp://")
USERS = (
    ["", "good.example@", "good.example:80@", "a@b@", "good.example\\@", "good.example#@", "good.example?@"]
    + ["good.example/@", ":@", "good.example%23@", "good.example%2f@", "[::1]@"]
)  # fmt: skip
HOSTS = (
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1.", "[::1]", "[::ffff:7f00:1]"]
    + ["[::ffff:127.0.0.1]", "１２７.0.0.1", "127。0。0。1", "①②⑦.0.0.1", "0", "169.254.169.254"]
    + ["127.0.0.1\u200b", "[fd00:ec2::254]", "[fe80::1%25eth0]", "%31%32%37.0.0.1", "127.000.000.001"]
)  # fmt: skip
ENDS = (
    ["", "/", ":80/x?y", "#x", "\\x", ":8080@good.example/", "#@good.example/", "?@good.example"]
    + ["\\@good.example", "%23.good.example"]
)  # fmt: skip
URLS = ["".join(parts) for parts in itertools.product(SCHEMES, USERS, HOSTS, ENDS)]


def targets(url: str) -> list[tuple[str, str, int]]:
    """The parsers that read a host inside in `url`, and what they would connect to."""
    found = []
    for name, parse in PARSERS.items():
        try:
            host, port = parse(url)
        except Exception:  # each has errors of its own for what it refuses
            continue
        if host and is_inside(host):
            found.append((name, host, port or (443 if url.startswith("HTTPS") else 80)))
    return found


@pytest.mark.timeout(60)
def test_a_host_that_a_clients_parser_finds_inside_is_found() -> None:
    seen: Counter[str] = Counter()
    missed = []
    for url in URLS:
        connections = targets(url)
        texts = ssrf.select(url) if connections else []
        candidates = [Candidate(text, Input("query", "q", url)) for text in texts]
        for name, host, port in connections:
            seen[name] += 1
            statement = ssrf.statement_of(host, port, canonical(host))
            finding = ssrf.judge(statement, candidates, Work()).finding
            if finding is None or not finding.hostile:
                missed.append((name, url, host))
    assert missed == []
    assert len(URLS) == 13_680 and set(seen) == set(PARSERS) and min(seen.values()) > 1_500
