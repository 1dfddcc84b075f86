"""The web server's settings, in one place: what suits an API on loopback with long-lived event streams."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from divertor.api.connections import Connection, Places, places
from divertor.layout import API_PORT

#: Seconds that open event streams may delay the end of the process.
GRACE = 1


class Server(uvicorn.Server):
    """One that leaves signals alone: whoever runs it ends it (`should_exit`) together with the rest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server(
    app: ASGIApp, host: str = "127.0.0.1", port: int = API_PORT, room: Places | None = None
) -> uvicorn.Server:
    """A server to be run with `await server.serve()` in the caller's event loop.

    `room` says how many connections it holds and how patient it is.
    """
    room = room or Places(places())
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=cast(Any, partial(Connection, room)),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="off",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE,
        limit_concurrency=room.most + 1,
        h11_max_incomplete_event_size=64 * 1024,
    )
    return Server(config)
