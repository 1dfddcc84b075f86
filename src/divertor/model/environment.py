"""What a service's process finds in its environment: the breed's variables, overridden and filled in.

Scope is Vamp's: breed, then the blueprint's `cluster.VAR`, then the service. `$cluster.VAR` (or
`${cluster.VAR}`) in a value is the blueprint's variable of that name, `$$` is a dollar sign.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from divertor.errors import InputError, Position
from divertor.model.artifacts import Blueprint, Breed, EnvironmentVariable, Service

_REFERENCE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<long>[^{}]*)\}|(?P<short>\w+(?:[.-]\w+)*\.\w+))")


def service_environment(
    blueprint: Blueprint, cluster: str, breed: Breed, service: Service
) -> tuple[EnvironmentVariable, ...]:
    """The variables of one service.

    :raises InputError: a value that must be supplied is not, or a value refers to what is not there.
    """
    shared = shared_variables(blueprint)
    scoped = ((*variable.name.rpartition("."), variable) for variable in blueprint.environment)
    overrides = [replace(variable, name=name) for scope, _, name, variable in scoped if scope == cluster]
    position = service.position if service.position.source else Position(f"blueprint {blueprint.name}")
    merged = _merge(breed.environment, overrides, service.environment)
    return tuple(_filled_in(variable, shared, position) for variable in merged)


def shared_variables(blueprint: Blueprint) -> dict[str, str]:
    """The `cluster.VAR` values that a blueprint gives."""
    return {variable.name: variable.value for variable in blueprint.environment if variable.value is not None}


def _merge(*scopes: Iterable[EnvironmentVariable]) -> list[EnvironmentVariable]:
    """Later scopes win; the alias the breed chose stays unless another one is given."""
    found: dict[str, EnvironmentVariable] = {}
    for scope in scopes:
        for variable in scope:
            before = found.get(variable.name)
            alias = variable.alias or (before.alias if before else "")
            found[variable.name] = replace(variable, alias=alias)
    return list(found.values())


def _filled_in(
    variable: EnvironmentVariable, shared: Mapping[str, str], position: Position
) -> EnvironmentVariable:
    if variable.value is None:
        raise InputError(f"the variable {variable.name!r} has no value", position, "one in the blueprint")

    def fill(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        name = found["long"] or found["short"] or ""
        value = shared.get(name)
        if value is None:
            message = f"{variable.name!r} refers to {name[:80]!r}, which this blueprint does not give"
            raise InputError(message, position, "a $cluster.NAME of the blueprint, or $$ for a dollar sign")
        if _REFERENCE.search(value):
            raise InputError(
                f"{variable.name!r} refers to a value with a reference", position, "a plain value"
            )
        return value

    return replace(variable, value=_REFERENCE.sub(fill, variable.value))
