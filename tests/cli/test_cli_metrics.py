"""`divertor metrics` as a table and as JSON, of one gateway or all."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from divertor.cli.main import app
from divertor.cli.metrics import chosen
from divertor.layout import Layout, Settings

NONE = {"rate": 0.0, "requests": 0, "errors": None, "p50": None, "p90": None, "p99": None, "active": 0}
FOUND: list[dict[str, Any]] = [
    {
        **NONE,
        "kind": "gateways",
        "gateway": "shop/9051",
        "rate": 12.34,
        "errors": 2.5,
        "p99": 250.4,
        "health": 1.0,
    },
    {**NONE, "kind": "routes", "gateway": "shop/9051", "route": "shop/web", "p50": 1.5, "health": 0.5},
    {**NONE, "kind": "gateways", "gateway": "side", "health": None},
    {**NONE, "kind": "services", "deployment": "shop", "cluster": "web", "service": "web:1", "port": "p"},
]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[str]:
    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(FOUND).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    layout = Layout(tmp_path)
    layout.write_settings(Settings(api_port=server.server_port))
    layout.admin_token.write_text("token")
    yield str(tmp_path)
    server.shutdown()
    server.server_close()


def run(state: str, *options: str) -> str:
    result = CliRunner().invoke(app, ["metrics", "--state", state, *options])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_table_shows_rates_errors_and_percentiles(state: str) -> None:
    lines = run(state).splitlines()
    assert lines[0].split() == ["WHAT", "RATE", "ERRORS", "P50", "P90", "P99", "ACTIVE", "HEALTH"]
    assert lines[2].split() == ["gateway", "shop/9051", "12.3/s", "2.50%", "250", "ms", "0", "100%"]
    assert lines[3].split() == ["route", "shop/web", "0.0/s", "1.5", "ms", "0", "50%"]
    assert lines[5].split() == ["version", "shop/web/web:1/p", "0.0/s", "0"]


def test_json_is_what_the_api_said(state: str) -> None:
    assert json.loads(run(state, "--json")) == FOUND
    assert json.loads(run(state, "--json", "side")) == FOUND[2:3]


@pytest.mark.parametrize(
    ("name", "expected"), [("", FOUND), ("shop/9051", FOUND[:2]), ("shop", [*FOUND[:2], FOUND[3]])]
)
def test_a_name_is_a_gateways_or_a_deployments(name: str, expected: list[dict[str, Any]]) -> None:
    assert chosen(FOUND, name) == expected


def test_a_name_that_nothing_has_is_refused_with_those_there_are(state: str) -> None:
    result = CliRunner().invoke(app, ["metrics", "--state", state, "x"])
    assert result.exit_code == 1
    assert "no gateway or deployment 'x'; there is shop, shop/9051, side" in result.stderr


def test_before_the_first_look_nothing_is_measured_of_any_name() -> None:
    assert chosen([], "x") == []
