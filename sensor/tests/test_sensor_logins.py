"""Users told by Django's authentication and Flask-Login, with no query more than the app makes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import flask
import flask_login  # type: ignore[import-untyped, unused-ignore]
import pytest

import divertor_sensor
from divertor_sensor import context

SOURCE = str(Path(divertor_sensor.__file__).parents[1])

pytestmark = pytest.mark.usefixtures("hooked")


class User(flask_login.UserMixin):  # type: ignore[misc, unused-ignore]
    def __init__(self, id: str) -> None:
        self.id = id


def told() -> str:
    request = context.current.get()
    return "" if request is None else request.user


@pytest.fixture
def shop() -> Any:
    app = flask.Flask("shop")
    app.secret_key = "k"
    manager = flask_login.LoginManager(app)
    manager.user_loader(User)

    @app.get("/login/<name>")
    def login(name: str) -> str:
        flask_login.login_user(User(name))
        return told()

    @app.get("/whoever")
    def whoever() -> str:
        return told()

    @app.get("/me")
    def me() -> str:
        return f"{flask_login.current_user.is_authenticated} {told()}"

    @app.get("/logout")
    def logout() -> str:
        flask_login.logout_user()
        return told()

    return app.test_client()


def test_who_logs_in_with_flask_login_is_told(shop: Any) -> None:
    assert shop.get("/login/alice").text == "alice"


def test_who_is_logged_in_is_told_when_the_app_asks(shop: Any) -> None:
    shop.get("/login/alice")
    assert shop.get("/whoever").text == "" and shop.get("/me").text == "True alice"


def test_nobody_is_told_for_a_stranger(shop: Any) -> None:
    assert shop.get("/me").text == "False "


def test_who_logs_out_was_the_user_of_that_request(shop: Any) -> None:
    shop.get("/login/alice")
    assert shop.get("/logout").text == "alice" and shop.get("/me").text == "False "


DJANGO = """
import asyncio, json, sys
import divertor_sensor
from divertor_sensor import Mode, Settings, context
divertor_sensor.instrument(Settings(mode=Mode.BLOCK, strict=True))
import django
from django.conf import settings
from django.urls import path
from django.http import HttpResponse

def told():
    return context.current.get().user

def login(request):
    from django.contrib import auth
    from django.contrib.auth.models import User
    auth.login(request, User.objects.get(pk=7))
    return HttpResponse(told())

def whoever(request):
    return HttpResponse(told())

def me(request):
    return HttpResponse(f"{request.user.is_authenticated} {told()}")

async def me_later(request):
    user = await request.auser()
    return HttpResponse(f"{user.is_authenticated} {told()}")

settings.configure(
    SECRET_KEY="k", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
)
django.setup()
urlpatterns = [path("login", login), path("whoever", whoever), path("me", me), path("me_later", me_later)]

from django.core.management import call_command
from django.db import connection
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
import httpx
from django.test.utils import CaptureQueriesContext
call_command("migrate", verbosity=0)
from django.contrib.auth.models import User
User.objects.create_user("alice", id=7)
client = httpx.Client(transport=httpx.WSGITransport(get_wsgi_application()), base_url="http://x")

def ask(path):
    with CaptureQueriesContext(connection) as queries:
        text = client.get(path).text
    return [text, len(queries)]

answers = [ask("/me"), ask("/login"), ask("/whoever"), ask("/me")]

async def later():
    transport = httpx.ASGITransport(get_asgi_application())
    async with httpx.AsyncClient(transport=transport, base_url="http://x", cookies=client.cookies) as other:
        return (await other.get("/me_later")).text

print(json.dumps([*answers, asyncio.run(later())]))
"""


def test_django_tells_its_user_without_a_query_of_its_own(tmp_path: Path) -> None:
    """One query for the login (its session is a cookie), none where nobody asks, one where the app does."""
    (tmp_path / "shop.py").write_text(DJANGO)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(tmp_path / "shop.py"), str(tmp_path / "shop.db")],
        env={**os.environ, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    expected = '[["False ", 0], ["7", 2], ["", 0], ["True 7", 1], "True 7"]'
    assert done.stdout.strip() == expected
