"""What an app is about to send, judged by the sensor in it, behind a real gateway: a page with an input's
script, a redirect to an input's host. The trusted version answers the same request.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from tests.conftest import missing_server
from tests.gateway.conftest import App, Gateway, ask, new_port
from tests.gateway.worlds import DIVERT, World, blueprint, cluster

from divertor.errors import UnavailableError
from divertor.gateway.planning import divert_token
from divertor_sensor.frameworks.wsgi import DivertorWSGI
from divertor_sensor.reports.detection import Detection, Report
from divertor_sensor.sensor import Sensor
from divertor_sensor.settings import Mode, Settings

SCRIPT = "<script>alert(1)</script>"


class Kept:
    """A reporter that keeps detections."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[str, str]] = []

    def submit(self, report: Report) -> None:
        if isinstance(report, Detection) and report.signal == "attack":
            self.outcomes.append((report.type, report.outcome))


def careless(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Repeats `q` in a page, at once or in pieces, or goes where it says."""
    value = parse_qs(environ["QUERY_STRING"])["q"][0]
    if environ["PATH_INFO"] == "/go":
        start_response("302 Found", [("Location", value), ("Content-Length", "0")])
        return [b""]
    page = f"<p>first</p><p>{value}</p>".encode()
    start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(page)))])
    return iter([page[:12], page[12:]]) if environ["PATH_INFO"] == "/pieces" else [page]


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class Careless:
    """The careless app with the sensor in it, as a server."""

    def __init__(self, kept: Kept) -> None:
        settings = Settings(mode=Mode.DIVERT, divert_token=divert_token(DIVERT, "shop"), strict=True)
        app = DivertorWSGI(careless, Sensor(settings, kept))
        self.port = new_port()
        self._server = make_server("127.0.0.1", self.port, app, handler_class=Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass(frozen=True, slots=True)
class Shop:
    """The gateway's port, and what the sensor behind it reported."""

    port: int
    kept: Kept


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    try:
        gateway = Gateway(tmp_path_factory.mktemp("gw"))
        gateway.start()
    except UnavailableError as problem:
        missing_server(str(problem))
    kept, port, audited = Kept(), new_port(), App("audited")
    live = Careless(kept)
    world = World(gateway, lambda service: audited if service.endswith("audited") else live)  # type: ignore[arg-type, return-value]
    routes = "routes: {'web:live': {weight: 100%}, 'web:audited': {weight: 0%}}"
    policy = "isolation:\n  web: {to: 'web:audited', keys: [cookie session], for: 1h}"
    world.serve(
        blueprint(cluster("web", "live", "audited", gateways=routes), gateways=f"{port}: web", more=policy)
    )
    yield Shop(port, kept)
    for running in (live, audited, gateway):
        running.close()


@pytest.mark.parametrize(
    ("path", "text", "kind"), [("/page", SCRIPT, "xss"), ("/go", "//evil.example/", "open_redirect")]
)
def test_the_trusted_version_answers_in_the_same_request(shop: Shop, path: str, text: str, kind: str) -> None:
    reply = ask(shop.port, f"{path}?q={quote(text)}")
    assert reply.by == "audited" and shop.kept.outcomes[-1] == (kind, "diverted")


@pytest.mark.parametrize(
    ("path", "text"), [("/page", "I <3 you"), ("/pieces", "O'Brien"), ("/go", "/account")]
)
def test_an_honest_request_is_answered_by_the_app(shop: Shop, path: str, text: str) -> None:
    told = len(shop.kept.outcomes)
    reply = ask(shop.port, f"{path}?q={quote(text)}")
    assert reply.by is None and reply.status in (200, 302) and len(shop.kept.outcomes) == told


def test_a_page_under_way_is_cut_before_the_script_is_out(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    body = b""
    with suppress(http.client.HTTPException, OSError):
        body = ask(shop.port, f"/pieces?q={quote(SCRIPT)}").body
    assert SCRIPT.encode() not in body and shop.kept.outcomes[-1] == ("xss", "blocked")
