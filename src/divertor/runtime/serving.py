"""Whether a stack serves: what is deployed runs, the gateway knows where, and customers are answered.

It asks the control plane what is deployed, Envoy's admin socket whom it can reach, and each gateway's port
for a page. Standard library only: the foreground process uses it. Answers are bounded in size and time.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Seconds one answer may take, and the most bytes of it.
ANSWER_TIMEOUT = 5.0
MAX_ANSWER = 64 * 1024 * 1024

_NOT_SERVING = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class Gate:
    """A gateway's port.

    `is_http` False: it only must accept connections. `is_tls`, `wants_certificate`, `is_proxied`: how it is
    spoken to. `is_fed` False: it may say that nobody is behind it, because a person shut it, or because its
    routes lead to what is not ours to start.
    """

    host: str
    port: int
    is_http: bool = True
    is_tls: bool = False
    wants_certificate: bool = False
    is_proxied: bool = False
    is_fed: bool = True

    @property
    def url(self) -> str:
        scheme = ("https" if self.is_tls else "http") if self.is_http else "tcp"
        return f"{scheme}://{self.host}:{self.port}"

    @property
    def can_be_asked(self) -> bool:
        """Whether a page can be asked for: a client without a certificate gets none where one is due."""
        return self.is_http and not self.wants_certificate


@dataclass(frozen=True, slots=True)
class Sources:
    """Whom to ask: the API's port and token, Envoy's admin socket, and the address gateways listen on."""

    api_port: int
    token: str
    admin: str
    host: str

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Sources:
        """The inverse of `to_json`.

        :raises KeyError: a field is missing.
        """
        return cls(int(data["api_port"]), str(data["token"]), str(data["admin"]), str(data["host"]))


@dataclass(frozen=True, slots=True)
class Missing(Exception):
    """What is still waited for, in words."""

    what: str


async def serving(sources: Sources) -> Sequence[Gate]:
    """The gateways, all of which serve now.

    :raises Missing: something does not, yet.
    """
    deployments = await _ask_api(sources)
    for name, phase in phases(deployments):
        if phase != "Done":
            raise Missing(f"{name} to run")
    reached = await _reached(sources)
    for upstream in upstreams(deployments):
        if upstream not in reached:
            raise Missing(f"the gateway to reach {upstream}")
    found = list(gates(deployments, sources.host))
    for gate in found:
        if not await answers(gate):
            raise Missing(f"{gate.url} to answer")
    return found


def phases(deployments: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Every service and how far it is."""
    for deployment in deployments:
        for cluster in deployment["clusters"].values():
            for service in cluster["services"]:
                yield service["breed"]["name"], service["status"]["phase"]["name"]


def upstreams(deployments: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What the gateway calls each port of each service that has instances."""
    for deployment in deployments:
        for name, cluster in deployment["clusters"].items():
            for service in cluster["services"]:
                for instance in service["instances"][:1]:
                    for port in instance["ports"]:
                        yield f"{deployment['name']}/{name}/{service['breed']['name']}/{port}"


def gates(deployments: Sequence[Mapping[str, Any]], host: str) -> Iterator[Gate]:
    """The ports customers come in by. A gateway's `port` reads `9051/http`."""
    ways = _ways(deployments)
    live = {upstream.rpartition("/")[0] for upstream in upstreams(deployments)}
    for deployment in deployments:
        for name, gateway in deployment["gateways"].items():
            number, _, protocol = str(gateway["port"]).partition("/")
            if not (number.isdecimal() and int(number)):
                continue
            tls = gateway.get("tls") or {}
            yield Gate(
                host,
                int(number),
                is_http=protocol != "tcp",
                is_tls=bool(tls),
                wants_certificate=bool(tls.get("client_ca")) and not tls.get("optional"),
                is_proxied=bool(gateway.get("proxy_protocol")),
                is_fed=_is_fed(f"{deployment['name']}/{name}", ways, live),
            )


def _ways(deployments: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What each gateway leads to by weight: other gateways, versions, and what is outside."""
    ways = {}
    for deployment in deployments:
        prefix = f"{deployment['name']}/"
        for name, gateway in deployment["gateways"].items():
            ways[prefix + name] = _weighted(gateway)
        for name, cluster in deployment["clusters"].items():
            for port, gateway in cluster["gateways"].items():
                ways[f"{prefix}{name}/{port}"] = [f"{prefix}{name}/{way}" for way in _weighted(gateway)]
    return ways


def _weighted(gateway: Mapping[str, Any]) -> list[str]:
    return [path for path, route in gateway["routes"].items() if route["weight"] != "0%"]


def _is_fed(path: str, ways: Mapping[str, Sequence[str]], live: set[str]) -> bool:
    """Whether every draw by weight ends at a version that runs. Gateways never lead round in a circle."""
    if path not in ways:
        return path in live
    return bool(ways[path]) and all(_is_fed(way, ways, live) for way in ways[path])


async def answers(gate: Gate) -> bool:
    """Whether a gateway gives its application's answer now (any but "nobody is behind me")."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            reader, writer = await asyncio.open_connection(gate.host, gate.port)
            try:
                if not gate.can_be_asked:
                    return True
                status = await _asked(gate, reader, writer)
                return not (gate.is_fed and status in _NOT_SERVING)
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return False


async def _asked(gate: Gate, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    if gate.is_proxied:
        writer.write(b"PROXY UNKNOWN\r\n")
    if gate.is_tls:
        await writer.start_tls(_unjudging())
    writer.write(_request("/", f"{gate.host}:{gate.port}"))
    return _status(await reader.readline())


def _unjudging() -> ssl.SSLContext:
    """Any certificate will do: the gateway is told nothing, and its answer is believed for nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _ask_api(sources: Sources) -> Any:
    connecting = asyncio.open_connection("127.0.0.1", sources.api_port, limit=MAX_ANSWER)
    headers = f"authorization: Bearer {sources.token}\r\naccept: application/json\r\n"
    path = "/api/v1/deployments?per_page=100"
    return await _json(connecting, path, "127.0.0.1", headers, "the control plane to answer")


async def _reached(sources: Sources) -> set[str]:
    """The upstreams that have a healthy endpoint. A flag beside the status (`failed_active_hc`) means: not
    yet, or no longer."""
    connecting = asyncio.open_unix_connection(sources.admin, limit=MAX_ANSWER)
    found = await _json(connecting, "/clusters?format=json", "envoy", "", "Envoy to answer")
    return {
        cluster["name"]
        for cluster in found.get("cluster_statuses", ())
        for host in cluster.get("host_statuses", ())
        if host.get("health_status") == {"eds_health_status": "HEALTHY"}
    }


async def _json(connecting: Any, path: str, host: str, headers: str, what: str) -> Any:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            reader, writer = await connecting
            try:
                writer.write(_request(path, host, headers))
                status, body = await _answer(reader)
            finally:
                writer.close()
        if status != 200:
            raise Missing(f"{what} (now it says {status})")
        return json.loads(body)
    except (OSError, EOFError, TimeoutError, ValueError) as problem:
        raise Missing(what) from problem


def _request(path: str, host: str, headers: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: {host}\r\n{headers}connection: close\r\n\r\n".encode()


def _status(line: bytes) -> int:
    """:raises ValueError: it is no status line."""
    words = line.split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/1."):
        raise ValueError("not HTTP/1.1")
    return int(words[1])


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    status = _status(await reader.readline())
    is_chunked = False
    while (line := (await reader.readline()).strip().lower()) != b"":
        is_chunked |= line.startswith(b"transfer-encoding:") and line.endswith(b"chunked")
    return status, await (_chunks(reader) if is_chunked else reader.read(MAX_ANSWER))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readline()).partition(b";")[0], 16):
        if len(body) + size > MAX_ANSWER:
            raise ValueError("too long")
        body += await reader.readexactly(size)
        await reader.readline()
    return body
