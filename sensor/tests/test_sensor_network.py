"""Connections inside, made on a request's behalf: real clients, real servers on loopback."""

from __future__ import annotations

import asyncio
import http.client
import io
import random
import socket
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlencode

import aiohttp
import httpx
import pytest
import requests
import urllib3
import uvloop

from divertor_sensor import AttackInterrupted, DivertorWSGI, context
from divertor_sensor.reports.detection import Detection
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor
from divertor_sensor.settings import Mode

MakeSensor = Callable[..., Sensor]


class Inside:
    """A server that only the app can reach; `paths` are what it was asked for."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.location = ""
        self._server = self._bound()
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def _bound(self) -> ThreadingHTTPServer:
        """On a free port below the range that outgoing connections are given."""
        while True:
            try:
                return ThreadingHTTPServer(("127.0.0.1", random.randrange(15_000, 30_000)), self._handler())
            except OSError:
                continue

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        inside = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                inside.paths.append(self.path)
                self.send_response(302 if inside.location else 200)
                if inside.location:
                    self.send_header("location", inside.location)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def inside() -> Iterator[Inside]:
    running = Inside()
    yield running
    running.close()


@pytest.fixture
def second() -> Iterator[Inside]:
    running = Inside()
    yield running
    running.close()


def asking(sensor: Sensor, value: str, headers: dict[str, str] | None = None) -> Request:
    """A request whose body is `value`."""
    head = Head("POST", "/", "", {"content-type": "text/plain", **(headers or {})}, "")
    made = Request(sensor, lambda: head)
    made.body.record(value.encode())
    return made


def _urlopen(url: str) -> None:
    urllib.request.urlopen(url, timeout=5).close()


def _http_client(url: str) -> None:
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=5)
    connection.request("GET", "/")
    connection.getresponse().read()
    connection.close()


def _requests(url: str) -> None:
    requests.get(url, timeout=5)


def _urllib3(url: str) -> None:
    with urllib3.PoolManager() as pool:
        pool.request("GET", url, timeout=5)


def _httpx(url: str) -> None:
    httpx.get(url, trust_env=False, follow_redirects=True)


def _socket(url: str) -> None:
    host, _, port = url.split("/")[2].rpartition(":")
    socket.create_connection((host, int(port)), 5).close()


def _bare_socket(url: str) -> None:
    host, _, port = url.split("/")[2].rpartition(":")
    with socket.socket() as made:
        made.connect((host, int(port)))


async def _aiohttp(url: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        await response.read()


async def _async_httpx(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False, follow_redirects=True) as client:
        await client.get(url)


async def _streams(url: str) -> None:
    host, _, port = url.split("/")[2].rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.close()


def _on(run: Callable[..., Any], work: Callable[[str], Any]) -> Callable[[str], None]:
    return lambda url: run(work(url))


SYNCHRONOUS: dict[str, Callable[[str], None]] = {
    "urllib": _urlopen,
    "http.client": _http_client,
    "requests": _requests,
    "urllib3": _urllib3,
    "httpx": _httpx,
    "socket.create_connection": _socket,
    "socket.connect": _bare_socket,
}
CLIENTS: dict[str, Callable[[str], None]] = SYNCHRONOUS | {
    f"{name} on {loop}": _on(run, work)
    for name, work in (("aiohttp", _aiohttp), ("httpx", _async_httpx), ("streams", _streams))
    for loop, run in (("asyncio", asyncio.run), ("uvloop", uvloop.run))
}
#: How the inside is written; the last three as a host that a library passes on unchanged.
SPELLINGS = ("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.0.0.1")


def stopped(made: Request, client: Callable[..., object], url: str) -> bool:
    """Whether the request was interrupted: some clients turn any exception into one of their own."""
    try:
        context.run_in(made, client, url)
    except (AttackInterrupted, Exception):
        pass
    return made.interrupted


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_client_does_not_reach_the_inside_for_an_input(
    name: str, host: str, inside: Inside, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    url = f"http://{host}:{inside.port}/"
    assert stopped(asking(make_sensor(), url), CLIENTS[name], url)
    assert inside.paths == [] and {found.type for found in kept} == {"ssrf"}
    assert kept[0].statement == f"{host}:{inside.port} at 127.0.0.1"


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_reaches_what_the_app_names_itself(
    name: str, inside: Inside, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    made = asking(make_sensor(), "http://shop.example/ 127.0.0.2 local", {"host": f"127.0.0.1:{inside.port}"})
    context.run_in(made, CLIENTS[name], f"http://localhost:{inside.port}/")
    assert kept == [] and not made.interrupted


@pytest.mark.parametrize("name", CLIENTS)
def test_outside_a_request_a_client_is_left_alone(name: str, inside: Inside, kept: list[Detection]) -> None:
    CLIENTS[name](inside.url)
    assert kept == []


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", ["urllib", "requests", "httpx", "socket.connect"])
def test_no_spelling_hides_an_address(
    spelling: str, name: str, inside: Inside, make_sensor: MakeSensor
) -> None:
    url = f"http://{spelling}:{inside.port}/"
    assert stopped(asking(make_sensor(), url), CLIENTS[name], url) and inside.paths == []


@pytest.mark.parametrize("value", ["good.example@127.0.0.1:{}", "127.0.0.1:{}/x?", "127.0.0.1:{}#"])
def test_an_input_put_into_a_url_is_known(value: str, inside: Inside, make_sensor: MakeSensor) -> None:
    value = value.format(inside.port)
    assert stopped(asking(make_sensor(), value), _requests, f"http://{value}") and inside.paths == []


@pytest.mark.parametrize("allowed", ["{host}", "{host}:{port}"])
def test_a_host_that_inputs_may_name_is_reached(
    allowed: str, inside: Inside, make_sensor: MakeSensor
) -> None:
    hosts = (allowed.format(host="127.0.0.1", port=inside.port),)
    assert not stopped(asking(make_sensor(inside_hosts=hosts), inside.url), _urlopen, inside.url)
    assert inside.paths == ["/"]


def test_a_name_that_inputs_may_use_does_not_allow_its_address(
    inside: Inside, make_sensor: MakeSensor
) -> None:
    url = inside.url
    assert stopped(asking(make_sensor(inside_hosts=("localhost",)), url), _urlopen, url)
    assert stopped(asking(make_sensor(inside_hosts=("127.0.0.1:1",)), url), _urlopen, url)


@pytest.mark.parametrize("header", ["host", "origin", "referer", "x-forwarded-host", "x-forwarded-for"])
def test_a_header_that_names_this_server_is_no_finding(
    header: str, inside: Inside, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    """The app calls a service of its own, and the browser happens to name the same place."""
    made = asking(make_sensor(), "x", {header: inside.url})
    context.run_in(made, _requests, inside.url)
    assert kept == [] and inside.paths == ["/"]


def test_a_service_that_was_called_without_an_input_is_the_apps_own(
    inside: Inside, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    """A value that names it later does so by chance, at this place in the app."""
    sensor, url = make_sensor(), f"http://localhost:{inside.port}/"
    for value in ("a rather long value", "yet another one of them", "and then a third", url):
        context.run_in(asking(sensor, value), _requests, url)
    assert kept == [] and len(inside.paths) == 4


def test_another_header_that_names_the_inside_is_one(inside: Inside, make_sensor: MakeSensor) -> None:
    made = asking(make_sensor(), "x", {"x-callback": inside.url})
    assert stopped(made, _requests, inside.url) and inside.paths == []


def test_a_port_named_with_another_connection_is_no_finding(
    inside: Inside, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    made = asking(make_sensor(), f"http://127.0.0.1:{inside.port + 1}/")
    context.run_in(made, _requests, inside.url)
    assert kept == []


def test_a_host_that_is_checked_and_refused_is_no_attack(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    """An app that looks a name up before it decides must not be stopped while it does."""
    made = asking(make_sensor(), "http://localhost/")
    context.run_in(made, socket.gethostbyname, "localhost")
    context.run_in(made, socket.getaddrinfo, "localhost", 80)
    assert kept == []


def test_a_pool_of_threads_is_no_way_round(inside: Inside, make_sensor: MakeSensor) -> None:
    made = asking(make_sensor(), inside.url)
    with ThreadPoolExecutor(1) as pool, pytest.raises(AttackInterrupted):
        context.run_in(made, pool.submit, _requests, inside.url).result()
    assert made.interrupted and inside.paths == []


def test_an_address_that_the_app_looked_up_by_name_is_the_inputs(
    inside: Inside, make_sensor: MakeSensor
) -> None:
    def resolve_and_ask(url: str) -> None:
        _requests(f"http://{socket.gethostbyname('localhost')}:{inside.port}/")

    made = asking(make_sensor(), f"http://localhost:{inside.port}/")
    assert stopped(made, resolve_and_ask, "") and inside.paths == []


FOLLOWING = ("urllib", "requests", "urllib3", "httpx") + tuple(
    f"{name} on {loop}" for name in ("aiohttp", "httpx") for loop in ("asyncio", "uvloop")
)


@pytest.mark.parametrize("name", FOLLOWING)
def test_a_redirect_to_the_inside_is_the_first_hosts_doing(
    name: str, inside: Inside, second: Inside, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    inside.location = f"http://localhost:{second.port}/secret"
    made = asking(make_sensor(mode=Mode.REPORT), inside.url)
    context.run_in(made, CLIENTS[name], inside.url)
    first, then = f"127.0.0.1:{inside.port}", f"localhost:{second.port} at 127.0.0.1"
    assert f"{first}, redirected to {then}" in [found.statement for found in kept]


def test_a_redirect_that_the_app_follows_itself_is_known(
    inside: Inside, second: Inside, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    inside.location = f"http://localhost:{second.port}/secret"

    def follow(url: str) -> None:
        connection = http.client.HTTPConnection(url.split("/")[2], timeout=5)
        connection.request("GET", "/")
        location = connection.getresponse().headers["location"]
        connection.close()
        _http_client(location)

    context.run_in(asking(make_sensor(mode=Mode.REPORT), inside.url), follow, inside.url)
    assert any(", redirected to localhost:" in found.statement for found in kept)


def test_a_redirect_of_the_apps_own_service_is_its_own(
    inside: Inside, second: Inside, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    inside.location = second.url
    context.run_in(asking(make_sensor(), "shop.example"), _requests, inside.url)
    assert kept == [] and second.paths == ["/"]


class Rebinding:
    """A resolver that answers for one name only, ever another address."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = list(addresses)
        self.asked = 0

    def __call__(self, host: Any, port: int, *rest: Any) -> list[Any]:
        self.asked += 1
        address = self._addresses.pop(0) if len(self._addresses) > 1 else self._addresses[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]


@pytest.mark.parametrize("name", ["urllib", "requests", "httpx", "aiohttp on asyncio", "httpx on asyncio"])
def test_a_name_that_is_rebound_after_the_apps_check_is_caught(
    name: str, inside: Inside, make_sensor: MakeSensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = Rebinding("203.0.113.9", "127.0.0.1")
    monkeypatch.setattr("_socket.getaddrinfo", resolver)
    host = f"{name.replace(' ', '-')}.rebind.example"
    url = f"http://{host}:{inside.port}/"

    def check_and_ask(url: str) -> None:
        assert socket.getaddrinfo(host, 80)[0][4][0] == "203.0.113.9"
        CLIENTS[name](url)

    assert stopped(asking(make_sensor(), url), check_and_ask, url)
    assert resolver.asked > 1 and inside.paths == []


def test_a_kept_connection_of_requests_is_no_way_round(inside: Inside, make_sensor: MakeSensor) -> None:
    with requests.Session() as session:
        session.get(inside.url)
        assert stopped(asking(make_sensor(), inside.url), session.get, inside.url + "secret")
    assert inside.paths == ["/"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_kept_connection_of_httpx_is_no_way_round(
    host: str, inside: Inside, make_sensor: MakeSensor
) -> None:
    url = f"http://{host}:{inside.port}/"
    with httpx.Client(trust_env=False) as client:
        client.get(url)
        assert stopped(asking(make_sensor(), url), client.get, url + "secret")
    assert inside.paths == ["/"]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_kept_connection_of_aiohttp_is_no_way_round(
    run: Callable[..., Any], inside: Inside, make_sensor: MakeSensor
) -> None:
    url = f"http://localhost:{inside.port}/"
    made = asking(make_sensor(), url)

    async def twice() -> None:
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as response:
                await response.read()
            token = context.current.set(made)
            try:
                with pytest.raises(AttackInterrupted):
                    await session.get(url + "secret")
            finally:
                context.current.reset(token)

    run(twice())
    assert inside.paths == ["/"]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_is_not_asked_for_the_inside(scheme: str, inside: Inside, make_sensor: MakeSensor) -> None:
    url = f"{scheme}://10.0.0.1/"
    made = asking(make_sensor(), url)
    assert stopped(made, lambda url: requests.get(url, proxies={scheme: inside.url}, timeout=5), url)
    assert inside.paths == []


def test_a_proxy_inside_may_be_asked_for_the_outside(
    inside: Inside, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    url = "http://shop.example/{}".format("hook")
    with requests.Session() as session:
        session.proxies = {"http": inside.url}
        context.run_in(asking(make_sensor(), url), session.get, url)
    assert kept == [] and inside.paths == [url]


def test_a_file_url_of_an_input_is_not_opened(make_sensor: MakeSensor, kept: list[Detection]) -> None:
    url = Path("/etc/hostname").as_uri()
    with pytest.raises(AttackInterrupted):
        context.run_in(asking(make_sensor(), url), _urlopen, url)
    assert [found.type for found in kept] == ["ssrf"]


def test_a_file_url_of_the_app_is_opened(make_sensor: MakeSensor, kept: list[Detection]) -> None:
    context.run_in(asking(make_sensor(), "hostname"), _urlopen, "file:///etc/hostname")
    assert kept == []


def test_a_socket_of_the_file_system_is_no_host(make_sensor: MakeSensor, kept: list[Detection]) -> None:
    with socket.socket(socket.AF_UNIX) as made, pytest.raises(OSError):
        context.run_in(asking(make_sensor(), "/nonexistent/socket"), made.connect, "/nonexistent/socket")
    assert kept == []


class Text(str):
    """As frameworks have their own."""


def test_a_host_of_another_kind_of_text_is_looked_at(inside: Inside, make_sensor: MakeSensor) -> None:
    for host in (Text("127.0.0.1"), bytearray(b"127.0.0.1"), b"localhost"):
        made = asking(
            make_sensor(), f"{Text(host) if isinstance(host, str) else host.decode()}:{inside.port}"
        )
        with socket.socket() as connecting, pytest.raises(AttackInterrupted):
            context.run_in(made, connecting.connect, (host, inside.port))


def test_a_name_that_cannot_be_resolved_fails_as_ever(make_sensor: MakeSensor) -> None:
    host = "x" * 70
    failures = []
    inside_a_request = partial(context.run_in, asking(make_sensor(), f"http://{host}/"))
    runs: list[Callable[..., Any]] = [lambda call: call(), inside_a_request]
    for run in runs:
        with socket.socket() as connecting, pytest.raises((OSError, UnicodeError)) as failure:
            run(partial(connecting.connect, (host, 80)))
        failures.append((failure.type, str(failure.value)))
    assert failures[0] == failures[1]


def test_a_request_long_over_is_no_longer_held_to_its_inputs(inside: Inside, make_sensor: MakeSensor) -> None:
    made = asking(make_sensor(), inside.url)
    made.close()
    made._closed_at -= 60
    context.run_in(made, _requests, inside.url)
    assert inside.paths == ["/"]


@pytest.mark.parametrize("name", CLIENTS)
def test_an_app_that_takes_it_for_a_failure_is_answered_for(
    name: str, inside: Inside, make_sensor: MakeSensor
) -> None:
    """Clients turn what is raised at a socket into errors of their own; the response is replaced anyway."""
    url, statuses = inside.url, []

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        try:
            CLIENTS[name](parse_qs(environ["QUERY_STRING"])["url"][0])
        except Exception:
            pass
        start("200 OK", [])
        return [b"nothing happened"]

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": urlencode({"url": url})}
    guarded = DivertorWSGI(app, make_sensor(mode=Mode.BLOCK))
    body = guarded({**environ, "wsgi.input": io.BytesIO()}, lambda status, *_: statuses.append(status))
    assert b"nothing happened" not in b"".join(body)
    assert [status[:3] for status in statuses] == ["403"] and inside.paths == []


def test_every_client_is_tried() -> None:
    assert len(CLIENTS) == 13 and len(SPELLINGS) == 5 and len(FOLLOWING) == 8
