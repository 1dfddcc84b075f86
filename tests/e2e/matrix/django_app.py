"""Django, under WSGI (`app`) and ASGI (`async_app`)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import django  # type: ignore[import-untyped, unused-ignore]
from asgiref.sync import sync_to_async
from django.conf import settings  # type: ignore[import-untyped, unused-ignore]
from django.core.asgi import get_asgi_application  # type: ignore[import-untyped, unused-ignore]
from django.core.wsgi import get_wsgi_application  # type: ignore[import-untyped, unused-ignore]
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse  # type: ignore[import-untyped, unused-ignore]
from django.urls import path  # type: ignore[import-untyped, unused-ignore]

from .shop import find, find_in_pool, pieces

settings.configure(SECRET_KEY="k", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=[])
django.setup()


def look_up(request: HttpRequest) -> HttpResponse:
    return HttpResponse(find(request.POST["name"]))


def in_pool(request: HttpRequest) -> HttpResponse:
    return HttpResponse(find_in_pool(request.GET["name"]))


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(pieces(request.GET["name"]))


async def in_pool_later(request: HttpRequest) -> HttpResponse:
    return HttpResponse(await sync_to_async(find)(request.GET["name"]))


async def stream_later(request: HttpRequest) -> StreamingHttpResponse:
    async def sent() -> AsyncIterator[bytes]:
        for piece in pieces(request.GET["name"]):
            yield piece

    return StreamingHttpResponse(sent())


urlpatterns = [
    path("find", look_up),
    path("pool", in_pool),
    path("stream", stream),
    path("async/pool", in_pool_later),
    path("async/stream", stream_later),
]
app = get_wsgi_application()
async_app = get_asgi_application()
