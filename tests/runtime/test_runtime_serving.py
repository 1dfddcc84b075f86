"""Whether a stack serves, asked of small real servers."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

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
    inner = {"routes": {"web:0": {"weight": "0%"}, "web:1": {"weight": "100%"}}}
    web = {"services": [service, idle], "gateways": {"port": inner}}
    external = {"port": f"{app}/http", "routes": {"shop/web/port": {"weight": "100%"}}}
    return {"name": "shop", "clusters": {"web": web}, "gateways": {"9": external}}


def gate(routes: dict[str, str], **settings: Any) -> Gate:
    """The gate of a gateway with these routes, by path and weight."""
    found = deployment(9051)
    found["gateways"]["9"] |= {"routes": {path: {"weight": routes[path]} for path in routes}, **settings}
    (only,) = gates([found], "127.0.0.1")
    return only


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


@pytest.mark.parametrize(
    ("routes", "is_fed"),
    [
        ({"shop/web/port": "100%"}, True),
        ({"shop/web/port": "0%"}, False),
        ({"shop/web/port": "50%", "[10.0.0.7:80]": "50%"}, False),
        ({"shop/web/port": "100%", "[10.0.0.7:80]": "0%"}, True),
        ({"(a)": "100%"}, False),
        ({}, False),
    ],
)
def test_a_page_is_due_only_where_every_draw_ends_at_a_version_of_ours(
    routes: dict[str, str], is_fed: bool
) -> None:
    assert gate(routes).is_fed is is_fed


def test_a_version_without_instances_owes_no_page() -> None:
    found = deployment(9051)
    weights = {"web:0": {"weight": "100%"}, "web:1": {"weight": "0%"}}
    found["clusters"]["web"]["gateways"]["port"]["routes"] = weights
    assert [each.is_fed for each in gates([found], "127.0.0.1")] == [False]


@pytest.mark.anyio
async def test_a_gateway_that_was_shut_may_say_so(tmp_path: Path) -> None:
    shut = {"9": {"port": "0", "routes": {"shop/web/port": {"weight": "0%"}}}}

    def api(app: int) -> bytes:
        shut["9"]["port"] = f"{app}/http"
        return http(200, [deployment(app) | {"gateways": shut}])

    async with stack(tmp_path, api=api, app=http(503, None)) as sources:
        assert len(await serving(sources)) == 1


@pytest.mark.anyio
async def test_a_gateway_with_tls_is_asked_by_https() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("shop.example").configure_cert(context)
    port = pick_port(low=24500)
    async with await asyncio.start_server(_says_no_content, "127.0.0.1", port, ssl=context):
        asked = Gate("127.0.0.1", port, is_tls=True)
        assert asked.url == f"https://127.0.0.1:{port}"
        assert await answers(asked)
        assert not await answers(Gate("127.0.0.1", port))


def test_a_gateway_that_wants_certificates_must_only_accept() -> None:
    asked = gate({"shop/web/port": "100%"}, tls={"client_ca": "ca.pem"})
    assert asked.is_tls
    assert not asked.can_be_asked
    assert gate({"shop/web/port": "100%"}, tls={"client_ca": "ca.pem", "optional": True}).can_be_asked


@pytest.mark.anyio
async def test_a_gateway_behind_a_balancer_is_spoken_to_as_by_one() -> None:
    heard = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set_result(await reader.readline())
        await _says_no_content(reader, writer)

    port = pick_port(low=24600)
    async with await asyncio.start_server(serve, "127.0.0.1", port):
        assert await answers(Gate("127.0.0.1", port, is_proxied=True))
    assert heard.result() == b"PROXY UNKNOWN\r\n"


async def _says_no_content(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(http(204, None))
    writer.close()
