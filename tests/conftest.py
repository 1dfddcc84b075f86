"""What several packages' tests share: a real broker, and the event loop the product runs on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from divertor.bus.server import STORE_MIB, server_binary, server_config
from divertor.errors import UnavailableError


def missing_server(reason: str) -> NoReturn:
    """Skips the test; where servers are required (DIVERTOR_REQUIRE_SERVERS), fails it."""
    if os.environ.get("DIVERTOR_REQUIRE_SERVERS"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


def free_port() -> int:
    """A port nobody listens on, below the range clients take their own from."""
    for port in random.sample(range(20000, 32000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


class Broker:
    """One nats-server that a test may kill and start again on the same port and state."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.password = 'a "quoted" secret'
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.store_mib = STORE_MIB
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        config = self.directory / "nats.conf"
        text = server_config(self.port, self.directory / "js", self.password, max_store_mib=self.store_mib)
        config.write_text(text)
        config.chmod(0o600)
        with (self.directory / "nats.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(server_binary()), "-c", str(config)], stdout=log, stderr=log
            )

    def kill(self) -> None:
        """As the kernel would: no chance to write anything."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def wipe(self) -> None:
        """Remove everything it stored; only while it is down."""
        shutil.rmtree(self.directory / "js")

    def signal(self, number: int) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    try:
        server_binary()
    except UnavailableError as problem:
        missing_server(str(problem))
    directory = tmp_path / "broker"
    directory.mkdir()
    server = Broker(directory)
    server.start()
    yield server
    server.kill()
