"""What every route takes as a parameter: the services, who asks, the clock, and Vamp's `validate_only`."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Query
from starlette.requests import Request

from divertor.api.services import Services


def utc_now() -> datetime:
    return datetime.now(UTC)


def random_id() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class World:
    """What the API is made of: the services, the time of day, and where new ids come from."""

    services: Services
    now: Callable[[], datetime]
    new_id: Callable[[], str]


async def _world(request: Request) -> World:
    world = request.app.state.world
    assert isinstance(world, World)
    return world


async def _services(request: Request) -> Services:
    return (await _world(request)).services


async def _by(request: Request) -> str:
    """Whose token it is; the guard has let nobody else pass."""
    return str(request.state.by)


Api = Annotated[Services, Depends(_services)]
Surroundings = Annotated[World, Depends(_world)]
By = Annotated[str, Depends(_by)]
ValidateOnly = Annotated[bool, Query(description="Check the request, and answer as if; change nothing.")]
