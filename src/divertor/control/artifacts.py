"""Blueprints, breeds, scales and conditions by name: the library that references mean."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from divertor.bus import State
from divertor.control.audit import archive_event
from divertor.errors import NotFoundError
from divertor.model.artifacts import Artifact, Library
from divertor.model.events import Event
from divertor.model.reading import read_artifacts
from divertor.model.rendering import artifact_to_json

KINDS = ("blueprints", "breeds", "scales", "conditions")

Publish = Callable[[list[Event]], Awaitable[None]]


class Artifacts:
    """The stored artifacts. Every change is an event with who and what."""

    def __init__(self, state: State, publish: Publish, wall: Callable[[], datetime]) -> None:
        self._state = state
        self._publish = publish
        self._wall = wall

    async def list(self, kind: str) -> list[Artifact]:
        """All of a kind, by name.

        :raises NotFoundError: there is no such kind.
        :raises UnavailableError: the broker does not answer.
        """
        _check(kind)
        entries = await self._state.list(kind)
        return [_read(entries[name].value) for name in sorted(entries)]

    async def get(self, kind: str, name: str) -> Artifact:
        """One artifact.

        :raises NotFoundError: there is none.
        :raises UnavailableError: the broker does not answer.
        """
        _check(kind)
        entry = await self._state.get(kind, name)
        if entry is None:
            raise NotFoundError(f"no {kind.removesuffix('s')} {name!r}")
        return _read(entry.value)

    async def put(self, artifact: Artifact, by: str, *, validate_only: bool = False) -> bool:
        """Stores it; answers whether it is new.

        :raises NotFoundError: there is no such kind.
        :raises UnavailableError: the broker does not answer.
        """
        _check(artifact.kind)
        known = await self._state.get(artifact.kind, artifact.name)
        if not validate_only:
            value = artifact_to_json(artifact)
            await self._state.put(artifact.kind, artifact.name, value)
            verb = "create" if known is None else "update"
            await self._publish([archive_event(self._wall(), artifact.kind, artifact.name, verb, by, value)])
        return known is None

    async def delete(self, kind: str, name: str, by: str, *, validate_only: bool = False) -> bool:
        """Removes it; answers whether it was there.

        :raises NotFoundError: there is no such kind.
        :raises UnavailableError: the broker does not answer.
        """
        _check(kind)
        if validate_only:
            return await self._state.get(kind, name) is not None
        found = await self._state.delete(kind, name)
        if found:
            await self._publish([archive_event(self._wall(), kind, name, "delete", by, None)])
        return found

    async def library(self) -> Library:
        """Everything references can mean.

        :raises UnavailableError: the broker does not answer.
        """
        found = [artifact for kind in KINDS for artifact in await self.list(kind)]
        return {(artifact.kind, artifact.name): artifact for artifact in found}


def _check(kind: str) -> None:
    if kind not in KINDS:
        raise NotFoundError(f"no kind {kind!r}: there are {', '.join(KINDS)}")


def _read(value: Any) -> Artifact:
    (artifact,) = read_artifacts(json.dumps(value), "stored artifact")
    return artifact
