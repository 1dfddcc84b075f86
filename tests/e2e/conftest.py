"""The whole stack for the tests: real Envoy, real NATS, the real shop, on ports of its own."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import pytest

from divertor.bus.server import server_binary
from divertor.cli.client import Api
from divertor.cli.demo.own_stack import OwnStack
from divertor.cli.demo.setting import shop_directory
from divertor.errors import DivertorError, UnavailableError
from divertor.gateway.process import envoy_binary

#: Seconds anything may take that is waited for.
DEADLINE = 30.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def servers() -> None:
    """Envoy and NATS are there."""
    try:
        server_binary()
        envoy_binary()
    except UnavailableError as problem:
        if os.environ.get("DIVERTOR_REQUIRE_SERVERS"):
            pytest.fail(str(problem))
        pytest.skip(str(problem))


@pytest.fixture(scope="session")
def stack(servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    """One stack for all tests: each uses cookies of its own and leaves routing as it was."""
    with OwnStack(shop_directory(), tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def api(stack: OwnStack) -> Iterator[Api]:
    with stack.api() as found:
        yield found


def eventually(condition: Callable[[], Any], deadline: float = DEADLINE) -> Any:
    """What `condition` gives once it is true; a stack that does not answer yet is waited for."""
    end = time.monotonic() + deadline
    while True:
        try:
            if value := condition():
                return value
        except (DivertorError, httpx.HTTPError):
            pass
        assert time.monotonic() < end, "it did not become so in time"
        time.sleep(0.01)


def served_by(stack: OwnStack, **cookies: str) -> str:
    """The version that answers somebody with these cookies; "" for an error."""
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    answer = httpx.get(stack.app, headers={"cookie": header} if header else {}, trust_env=False)
    return next((version for version in ("1.0.0", "1.1.0") if f"hackable {version}" in answer.text), "")


def pid_of(api: Api, name: str) -> int:
    """The process id of a member of the stack."""
    return next(int(each["pid"]) for each in api.get("/status")["processes"] if each["name"] == name)


def kill(pid: int) -> None:
    """No chance to write anything."""
    os.kill(pid, signal.SIGKILL)


class Customer:
    """Somebody who keeps opening the shop while something happens, on a connection that is kept.

    `answers` are the times (steady seconds) and outcomes: a version, or what went wrong.
    """

    def __init__(self, stack: OwnStack) -> None:
        self._stack = stack
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._shop)
        self.answers: list[tuple[float, str]] = []

    def __enter__(self) -> Customer:
        self._thread.start()
        eventually(lambda: len(self.answers) > 20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def failed(self) -> list[str]:
        """What was no page of the newest version."""
        return [outcome for _, outcome in self.answers if outcome != "1.1.0"]

    def wait_for(self, more: int) -> None:
        """Until so many more requests were answered."""
        wanted = len(self.answers) + more
        eventually(lambda: len(self.answers) >= wanted)

    def _shop(self) -> None:
        with httpx.Client(base_url=self._stack.app, trust_env=False, timeout=10.0) as client:
            while not self._stop.wait(0.005):
                try:
                    answer = client.get("/")
                    is_new = answer.status_code == 200 and "hackable 1.1.0" in answer.text
                    outcome = "1.1.0" if is_new else f"status {answer.status_code}"
                except httpx.HTTPError as problem:
                    outcome = repr(problem)
                self.answers.append((time.monotonic(), outcome))
