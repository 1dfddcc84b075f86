"""How many ends a gate's tree of routes has, counted before it is built.

A draw lists all routes anew, and each route may lead to further draws: chains multiply. What is counted here
is what `routes` makes, end by end; nothing is built. Pure.
"""

from __future__ import annotations

from divertor.envoy.plan import Gate, Route


def ends(gate: Gate, rewrites: int = 0) -> int:
    """The routes of Envoy's that `gate` becomes; `rewrites` of outer routes are asked at each of them."""
    counted = [(route, _behind(route, rewrites)) for route in gate.routes]
    plain = not rewrites and all(route.is_plain for route in gate.routes)
    ordinary = _draw(gate, counted, None, plain)
    for route, behind in counted:
        if route.predicate is not None:
            ordinary += behind if route.strength == 100 else _draw(gate, counted, route, plain)
    if gate.isolated is None:
        return ordinary
    # Everybody, and whoever is watched; the diverted, and the isolated; who is never moved, and refused.
    found = 2 * ordinary + 2 * (1 + rewrites)
    return found if gate.isolated.allow is None else found + ordinary + 1


def _behind(route: Route, rewrites: int) -> int:
    met = rewrites + len(route.rewrites)
    return ends(route.to, met) if isinstance(route.to, Gate) else 1 + met


def _draw(gate: Gate, counted: list[tuple[Route, int]], matched: Route | None, plain: bool) -> int:
    """A draw by weight, after that of a strength, after earlier draws."""
    taken = [each for each in counted if each[0] is matched and matched.strength]
    weighted = [each for each in counted if each[0].weight]
    kept = [] if gate.sticky == "none" else [each for each in counted if each in weighted or each in taken]
    if plain:
        return len(kept) + len(taken) + 1
    return sum(behind for _, behind in (*kept, *taken)) + (sum(behind for _, behind in weighted) or 1)
