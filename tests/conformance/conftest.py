"""The gateway's fixtures, and versions to put behind it for as long as a module or a test runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.gateway.conftest import App, Gateway, apps, gateway, port
from tests.gateway.worlds import World

__all__ = ["apps", "gateway", "port", "versions"]


@contextmanager
def versions(gateway: Gateway) -> Iterator[World]:
    """A world whose apps end with the block."""
    made: list[App] = []

    def make(name: str) -> App:
        made.append(App(name))
        return made[-1]

    try:
        yield World(gateway, make)
    finally:
        for app in made:
            app.close()
