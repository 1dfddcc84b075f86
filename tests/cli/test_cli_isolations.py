"""`divertor isolations` against a server that keeps what it is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.cli.answering import answering
from typer.testing import CliRunner

from divertor.cli.isolations import _row
from divertor.cli.main import app

MADE = {"id": "i1", "kind": "prefix", "name": "24/64", "value": "192.0.2.0/24", "target": "web:1"}
DONE = {"added": 2, "prolonged": 0, "unchanged": 0, "expired": 0}
LINES = b'{"value":"a"}\n{"value":"b"}\n'


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, bytes]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.asked.append((self.path, self._body()))
        self._answer(DONE if "import" in self.path else MADE)

    def do_GET(self) -> None:
        self.server.asked.append((self.path, b""))
        self._answer(LINES)

    def _body(self) -> bytes:
        if self.headers["content-length"]:
            return self.rfile.read(int(self.headers["content-length"]))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        return body

    def _answer(self, data: Any) -> None:
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with answering(Server(), monkeypatch) as made:
        yield made


def run(*arguments: str, given: bytes = b"") -> str:
    result = CliRunner().invoke(app, ["isolations", *arguments], input=given)
    assert result.exit_code == 0, result.output
    return result.output


def test_several_keys_of_a_client_are_sent_as_one(server: Server) -> None:
    told = run("add", "--scope", "a/b", "--cookie", "s=x=y", "--address", "192.0.2.0/24", "--user", "bob")
    assert json.loads(server.asked[0][1])["keys"] == [
        {"kind": "cookie", "name": "s", "value": "x=y"},
        {"kind": "prefix", "value": "192.0.2.0/24"},
        {"kind": "user", "value": "bob"},
    ]
    assert "network 192.0.2.0/24 is served by web:1" in told


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_file_is_imported_as_it_is(dry_run: bool, server: Server, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(LINES)
    told = run("import", str(tmp_path / "f"), *(["--dry-run"] if dry_run else []))
    path, body = server.asked[0]
    assert body == LINES and path.endswith(f"validate_only={str(dry_run).lower()}")
    assert ("2 would be isolated" if dry_run else "2 isolated") in told


def test_away_from_a_terminal_no_bar_is_drawn(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(LINES)
    result = CliRunner().invoke(app, ["isolations", "import", str(tmp_path / "f"), "--json"])
    assert (json.loads(result.stdout), result.stderr) == (DONE, "")


def test_an_export_is_for_nobody_elses_eyes(server: Server, tmp_path: Path) -> None:
    run("export", "-o", str(tmp_path / "f"), "--kind", "cookie")
    assert (tmp_path / "f").read_bytes() == LINES and (tmp_path / "f").stat().st_mode & 0o777 == 0o600
    assert server.asked[0][0].endswith("?kind=cookie")


def test_an_export_may_go_to_the_output(server: Server) -> None:
    assert run("export").encode() == LINES


def test_an_export_over_an_open_file_closes_it_to_others(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f").touch(mode=0o644)
    run("export", "-o", str(tmp_path / "f"))
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--format", "har"], "say whose"),
        (["--reveal"], "say whose"),
        (["i1", "--kind", "cookie"], "with an ID"),
    ],
)
def test_options_that_would_be_ignored_are_refused(server: Server, options: list[str], reason: str) -> None:
    result = CliRunner().invoke(app, ["isolations", "export", *options])
    assert (result.exit_code, server.asked) == (2, [])
    assert reason in result.stderr


def test_who_is_only_watched_is_told_apart_in_the_list() -> None:
    assert _row(MADE | {"scope": "a/b"}, {"a/b"})[3] == "web:1 (simulated)"
    assert _row(MADE | {"scope": "a/b", "simulated": True}, set())[3] == "web:1"
