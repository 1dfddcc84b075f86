"""The apps that are measured, under the sensor that `BENCH_SENSOR` names, in the rivals' environment.

One table of five rows in SQLite and three routes: one without a database, one query with a bound value, one
put together from pieces. Nothing of Divertor is imported but its sensor, and that only when it is the one
asked for.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Any

SENSOR = os.environ.get("BENCH_SENSOR", "none")
BOUND = "SELECT id, name, email FROM users WHERE name = ? ORDER BY id LIMIT 20"


def arm() -> None:
    """Start the sensor, before any framework is imported; ddtrace is started by its own command."""
    if SENSOR == "divertor":
        import divertor_sensor

        divertor_sensor.instrument()
    elif SENSOR == "zen":
        import aikido_zen  # type: ignore[import-untyped, import-not-found, unused-ignore]

        aikido_zen.protect()


def database() -> sqlite3.Connection:
    """A new database in memory, for one process."""
    made = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    made.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, email TEXT)")
    rows = [(f"user {n}", f"user{n}@shop.example") for n in range(5)]
    made.executemany("INSERT INTO users (name, email) VALUES (?, ?)", rows)
    return made


def find_bound(users: sqlite3.Connection, name: str) -> list[Any]:
    return users.execute(BOUND, (name,)).fetchall()


def find_concatenated(users: sqlite3.Connection, name: str) -> list[Any]:
    """The careless one."""
    query = "SELECT id, name, email FROM users WHERE name = '" + name + "' ORDER BY id LIMIT 20"
    return users.execute(query).fetchall()


def flask() -> Any:
    """A Flask app."""
    arm()
    from flask import Flask, request

    app = Flask("shop")
    users = database()

    @app.get("/")
    @app.get("/hello")
    def hello() -> str:
        return "hello"

    @app.get("/bound")
    def bound() -> str:
        return str(len(find_bound(users, request.args["name"])))

    @app.get("/concat")
    def concat() -> str:
        return str(len(find_concatenated(users, request.args["name"])))

    return app


def starlette() -> Any:
    """A Starlette app."""
    arm()
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    users = database()

    async def hello(request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    async def bound(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(find_bound(users, request.query_params["name"]))))

    async def concat(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(find_concatenated(users, request.query_params["name"]))))

    routes = [Route("/", hello), Route("/hello", hello), Route("/bound", bound), Route("/concat", concat)]
    return Starlette(routes=routes)
