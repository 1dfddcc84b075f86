"""The stand-in for Slack, as a real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import HTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from divertor.cli.slack_sink import MAX_MESSAGE, MAX_SHOWN, handler, shown


class Sink(NamedTuple):
    url: str
    messages: Path
    log: Path


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    messages, log = tmp_path / "slack.jsonl", tmp_path / "live.log"
    with HTTPServer(("127.0.0.1", 0), handler(str(messages), str(log))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Sink(f"http://127.0.0.1:{server.server_address[1]}/slack", messages, log)
        server.shutdown()
        thread.join()


def post(sink: Sink, content: Any) -> httpx.Response:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return httpx.post(sink.url, content=data, trust_env=False)


def test_a_message_is_kept_and_shown(sink: Sink) -> None:
    message = {"text": "", "attachments": [{"title": "Attack on /login", "text": "IP: 10.0.0.1\nUA: curl"}]}
    assert post(sink, message).text == "ok"
    assert json.loads(sink.messages.read_text())["message"] == message
    assert "slack     Attack on /login · IP: 10.0.0.1 UA: curl\n" in sink.log.read_text()


def test_what_is_no_json_is_refused(sink: Sink) -> None:
    assert post(sink, b"{").status_code == 400
    assert not sink.messages.exists()


def test_what_is_too_large_is_refused(sink: Sink) -> None:
    assert post(sink, b" " * (MAX_MESSAGE + 1)).status_code == 413


def test_a_message_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in shown({"text": "a\x1b[2Jb"})


def test_a_long_message_is_cut_when_shown() -> None:
    assert len(shown({"text": "x" * 5000})) == MAX_SHOWN


@pytest.mark.parametrize(
    "message", [[], "x", 1, None, {"attachments": 3}, {"attachments": [1]}, {"text": {}}]
)
def test_any_json_can_be_shown(message: Any) -> None:
    assert shown(message) == ""
