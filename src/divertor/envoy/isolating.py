"""The isolation in Envoy's resources: who decides, the filter, its settings, the attackers' routes.

The decision is native code, asked once for each request as the routes are chosen. It answers with a word:

    divert    the sensor hands the request over (it carries the token)   → the audited version
    isolated  the client is isolated                                     → the audited version
    watch     could be an attack that cannot be replayed, or a client that is only isolated in simulation
              → as everybody, but the filter looks on
    (nothing) → as everybody; the filter is not even there

The filter itself, which notes, follows sessions and records, is part of a request's chain only on the routes
that ask for it: ordinary customers pay for the decision alone. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from divertor.envoy.actions import Trail
from divertor.envoy.names import (
    FILTER,
    ORIGINAL_HEADER,
    TOKEN_HEADER,
    TYPE,
    Resource,
    action,
    header_is,
    library,
    text,
    tree,
)
from divertor.envoy.plan import Gate, Isolated, Paths
from divertor.envoy.traffic import unmirrored
from divertor.envoy.upstreams import open_name
from divertor.isolation.layout import key_words
from divertor.model.isolation import KeyKind

MODULE_TYPE = TYPE + "envoy.extensions.filters.http.dynamic_modules.v3."


def isolation_filter() -> Resource:
    """The filter, absent from the chain wherever a route does not ask for it."""
    return {
        "name": FILTER,
        "disabled": True,
        "typed_config": {
            "@type": MODULE_TYPE + "DynamicModuleFilter",
            "dynamic_module_config": library(),
            "filter_name": "isolation",
        },
    }


def decision(gate: Gate, trail: Trail, paths: Paths, ordinary: Callable[[Trail], Resource]) -> Resource:
    """What a gate does with a request before its own conditions; `ordinary` is what customers get."""
    isolated = gate.isolated
    assert isolated is not None
    settings = _settings(isolated, paths)
    usual = replace(trail, divert=divert_name(gate))
    looked_at = replace(usual, filters=((FILTER, _per_route(settings)),))
    # The audited version is not told: whoever breaks into it must not learn that he is being watched.
    attackers = replace(
        looked_at,
        divert="",
        pins=(),
        hidden=(TOKEN_HEADER, ORIGINAL_HEADER),
        traffic=unmirrored(looked_at.traffic),
    )
    target = open_name(gate) if isolated.open else isolated.upstream
    ways = {
        "divert": attackers.end(divert_name(gate), target),
        "isolated": attackers.end(f"{gate.name}#isolated", target),
        "watch": ordinary(looked_at),
    }
    found: Resource = {
        "matcher": {
            "matcher_tree": {
                "input": {
                    "name": "divertor",
                    "typed_config": {
                        "@type": TYPE
                        + "envoy.extensions.matching.http.dynamic_modules.v3.DynamicModuleDataInput",
                        "dynamic_module_config": library(),
                        "input_name": "isolation",
                        "input_config": text(settings),
                    },
                },
                "exact_match_map": {"map": ways},
            },
            "on_no_match": ordinary(usual),
        }
    }
    if isolated.allow is None:
        return found
    # Never moved; an attack is refused all the same, because the sensor has stopped it already.
    refused = action(refused_name(gate), [_refusal(gate)])
    # What cannot be sent again is refused by the filter, which knows no keys here: nobody is isolated.
    keyless = _per_route(_settings(replace(isolated, keys=(), record=None), paths))
    stopped = replace(trail, divert=refused_name(gate), filters=((FILTER, keyless),))
    allowed = tree([(header_is(TOKEN_HEADER, isolated.token), refused)], ordinary(stopped))
    return tree([(isolated.allow, allowed)], found)


def is_any(gate: Gate) -> bool:
    """Whether anything behind a gate is isolated."""
    return gate.isolated is not None or any(
        isinstance(route.to, Gate) and is_any(route.to) for route in gate.routes
    )


def divert_name(gate: Gate) -> str:
    return f"{gate.name}#divert"


def refused_name(gate: Gate) -> str:
    return f"{gate.name}#refused"


def _refusal(gate: Gate) -> Resource:
    return {
        "name": refused_name(gate),
        "match": {"prefix": "/"},
        "direct_response": {"status": 403},
    }


def _per_route(settings: str) -> Resource:
    return {
        "@type": MODULE_TYPE + "DynamicModuleFilterPerRoute",
        "dynamic_module_config": library(),
        "filter_name": "isolation",
        "filter_config": text(settings),
    }


def _settings(isolated: Isolated, paths: Paths) -> str:
    """The lines `filter/settings.c` reads."""
    lines = [
        f"scope {isolated.scope}",
        f"token {isolated.token}",
        f"table {paths.table}",
        f"recent {paths.recent}",
        f"seconds {isolated.seconds}",
    ]
    if isolated.simulate:
        lines.append("simulate 1")
    if isolated.record is not None and paths.spool:
        lines += [f"spool {paths.spool}", f"body {isolated.record.body}"]
    for key in isolated.keys:
        first, second = key_words(key.secret)
        # Envoy hands header names over in lower case.
        name = key.selector.name.lower() if key.selector.kind is KeyKind.HEADER else key.selector.name
        lines.append(f"key {key.selector.kind} {first} {second} {name}")
    return "\n".join(lines)
