"""What a selector selects of all that runs, in which groups, and the routes that follow from the groups.

A capture group in a pattern splits what is selected: one group, and one route, for each text it matched,
named `(text)`; several are sorted and joined, `(a),(b)`; without any it is the one group `()`. Pure: what
runs comes from the deployments, and what the routes were before is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, TypeAlias

from divertor.model.artifacts import ADDRESS, COMMAND, Route
from divertor.model.capturing import captured
from divertor.model.deployments import DeployedCluster, DeployedService, Deployment, Instance
from divertor.model.reading_selectors import NAMESPACE
from divertor.model.selectors import Always, Both, Either, Not, Operand, Selector, Tree
from divertor.model.weights import distribute_weights, rescaled_weights

#: Characters of a group's name; what is longer is cut, and told apart by a digest.
MAX_GROUP = 200

_Captures: TypeAlias = frozenset[str]
_NO_PATH = re.compile(r"[\s/\[\]%(),]|[^\x20-\x7e]")
_SPECIAL = re.compile(r"[^0-9A-Za-z_]")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One port of one instance.

    `name` is its service's, `kind` its deployable's type, `namespace` its deployment's name, `image` empty
    for what is no container. `port` is the number its breed declares, `index` the port's place among them;
    `ip` and `listens` are where it can be reached, if `deployed`.
    """

    name: str
    kind: str = ""
    namespace: str = ""
    image: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    ip: str = ""
    port: int = 0
    index: int = 0
    listens: int = 0
    deployed: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """What one capture has in common. `name` is the path of its route: `(1)`."""

    name: str
    members: tuple[Candidate, ...]


def candidates(deployments: Iterable[Deployment]) -> tuple[Candidate, ...]:
    """Every port of every instance, also of those that are not up: a restart takes nobody's weight away."""
    return tuple(
        candidate
        for deployment in deployments
        for cluster in deployment.clusters
        for service in cluster.services
        for instance in service.instances
        for candidate in _ports(deployment, cluster, service, instance)
    )


def selected(selector: Selector, among: Sequence[Candidate], namespace: str = "") -> tuple[Group, ...]:
    """What the selector selects, in groups ordered by name, each in the order of `among`.

    `namespace` is what `$namespace` stands for: the deployment of the gateway that selects.
    """
    groups: dict[str, list[Candidate]] = {}
    for candidate in among:
        captures = _captures(selector.tree, candidate, namespace)
        if captures is not None:
            groups.setdefault(_group_name(captures), []).append(candidate)
    return tuple(Group(name, tuple(members)) for name, members in sorted(groups.items()))


def selected_routes(before: Sequence[Route], groups: Sequence[str]) -> tuple[Route, ...]:
    """The routes of a gateway that selects: those it had, without the vanished groups', then the new groups'.

    Weights that are left are scaled to 100% again, in proportion. A new group gets 0%, unless nobody has
    anything: then the first has it all. (A gateway that was shut, all its routes at 0%, stays so.)
    """
    kept = [route for route in before if route.path in groups]
    known = {route.path for route in kept}
    fresh = [Route(name, 0) for name in groups if name not in known]
    weights = _kept_weights([route.weight for route in kept])
    shut = bool(before) and all(route.weight == 0 for route in before)
    routes = [*(replace(route, weight=own) for route, own in zip(kept, weights, strict=True)), *fresh]
    if routes and not sum(weights) and not shut:
        routes[0] = replace(routes[0], weight=100)
    return tuple(routes)


def _kept_weights(weights: Sequence[int | None]) -> tuple[int, ...]:
    """As `distribute_weights`, but what does not sum up to 100% is scaled until it does."""
    given = [weight for weight in weights if weight is not None]
    if len(given) < len(weights):
        return distribute_weights(weights)
    return rescaled_weights(given)


def _ports(
    deployment: Deployment, cluster: DeployedCluster, service: DeployedService, instance: Instance
) -> Iterator[Candidate]:
    deployable = service.breed.deployable
    labels = {
        **_labels(service.breed.extras.get("metadata")),
        **_labels(service.extras.get("metadata")),
        "io.vamp.deployment": deployment.name,
        "io.vamp.cluster": cluster.name,
        "io.vamp.service": service.name,
    }
    for index, port in enumerate(service.breed.ports):
        yield Candidate(
            name=service.name,
            kind=deployable.type,
            namespace=deployment.name,
            image="" if deployable.type in (COMMAND, ADDRESS) else deployable.definition,
            labels=labels,
            ip=instance.host,
            port=port.number,
            index=index,
            listens=instance.ports.get(port.name, 0),
            deployed=instance.deployed and port.name in instance.ports,
        )


def _labels(metadata: Any, prefix: str = "") -> dict[str, str]:
    """`{a: {b: c}}` as `a.b: c`; lists and what is empty are no labels."""
    found: dict[str, str] = {}
    for key, value in metadata.items() if isinstance(metadata, Mapping) else ():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= _labels(value, f"{name}.")
        elif isinstance(value, bool):
            found[name] = str(value).lower()
        elif isinstance(value, str | int | float):
            found[name] = str(value)
    return found


def _captures(tree: Tree, candidate: Candidate, namespace: str) -> _Captures | None:
    """What its capture groups matched, if the tree selects the candidate; else None."""
    match tree:
        case Always(value):
            return frozenset() if value else None
        case Not(inner):
            return frozenset() if _captures(inner, candidate, namespace) is None else None
        case Both(parts):
            all_of = [_captures(part, candidate, namespace) for part in parts]
            found = [captures for captures in all_of if captures is not None]
            return frozenset().union(*found) if len(found) == len(parts) else None
        case Either(parts):
            any_of = [_captures(part, candidate, namespace) for part in parts]
            found = [captures for captures in any_of if captures is not None]
            return frozenset().union(*found) if found else None
        case Operand():
            return _tested(tree, candidate, namespace)


def _tested(operand: Operand, candidate: Candidate, namespace: str) -> _Captures | None:
    pattern = operand.patterns[0]
    match operand.what:
        case "label":
            return _label(pattern, operand.patterns[1], candidate)
        case "port" | "index" as number:
            return frozenset() if int(pattern) == getattr(candidate, number) else None
        case "image" if not candidate.image:
            return None
        case "namespace":
            pattern = pattern.replace(NAMESPACE, _escaped(namespace))
    return _set(captured(pattern, getattr(candidate, operand.what)))


def _label(key: str, value: str, candidate: Candidate) -> _Captures | None:
    """Of several labels that match, the first by its name decides."""
    for name, text in sorted(candidate.labels.items()):
        by_name, by_value = captured(key, name), captured(value, text)
        if by_name is not None and by_value is not None:
            return frozenset((*by_name, *by_value))
    return None


def _set(captures: tuple[str, ...] | None) -> _Captures | None:
    return None if captures is None else frozenset(captures)


def _escaped(text: str) -> str:
    """A pattern for that text and no other."""
    return "".join(
        f"\\x{byte:02x}" if _SPECIAL.match(chr(byte)) else chr(byte) for byte in text.encode("utf-8")
    )


def _group_name(captures: _Captures) -> str:
    """`(a),(b)`, with what no path may hold percent-encoded."""
    parts = (_NO_PATH.sub(_percent, capture) for capture in sorted(captures))
    name = ",".join(f"({part})" for part in parts) or "()"
    if len(name) <= MAX_GROUP:
        return name
    return f"{name[:MAX_GROUP]}~{blake2b(name.encode(), digest_size=8).hexdigest()}"


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8"))
