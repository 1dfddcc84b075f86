"""Errors that a framework turns into a page by itself are told; answers by exception are not."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bottle  # type: ignore[import-untyped, unused-ignore]
import falcon
import falcon.asgi
import flask
import httpx
import litestar
import pytest
import quart
import starlette.applications
import starlette.routing
from litestar.exceptions import NotFoundException

import divertor_sensor
from divertor_sensor import DivertorASGI, DivertorWSGI
from divertor_sensor.reports.detection import Failure, Report
from divertor_sensor.sensor import Sensor

with warnings.catch_warnings():  # Pyramid imports the standard library's cgi, and pkg_resources
    warnings.simplefilter("ignore")
    from pyramid.config import Configurator  # type: ignore[import-untyped, unused-ignore]
    from pyramid.httpexceptions import HTTPNotFound  # type: ignore[import-untyped, unused-ignore]
    from pyramid.response import Response  # type: ignore[import-untyped, unused-ignore]

pytestmark = pytest.mark.usefixtures("hooked")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Their own logs of the errors are none of this."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


def broken(*_: Any, **__: Any) -> Any:
    raise ValueError("no such thing")


async def broken_later(*_: Any, **__: Any) -> Any:
    raise ValueError("no such thing")


def flask_app() -> Any:
    app = flask.Flask("shop")
    app.add_url_rule("/broken", view_func=broken)
    return app


def bottle_app() -> Any:
    app = bottle.Bottle()
    app.route("/broken")(broken)
    return app


def falcon_app() -> Any:
    class Broken:
        on_get = staticmethod(broken)

    app = falcon.App()
    app.add_route("/broken", Broken())
    return app


def pyramid_app() -> Any:
    """With views of its own for exceptions."""
    with Configurator() as config:
        config.add_route("broken", "/broken")
        config.add_view(lambda request: broken(), route_name="broken")
        config.add_exception_view(lambda problem, request: Response(status=500), context=ValueError)
        config.add_exception_view(lambda problem, request: Response(status=404), context=HTTPNotFound)
        return config.make_wsgi_app()


def quart_app() -> Any:
    app = quart.Quart("shop")
    app.add_url_rule("/broken", view_func=broken_later)
    return app


def falcon_asgi_app() -> Any:
    class Broken:
        on_get = staticmethod(broken_later)

    app = falcon.asgi.App()
    app.add_route("/broken", Broken())
    return app


def litestar_app() -> Any:
    @litestar.get("/broken")
    async def view() -> None:
        raise ValueError("no such thing")

    @litestar.get("/missing")
    async def missing() -> None:
        raise NotFoundException

    # Litestar would make the whole process log, and other tests with it.
    return litestar.Litestar([view, missing], logging_config=None)


def starlette_app() -> Any:
    return starlette.applications.Starlette(routes=[starlette.routing.Route("/broken", broken_later)])


WSGI = {"flask": flask_app, "bottle": bottle_app, "falcon": falcon_app, "pyramid": pyramid_app}
ASGI = {
    "quart": quart_app,
    "falcon_asgi": falcon_asgi_app,
    "litestar": litestar_app,
    "starlette": starlette_app,
}


def status_of(name: str, path: str) -> int:
    if name in WSGI:
        return _wsgi(WSGI[name](), path)
    return asyncio.run(_asgi(ASGI[name](), path))


def _wsgi(app: Any, path: str) -> int:
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "SERVER_NAME": "x",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "HTTP_HOST": "x",
    }
    statuses: list[str] = []
    answer = app(environ, lambda status, headers, exc_info=None: statuses.append(status))
    b"".join(answer)
    getattr(answer, "close", lambda: None)()
    return int(statuses[0][:3])


async def _asgi(app: Any, path: str) -> int:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        return (await client.get(path)).status_code


@pytest.mark.parametrize("name", [*WSGI, *ASGI])
def test_an_error_is_told_once(name: str, reported: list[Report]) -> None:
    assert status_of(name, "/broken") == 500
    failures = [each for each in reported if isinstance(each, Failure)]
    assert [(each.type, each.message) for each in failures] == [("ValueError", "no such thing")]
    functions = [frame.function.rpartition(".")[2] for frame in failures[0].frames]
    assert functions[0] in ("broken", "broken_later", "view")


@pytest.mark.parametrize("name", [*WSGI, *ASGI])
def test_an_answer_by_exception_is_no_error(name: str, reported: list[Report]) -> None:
    assert status_of(name, "/missing") == 404
    assert not any(isinstance(each, Failure) for each in reported)


def test_how_many_were_tried() -> None:
    assert len(WSGI) + len(ASGI) == 8


def test_an_app_with_two_layers_of_guard_tells_once(hooked: Sensor, reported: list[Report]) -> None:
    assert _wsgi(DivertorWSGI(flask_app(), hooked), "/broken") == 500
    assert asyncio.run(_asgi(DivertorASGI(quart_app(), hooked), "/broken")) == 500
    assert len([each for each in reported if isinstance(each, Failure)]) == 2


DJANGO = """
import asyncio, logging
import divertor_sensor
from divertor_sensor import Settings, runtime
divertor_sensor.instrument(Settings(strict=True))
reported = []
runtime.sensor().reporter = type("Kept", (), {"submit": lambda self, report: reported.append(report)})()
import django, httpx
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.urls import path

def broken(request):
    raise ValueError("no such thing")

async def broken_later(request):
    raise KeyError("nor this")

settings.configure(SECRET_KEY="k", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
django.setup()
logging.disable()
urlpatterns = [path("broken", broken), path("broken_later", broken_later)]
with httpx.Client(transport=httpx.WSGITransport(get_wsgi_application()), base_url="http://x") as client:
    print(client.get("/broken").status_code, client.get("/missing").status_code)

async def later():
    transport = httpx.ASGITransport(get_asgi_application())
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        print((await client.get("/broken_later")).status_code, (await client.get("/missing")).status_code)

asyncio.run(later())
failures = [each for each in reported if hasattr(each, "fingerprint")]
print([(each.type, each.frames[0].function) for each in failures])
"""


def test_django_tells_its_errors_too(tmp_path: Path) -> None:
    """In a process of its own: there is one Django in each."""
    (tmp_path / "shop.py").write_text(DJANGO)
    environ = {**os.environ, "PYTHONPATH": str(Path(divertor_sensor.__file__).parents[1])}
    command = [sys.executable, "-W", "error", str(tmp_path / "shop.py")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    told = "[('ValueError', 'broken'), ('KeyError', 'broken_later')]"
    assert (done.stdout.splitlines(), done.stderr) == (["500 404", "500 404", told], "")
