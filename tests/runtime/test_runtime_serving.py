"""Whether a stack serves, asked of small real servers."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from divertor.runtime.ports import pick_port
from divertor.runtime.serving import Gate, Missing, Sources, answers, gates, phases, serving, upstreams

PORT = {"api": 24100, "app": 24200}


def deployment(app: int, phase: str = "Done") -> dict[str, Any]:
    service = {
        "breed": {"name": "web:1"},
        "status": {"phase": {"name": phase}},
        "instances": [{"ports": {"port": 20000}}, {"ports": {"port": 20001}}],
    }
    idle = {"breed": {"name": "web:0"}, "status": {"phase": {"name": "Done"}}, "instances": []}
    external = {"port": f"{app}/http"}
    return {"name": "shop", "clusters": {"web": {"services": [service, idle]}}, "gateways": {"9": external}}


def clusters(name: str = "shop/web/web:1/port", health: str = "HEALTHY", **flags: bool) -> dict[str, Any]:
    host = {"health_status": {"eds_health_status": health, **flags}}
    return {"cluster_statuses": [{"name": name, "host_statuses": [host]}, {"name": "other"}]}


def http(status: int, body: Any, *, chunked: bool = False) -> bytes:
    data = json.dumps(body).encode()
    if chunked:
        half = len(data) // 2
        parts = [data[:half], data[half:], b""]
        data = b"".join(b"%x;x=y\r\n%s\r\n" % (len(part), part) for part in parts)
    head = "transfer-encoding: chunked" if chunked else f"content-length: {len(data)}"
    return f"HTTP/1.1 {status} X\r\n{head}\r\n\r\n".encode() + data


@asynccontextmanager
async def stack(
    tmp_path: Path,
    *,
    api: Callable[[int], bytes] = lambda app: http(200, [deployment(app)]),
    admin: bytes = http(200, clusters(), chunked=True),
    app: bytes = http(404, None),
) -> AsyncIterator[Sources]:
    """An API, an Envoy and an app that always say the same."""
    ports = {name: pick_port(low=low) for name, low in PORT.items()}

    def saying(text: bytes) -> Any:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(text)
            writer.close()

        return serve

    socket = str(tmp_path / "admin.sock")
    async with AsyncExitStack() as servers:
        for server in (
            await asyncio.start_server(saying(api(ports["app"])), "127.0.0.1", ports["api"]),
            await asyncio.start_server(saying(app), "127.0.0.1", ports["app"]),
            await asyncio.start_unix_server(saying(admin), socket),
        ):
            await servers.enter_async_context(server)
        yield Sources(ports["api"], "token", socket, "127.0.0.1")


@pytest.mark.anyio
async def test_a_stack_that_serves_tells_its_gateways(tmp_path: Path) -> None:
    async with stack(tmp_path) as sources:
        assert [gate.url.rpartition(":")[0] for gate in await serving(sources)] == ["http://127.0.0.1"]


MISSING: list[tuple[str, dict[str, Any]]] = [
    ("web:1 to run", {"api": lambda app: http(200, [deployment(app, "Updating")])}),
    (r"the control plane to answer \(now it says 401\)", {"api": lambda _: http(401, None)}),
    ("the control plane to answer", {"api": lambda _: b"nonsense\r\n\r\n"}),
    ("the control plane to answer", {"api": lambda _: b""}),
    ("the gateway to reach shop/web/web:1/port", {"admin": http(200, clusters("another"))}),
    ("the gateway to reach shop/web/web:1/port", {"admin": http(200, clusters(health="UNHEALTHY"))}),
    ("the gateway to reach .*", {"admin": http(200, clusters(failed_active_health_check=True))}),
    ("Envoy to answer", {"admin": b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"}),
    ("http://127.0.0.1:[0-9]+ to answer", {"app": http(503, None)}),
]


@pytest.mark.parametrize(("what", "spoilt"), MISSING)
@pytest.mark.anyio
async def test_what_is_missing_is_told(tmp_path: Path, what: str, spoilt: dict[str, Any]) -> None:
    async with stack(tmp_path, **spoilt) as sources:
        with pytest.raises(Missing) as told:
            await serving(sources)
    assert re.fullmatch(what, told.value.what)


def test_every_lack_was_tried() -> None:
    assert len(MISSING) == 9


@pytest.mark.anyio
async def test_a_port_nobody_listens_on_does_not_answer() -> None:
    assert not await answers(Gate("127.0.0.1", pick_port(low=24300)))


@pytest.mark.anyio
async def test_a_tcp_gateway_must_only_accept() -> None:
    port = pick_port(low=24400)
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port):
        assert await answers(Gate("127.0.0.1", port, is_http=False))
        assert not await answers(Gate("127.0.0.1", port))


def test_a_deployment_is_read_as_the_api_writes_it() -> None:
    found = [deployment(9051)]
    assert list(phases(found)) == [("web:1", "Done"), ("web:0", "Done")]
    assert list(upstreams(found)) == ["shop/web/web:1/port"]
    assert list(gates(found, "10.0.0.1")) == [Gate("10.0.0.1", 9051)]
