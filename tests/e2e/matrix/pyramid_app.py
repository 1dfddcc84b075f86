"""Pyramid."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator  # type: ignore[import-untyped, unused-ignore]
from pyramid.response import Response  # type: ignore[import-untyped, unused-ignore]

from .shop import find, find_in_pool, pieces


def look_up(request: Any) -> Any:
    return Response(find(request.POST["name"]))


def in_pool(request: Any) -> Any:
    return Response(find_in_pool(request.GET["name"]))


def stream(request: Any) -> Any:
    return Response(app_iter=pieces(request.GET["name"]))


with Configurator() as config:
    for name, view in (("find", look_up), ("pool", in_pool), ("stream", stream)):
        config.add_route(name, f"/{name}")
        config.add_view(view, route_name=name)
    app = config.make_wsgi_app()
