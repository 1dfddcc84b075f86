"""Where servers take their app: what they get calls the same app, looks the same, and is guarded once."""

from __future__ import annotations

import inspect
import io
import logging
from types import SimpleNamespace
from typing import Any
from wsgiref.handlers import SimpleHandler

import granian.wsgi
import gunicorn.app.base  # type: ignore[import-untyped, unused-ignore]
import hypercorn.app_wrappers
import pytest
import uvicorn
import waitress.server  # type: ignore[import-untyped, unused-ignore]
import werkzeug.serving
from tornado.wsgi import WSGIContainer

from divertor_sensor import DivertorASGI, DivertorWSGI, context, protect
from divertor_sensor.frameworks.hooking import Guards, after
from divertor_sensor.sensor import Sensor

pytestmark = pytest.mark.usefixtures("hooked")


class App:
    """A WSGI app that says whether its request is followed."""

    name = "shop"

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"yes" if context.current.get() else b"no"]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    scope["found"].append(context.current.get() is not None)


def call(app: Any) -> bytes:
    return b"".join(app({"REMOTE_ADDR": "127.0.0.1"}, lambda status, headers, exc_info=None: None))


def by_gunicorn(worker: str) -> Any:
    class Site(gunicorn.app.base.BaseApplication):  # type: ignore[misc, unused-ignore]
        def load_config(self) -> None:
            self.cfg.set("worker_class", worker)

        def load(self) -> Any:
            return App()

    return Site().wsgi()


def by_waitress(port: int) -> Any:
    server = waitress.server.create_server(
        App(), host="127.0.0.1", port=0, clear_untrusted_proxy_headers=True
    )
    server.close()
    server.task_dispatcher.shutdown()
    return server.application


def by_werkzeug(port: int) -> Any:
    server = werkzeug.serving.make_server("127.0.0.1", port, App())
    server.server_close()
    return server.app


SERVERS: dict[str, Any] = {
    "gunicorn sync": lambda port: by_gunicorn("sync"),
    "gunicorn gthread": lambda port: by_gunicorn("gunicorn.workers.gthread.ThreadWorker"),
    "hypercorn": lambda port: hypercorn.app_wrappers.WSGIWrapper(App(), 100).app,
    "waitress": by_waitress,
    "werkzeug": by_werkzeug,
    "tornado": lambda port: WSGIContainer(App()).wsgi_application,
}


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_calls_the_app_under_guard(name: str, port: int) -> None:
    app = SERVERS[name](port)
    assert call(app) == b"yes"


def test_wsgiref_calls_the_app_under_guard() -> None:
    out = io.BytesIO()
    environ = {"SERVER_PROTOCOL": "HTTP/1.0"}
    SimpleHandler(io.BytesIO(), out, io.StringIO(), environ).run(App())
    assert out.getvalue().endswith(b"yes")


def test_granian_calls_the_app_under_guard() -> None:
    told: list[Any] = []
    server = SimpleNamespace(response_bytes=lambda *given: told.append(given[2]))
    granian.wsgi._callback_wrapper(App(), {})(server, {"PATH_INFO": "/"})
    assert told == [b"yes"]


def test_uvicorn_calls_the_app_under_guard() -> None:
    found: list[bool] = []
    config = uvicorn.Config(asgi)
    config.load()
    scope = {"type": "http", "headers": [], "client": None, "found": found}
    work = config.loaded_app(scope, None, None)
    with pytest.raises(StopIteration):
        work.send(None)
    assert found == [True]


def test_a_worker_of_another_project_gets_the_app_as_it_is() -> None:
    assert type(by_gunicorn("tornado")) is App and call(by_gunicorn("tornado")) == b"no"


def test_what_a_server_gets_looks_like_the_app(hooked: Sensor) -> None:
    guarded = Guards(lambda: hooked).over_asgi(asgi)
    assert inspect.iscoroutinefunction(guarded) and guarded.__name__ == "asgi"
    assert inspect.signature(guarded) == inspect.signature(asgi)
    other = Guards(lambda: hooked).over_wsgi(App())
    assert isinstance(other, App) and other.name == "shop"


def test_two_layers_make_one_request(hooked: Sensor) -> None:
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(context.current.get())
        return []

    def outer(environ: Any, start_response: Any) -> Any:
        seen.append(context.current.get())
        return guards.over_wsgi(DivertorWSGI(app, hooked))(environ, start_response)

    guards = Guards(lambda: hooked)
    guards.over_wsgi(outer)({}, lambda *_: None)
    assert seen[0] is seen[1] is not None


def test_what_is_no_app_is_left_alone(hooked: Sensor) -> None:
    assert Guards(lambda: hooked).over_wsgi(None) is None


def test_a_server_that_is_not_as_expected_is_not_disturbed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert after("app", str)(lambda: "made", SimpleNamespace(), (), {}) == "made"
    assert "is not guarded there" in caplog.text


def test_a_wrong_call_is_the_apps_own_error(hooked: Sensor) -> None:
    with pytest.raises(TypeError, match="scope"):
        Guards(lambda: hooked).over_asgi(asgi)()


def test_protect_knows_what_is_hooked(hooked: Sensor) -> None:
    from aiohttp import web
    from tornado.web import Application

    for app in (web.Application(), Application()):
        assert protect(app) is app
    assert isinstance(protect(asgi), DivertorASGI) and isinstance(protect(App()), DivertorWSGI)
