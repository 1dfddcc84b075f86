"""Deployments as they are kept: the JSON of `rendering`, read back without anything that runs already."""

from __future__ import annotations

from typing import Any

from divertor.errors import InputError, Position
from divertor.model.deploying import deploy
from divertor.model.deployments import Deployment
from divertor.model.reading import blueprint_from_json
from divertor.model.rendering import deployment_to_json
from divertor.model.updating import deployment_from_json

#: What only a running system knows: it is not kept.
_RUNTIME = ("status", "instances")


def deployment_to_stored(deployment: Deployment) -> dict[str, Any]:
    """What `deployment_from_stored` reads back to an equal deployment, instances and statuses aside."""
    data = deployment_to_json(deployment)
    for cluster in data["clusters"].values():
        # The old names say the same as the new ones, for the benefit of old clients.
        del cluster["routing"]
        cluster["services"] = [
            {name: value for name, value in service.items() if name not in _RUNTIME}
            for service in cluster["services"]
        ]
    return data


def deployment_from_stored(data: Any, source: str = "stored deployment") -> Deployment:
    """The deployment that was stored.

    :raises InputError: it is none: it was written by something else, or damaged.
    """
    try:
        clusters = {name: {"services": cluster["services"]} for name, cluster in data["clusters"].items()}
        bare = deploy(blueprint_from_json({"name": data["name"], "clusters": clusters}, source), data["name"])
    except (KeyError, TypeError, AttributeError) as problem:
        raise InputError(f"not a stored deployment: {problem}", Position(source)) from problem
    return deployment_from_json(data, bare, source)
