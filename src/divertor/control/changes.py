"""What changed between two versions of a gateway, in words. Pure."""

from __future__ import annotations

from divertor.conditions import to_text
from divertor.model.artifacts import Gateway, Route


def route_changes(before: Gateway | None, after: Gateway) -> list[str]:
    """Route by route, what `after` does differently; empty when they route alike."""
    if before is None:
        return [f"{_short(route)} gets {route.weight or 0}%" for route in after.routes]
    known = {route.path: route for route in before.routes}
    changes = [text for route in after.routes for text in _differences(known.pop(route.path, None), route)]
    changes += [f"{_short(route)} is gone" for route in known.values()]
    if before.sticky is not after.sticky:
        changes.append(f"sticky {before.sticky} → {after.sticky}")
    return changes


def _differences(before: Route | None, after: Route) -> list[str]:
    name = _short(after)
    if before is None:
        return [f"{name} added with {after.weight or 0}%"]
    changes = []
    if before.weight != after.weight:
        changes.append(f"{name} {before.weight or 0}% → {after.weight or 0}%")
    if before.condition != after.condition:
        text = "no condition" if after.condition is None else f"condition {to_text(after.condition)}"
        changes.append(f"{name} {text}")
    if before.condition_strength != after.condition_strength:
        changes.append(
            f"{name} condition strength {before.condition_strength}% → {after.condition_strength}%"
        )
    return changes


def _short(route: Route) -> str:
    """A version by its name, a cluster's port without the deployment before it."""
    parts = route.path.split("/")
    return parts[2] if len(parts) == 4 else "/".join(parts[1:]) if len(parts) == 3 else route.path
