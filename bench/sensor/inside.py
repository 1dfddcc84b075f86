"""One process without a server: what single calls cost within a request. Runs in the rivals' environment.

The Flask app is called directly, as its server would, with a browser's headers and a value that differs from
request to request. Prints one JSON object of microseconds per call, each the median over the requests.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter_ns
from typing import Any

from bench.sensor import apps
from bench.sensor.browser import COOKIE, HEADERS

REQUESTS = 1500
_WARM = 200
_REPEATS = 20

Start = Callable[..., None]


def main() -> int:
    app = apps.flask()
    users = apps.database()
    spent: list[float] = []
    _add_routes(app, users, spent)
    figures = {"hello": _requests(app, "/hello", "name=jane+doe+%d")}
    for route in ("bound_first", "bound_again", "concat_first"):
        figures[route] = _timed(app, spent, f"/timed/{route}", "name=jane+doe+%d")
    figures["attack"] = _timed(app, spent, "/timed/concat_first", "name=x%%27+OR+%%27%d%%27=%%271")
    if apps.SENSOR == "divertor":
        with _diverting():
            attack = "name=x%%27+OR+%%27%d%%27=%%271"
            figures["decision"] = _timed(app, spent, "/timed/concat_first", attack)
    json.dump({name: round(value, 2) for name, value in figures.items()}, sys.stdout)
    return 0


def _add_routes(app: Any, users: Any, spent: list[float]) -> None:
    from flask import request

    def timed(what: str) -> str:
        name = request.args["name"]
        begun = perf_counter_ns()
        try:
            if what == "concat_first":
                apps.find_concatenated(users, name)
            else:
                apps.find_bound(users, name)
        finally:
            first = perf_counter_ns() - begun
            spent.append(first / 1000)
        if what == "bound_again":
            begun = perf_counter_ns()
            for _ in range(_REPEATS):
                apps.find_bound(users, name)
            spent[-1] = (perf_counter_ns() - begun) / _REPEATS / 1000
        return "done"

    app.add_url_rule("/timed/<what>", "timed", timed)


def _timed(app: Any, spent: list[float], path: str, query: str) -> float:
    spent.clear()
    _requests(app, path, query)
    return median(spent[_WARM:])


def _requests(app: Any, path: str, query: str) -> float:
    """Microseconds per whole call of the app, the median."""
    taken = []
    for n in range(REQUESTS):
        environ = _environ(path, query % n)
        begun = perf_counter_ns()
        b"".join(app(environ, _start))
        taken.append((perf_counter_ns() - begun) / 1000)
    return median(taken[_WARM:])


def _start(status: str, headers: Any, exc_info: Any = None) -> None:
    """What a server does with the head of a response is not measured."""


def _environ(path: str, query: str) -> dict[str, Any]:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.errors": sys.stderr,
        "HTTP_HOST": "shop.example",
        "HTTP_COOKIE": COOKIE,
    }
    for name, value in HEADERS.items():
        environ["HTTP_" + name.upper().replace("-", "_")] = value
    return environ


@contextmanager
def _diverting() -> Iterator[None]:
    """Divertor's sensor in the mode in which it stops attacks, as behind a gateway."""
    from dataclasses import replace

    from divertor_sensor import runtime
    from divertor_sensor.settings import Mode

    before = runtime.sensor().settings
    runtime.configure(replace(before, mode=Mode.DIVERT, divert_token="of-the-benchmark"))
    yield
    runtime.configure(before)


if __name__ == "__main__":
    sys.exit(main())
