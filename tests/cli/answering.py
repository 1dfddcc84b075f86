"""A server that stands in for a stack's API, for as long as a test runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import TypeVar

import pytest

from divertor.cli import client
from divertor.cli.client import Api

S = TypeVar("S", bound=ThreadingHTTPServer)


@contextmanager
def answering(server: S, monkeypatch: pytest.MonkeyPatch) -> Iterator[S]:
    """Commands that ask a stack ask this server, in a thread of its own, until the block is left."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setattr(client, "open_api", lambda state: Api(url, "t"))
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
