"""Which framework runs under which server, and how it is started."""

from __future__ import annotations

import sys
import sysconfig
from dataclasses import dataclass

_GUNICORN = "-m gunicorn --no-control-socket --bind 127.0.0.1:{port} --worker-class"
#: How a server starts an app of its protocol; run by this Python.
WSGI = {
    "gunicorn_sync": f"{_GUNICORN} sync {{app}}",
    "gunicorn_gthread": f"{_GUNICORN} gthread --threads 2 {{app}}",
    "gunicorn_preload": f"{_GUNICORN} sync --preload {{app}}",
    "waitress": "-m waitress --listen=127.0.0.1:{port} {app}",
    "granian": "-m granian --interface wsgi --host 127.0.0.1 --port {port} {app}",
}
#: A framework only: it takes an app in a way of its own, where one without a framework is not seen.
_UWSGI = (
    f"{sysconfig.get_path('scripts')}/uwsgi --need-app --enable-threads --add-header=Connection:close "
    "--http-socket 127.0.0.1:{port} --module {app}"
)
_UVICORN = "-m uvicorn --host 127.0.0.1 --port {port}"
_HYPERCORN = "-m hypercorn --bind 127.0.0.1:{port}"
ASGI = {
    "uvicorn": f"{_UVICORN} {{app}}",
    "hypercorn": f"{_HYPERCORN} {{app}}",
    "granian": "-m granian --interface asgi --host 127.0.0.1 --port {port} {app}",
    "gunicorn_uvicorn": f"-W ignore::DeprecationWarning {_GUNICORN} uvicorn.workers.UvicornWorker {{app}}",
}
WSGI_APPS = {
    "flask": "flask_app:app",
    "django": "django_app:app",
    "falcon": "falcon_app:app",
    "bottle": "bottle_app:app",
    "pyramid": "pyramid_app:app",
    "plain": "plain_wsgi:app",
}
ASGI_APPS = {
    "starlette": "starlette_app:app",
    "fastapi": "fastapi_app:app",
    "quart": "quart_app:app",
    "django_asgi": "django_app:async_app",
    "falcon_asgi": "falcon_app:async_app",
    "litestar": "litestar_app:app",
    "plain_asgi": "plain_asgi:app",
}
#: Servers that are their framework's own, event loops where they matter, and servers for development.
OTHERS = {
    ("aiohttp", "own"): "-m aiohttp.web -H 127.0.0.1 -P {port} matrix.aiohttp_app:make",
    ("aiohttp", "gunicorn"): f"{_GUNICORN} aiohttp.GunicornWebWorker matrix.aiohttp_app:made",
    ("aiohttp", "gunicorn_uvloop"): f"{_GUNICORN} aiohttp.GunicornUVLoopWebWorker matrix.aiohttp_app:made",
    ("tornado", "own"): "-m matrix.tornado_app {port}",
    ("plain_asgi", "uvicorn_asyncio"): ASGI["uvicorn"].replace(
        "{app}", "--loop asyncio matrix.plain_asgi:app"
    ),
    ("plain_asgi", "hypercorn_uvloop"): ASGI["hypercorn"].replace("{app}", "-k uvloop matrix.plain_asgi:app"),
    ("plain_asgi", "gunicorn_asgi"): f"{_GUNICORN} asgi matrix.plain_asgi:app",
    ("flask", "hypercorn"): f"{_HYPERCORN} wsgi:matrix.flask_app:app",
    ("plain", "hypercorn"): f"{_HYPERCORN} wsgi:matrix.plain_wsgi:app",
    ("flask", "uwsgi"): _UWSGI.format(port="{port}", app="matrix.flask_app:app"),
    ("django", "uwsgi"): _UWSGI.format(port="{port}", app="matrix.django_app:app"),
    ("pyramid", "uwsgi"): _UWSGI.format(port="{port}", app="matrix.pyramid_app:app")
    + " --master --processes 2",
    ("plain", "wsgiref"): "-m matrix.by_hand wsgiref {port}",
    ("plain", "werkzeug"): "-m matrix.by_hand werkzeug {port}",
}


@dataclass(frozen=True, slots=True)
class Combination:
    """A framework under a server; `command` has a `{port}`."""

    framework: str
    server: str
    command: str

    @property
    def name(self) -> str:
        return f"{self.framework}-{self.server}"

    @property
    def prefix(self) -> str:
        """Before the paths of what Django does in another way under ASGI."""
        return "/async" if self.framework == "django_asgi" else ""

    def arguments(self, port: int) -> list[str]:
        return [sys.executable, *self.command.format(port=port).split()]


def _product(apps: dict[str, str], servers: dict[str, str]) -> list[Combination]:
    return [
        Combination(framework, server, command.format(port="{port}", app=f"matrix.{app}"))
        for framework, app in apps.items()
        for server, command in servers.items()
    ]


COMBINATIONS = (
    *_product(WSGI_APPS, WSGI),
    *_product(ASGI_APPS, ASGI),
    *(Combination(framework, server, command) for (framework, server), command in OTHERS.items()),
)
