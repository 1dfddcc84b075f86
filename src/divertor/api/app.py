"""The API as an ASGI application: routes, description and guard, put together.

Nothing is started here: `divertor.plane` makes the services and serves the application.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from fastapi import FastAPI
from starlette.routing import Route

from divertor import __version__
from divertor.api import manual, problems, telemetry
from divertor.api.auth import Auth
from divertor.api.context import World, random_id, utc_now
from divertor.api.describe import complete
from divertor.api.guard import Guard
from divertor.api.routes import (
    about,
    alarms,
    alerts,
    artifacts,
    deployments,
    events,
    gateways,
    isolations,
    limits,
    metrics,
    recordings,
    rules,
)
from divertor.api.services import Services
from divertor.api.stream import Streams
from divertor.api.telemetry import Telemetry

PREFIX = "/api/v1"
_ABOUT = """\
Ship every release to every customer; divert the attacker, within the same request, to an audited version.

Paths, documents and status codes are Vamp's where Vamp has them. Documents may be sent as YAML or JSON, by
`Content-Type`, and are answered as JSON, or as YAML by `Accept`. Lists come in pages (`page`, `per_page`),
with `X-Total-Count` and `Link`. Everything but `/api/v1/health` needs the header
`Authorization: Bearer TOKEN`.
"""
_TAGS = [
    {"name": "deployments", "description": "What runs."},
    {"name": "gateways", "description": "Who gets which version."},
    {"name": "metrics", "description": "How much, how fast, how well, by gateway, route and version."},
    {"name": "isolations", "description": "Who is being diverted, where to, why, and for how long."},
    {"name": "recordings", "description": "What the isolated asked and got."},
    {"name": "detections", "description": "What the sensors found: the attack, and the vulnerable line."},
    {"name": "events", "description": "Everything that happened, and what happens now."},
    {"name": "rules", "description": "ElastAlert rule files, judging events as they arrive."},
    {
        "name": "alarms",
        "description": "What rules found, who looks after it, what people are not told, and what waits.",
    },
    {"name": "blueprints", "description": "What could run."},
    {"name": "breeds", "description": "One version of one service."},
    {"name": "scales", "description": "Sizes of services, by name."},
    {"name": "conditions", "description": "Who takes a route, by name."},
    {"name": "documents", "description": "Several documents of any kind at once."},
    {"name": "telemetry", "description": "OpenTelemetry."},
    {"name": "status", "description": "How Divertor itself is."},
]


def create_app(
    services: Services,
    auth: Auth,
    *,
    hosts: Iterable[str] = (),
    now: Callable[[], datetime] = utc_now,
    new_id: Callable[[], str] = random_id,
) -> FastAPI:
    """The application.

    `hosts` are names, beside loopback's, under which it may be asked. `now` is the time of day, UTC.
    """
    world = World(services, now, new_id)
    app = FastAPI(
        title="Divertor",
        version=__version__,
        description=_ABOUT,
        openapi_tags=_TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.world = world
    app.state.streams = Streams()
    # First in line: the way from a detection to the isolation.
    app.router.routes.insert(0, Route(telemetry.PATH, Telemetry(world).logs, methods=["POST"]))
    app.router.routes.extend(manual.routes())
    modules = (
        about,
        deployments,
        gateways,
        metrics,
        events,
        isolations,
        recordings,
        rules,
        limits,
        alarms,
        alerts,
    )
    for router in (*(module.router for module in modules), events.detections, *artifacts.routers):
        app.include_router(router, prefix=PREFIX)
    problems.install(app)
    app.add_middleware(Guard, auth=auth, hosts=tuple(hosts))
    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """Complete the generated description: the token, and the route that is not FastAPI's."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            description = generate()
            description["paths"][telemetry.PATH] = telemetry.description()
            complete(description)
            description["paths"][f"{PREFIX}/health"]["get"]["security"] = []
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
