"""Text to artifacts: blueprints, breeds, scales, conditions and gateways, with Vamp's short forms.

Pure: no file is opened and nothing is looked up; a thing meant by name stays a `Reference` until `resolve`.
Everything that cannot be understood exactly is refused with its place and what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from divertor.conditions import Condition
from divertor.errors import InputError, Position
from divertor.model import quantities as q
from divertor.model.artifacts import (
    ADDRESS,
    COMMAND,
    DOCKER,
    Artifact,
    Blueprint,
    Breed,
    Cluster,
    Deployable,
    EnvironmentVariable,
    Gateway,
    HealthCheck,
    Port,
    Reference,
    Scale,
    Service,
)
from divertor.model.checks import check_blueprint, check_gateway
from divertor.model.documents import MappingNode, Node, Scalar, from_value, parse_documents
from divertor.model.fields import (
    Fields,
    choice_of,
    entries_of,
    fail,
    is_null,
    items_of,
    name_of,
    parsed,
    text_of,
)
from divertor.model.reading_gateways import (
    parse_condition,
    read_cluster_gateways,
    read_gateway_node,
    read_gateways,
)
from divertor.model.reading_isolation import read_isolation
from divertor.model.reading_traffic import read_circuit_breaker, read_outlier_detection

BLUEPRINT_EXTRAS = ("metadata", "dialects")
CLUSTER_EXTRAS = ("metadata", "network", "sla", "dialects")
SERVICE_EXTRAS = ("metadata", "arguments", "network", "dialects")
BREED_EXTRAS = ("metadata", "constants", "arguments", "dependencies")
#: What only a running service or deployment has: accepted, and ignored here.
SERVICE_RUNTIME = ("status", "instances", "health", "dependencies")

_SPELLINGS = {"env": "environment_variables", "dialect": "dialects", "reference": "ref"}
_SERVICE_FIELDS = (
    "breed", "ref", "scale", "environment_variables", "health_checks", "outlier_detection", "circuit_breaker",
    *SERVICE_EXTRAS, *SERVICE_RUNTIME,
)  # fmt: skip
_OF_CLUSTER = (
    "gateways",
    "routing",
    "health_checks",
    "outlier_detection",
    "circuit_breaker",
    *CLUSTER_EXTRAS,
)
_CLUSTER_FIELDS = ("services", *_OF_CLUSTER)
_TYPES = {
    "command": COMMAND,
    "cmd": COMMAND,
    "address": ADDRESS,
    "container/docker": DOCKER,
    "docker": DOCKER,
    "container/rkt": "container/rkt",
    "rkt": "container/rkt",
    "application/javascript": "application/javascript",
}
_ADDRESS = re.compile(r"(?:[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")
_VARIABLE = re.compile(r"(?P<name>[^\s/\[\]=]+)(?:\[(?P<alias>[^\s/\[\]=]+)\])?")
_KINDS = {
    **dict.fromkeys(("blueprint", "blueprints"), "blueprints"),
    **dict.fromkeys(("breed", "breeds"), "breeds"),
    **dict.fromkeys(("scale", "scales"), "scales"),
    **dict.fromkeys(("condition", "conditions"), "conditions"),
    **dict.fromkeys(("gateway", "gateways"), "gateways"),
}


def read_blueprint(text: str, source: str) -> Blueprint:
    """One blueprint, YAML or JSON.

    :raises InputError: it is none, or names a cluster, service or port that it does not have.
    """
    return blueprint_of(_single(text, source))


def read_breed(text: str, source: str) -> Breed:
    """One breed. :raises InputError: it is none."""
    breed = read_breed_node(_single(text, source))
    if isinstance(breed, Reference):
        raise InputError("a breed without 'deployable'", breed.position)
    return breed


def read_scale(text: str, source: str) -> Scale:
    """One scale. :raises InputError: it is none."""
    return _inline_scale(_single(text, source))


def read_condition(text: str, source: str) -> Condition:
    """One condition artifact (`name`, `condition`). :raises InputError: it is none."""
    return _condition_artifact(_single(text, source))


def read_gateway(text: str, source: str) -> Gateway:
    """One gateway with its own `name`. :raises InputError: it is none."""
    return gateway_of(_single(text, source))


def read_artifacts(text: str, source: str) -> list[Artifact]:
    """Every document of a stream, each with its `kind` (singular or plural) and `name`.

    A document with `clusters` needs no kind to be a blueprint, nor one with `deployable` to be a breed.

    :raises InputError: a document is of no known kind, or is none of its kind.
    """
    return [_artifact(node) for node in parse_documents(text, source)]


def blueprint_from_json(data: Any, source: str = "blueprint") -> Blueprint:
    """A blueprint from decoded JSON, such as `blueprint_to_json` makes. :raises InputError: it is none."""
    return blueprint_of(from_value(data, source))


def _single(text: str, source: str) -> Node:
    documents = parse_documents(text, source)
    if len(documents) != 1:
        raise InputError(f"{len(documents)} documents", Position(source, 1, 1), "one")
    return documents[0]


def _artifact(node: Node) -> Artifact:
    keys = {key.text: item for key, item in entries_of(node, "a document")}
    kind = _kind_of(node, keys)
    if "name" not in keys:
        fail(node, "a document without 'name'")
    readers: dict[str, Callable[[Node], Any]] = {
        "blueprints": blueprint_of,
        "breeds": read_breed_node,
        "scales": _inline_scale,
        "conditions": _condition_artifact,
        "gateways": gateway_of,
    }
    value = readers[kind](node)
    if isinstance(value, Reference):
        fail(node, "a breed without 'deployable'")
    name = value.name if isinstance(value, Gateway) else name_of(keys["name"], "an artifact")
    return Artifact(kind, name, value)


def _kind_of(node: Node, keys: dict[str, Node]) -> str:
    kind = keys.get("kind")
    if kind is not None:
        return choice_of(kind, "supported kind", _KINDS)
    if "clusters" in keys:
        return "blueprints"
    if "deployable" in keys:
        return "breeds"
    fail(node, "a document without 'kind'", ", ".join(sorted(set(_KINDS.values()))))


def blueprint_of(node: Node) -> Blueprint:
    """A blueprint from its node, checked as far as its references allow."""
    known = ("name", "kind", "clusters", "gateways", "environment_variables", "isolation", *BLUEPRINT_EXTRAS)
    fields = Fields(node, "a blueprint", known, _SPELLINGS, unsupported=("import",))
    _check_kind(fields, "blueprints")
    blueprint = Blueprint(
        name=name_of(fields.require("name"), "a blueprint"),
        clusters=tuple(_cluster(key, item) for key, item in entries_of(fields.get("clusters"), "clusters")),
        gateways=read_gateways(fields.get("gateways")),
        environment=read_environment(fields.get("environment_variables")),
        isolation=read_isolation(fields.get("isolation")),
        extras=fields.extras(BLUEPRINT_EXTRAS),
    )
    check_blueprint(blueprint, node.position)
    return blueprint


def _check_kind(fields: Fields, wanted: str) -> None:
    kind = fields.get("kind")
    if kind is not None and _KINDS.get(text_of(kind, "a kind").lower()) != wanted:
        fail(kind, f"a document of kind {text_of(kind, 'a kind')[:80]!r}", f"kind {wanted}")


def _condition_artifact(node: Node) -> Condition:
    fields = Fields(node, "a condition", ("name", "kind", "metadata", "condition"))
    _check_kind(fields, "conditions")
    return parse_condition(fields.require("condition"))


def gateway_of(node: Node) -> Gateway:
    """A gateway of its own, with its `name`. :raises InputError: it is none, or does not hold together."""
    if not isinstance(node, MappingNode):
        fail(node, "a gateway that is no mapping", "a mapping")
    gateway = read_gateway_node(None, node)
    check_gateway(gateway)
    return gateway


def _cluster(key: Scalar, node: Node) -> Cluster:
    name = name_of(key, "a cluster")
    if not isinstance(node, MappingNode):
        return Cluster(name, services=read_services(node))
    if any(entry.text in ("breed", "ref", "reference") for entry, _ in node.entries):
        return _single_service_cluster(name, node)
    fields = Fields(node, "a cluster", _CLUSTER_FIELDS, _SPELLINGS)
    if fields.get("gateways") is not None and fields.get("routing") is not None:
        fail(node, "both 'gateways' and 'routing', its old name")
    return _cluster_of(name, fields, read_services(fields.get("services")))


def _single_service_cluster(name: str, node: MappingNode) -> Cluster:
    """`c: {breed: b, scale: s, sla: …}`: the keys of a cluster and of its only service side by side."""
    of_service = {"breed", "ref", "reference", "scale", "environment_variables", "env", "arguments"}
    service = tuple(entry for entry in node.entries if entry[0].text in of_service)
    cluster = tuple(entry for entry in node.entries if entry[0].text not in of_service)
    fields = Fields(MappingNode(cluster, node.position), "a cluster", _OF_CLUSTER, _SPELLINGS)
    return _cluster_of(name, fields, (read_service(MappingNode(service, node.position)),))


def _cluster_of(name: str, fields: Fields, services: tuple[Service, ...]) -> Cluster:
    return Cluster(
        name,
        services,
        gateways=read_cluster_gateways(fields.get("gateways") or fields.get("routing")),
        health_checks=read_health_checks(fields, "health_checks"),
        outlier_detection=read_outlier_detection(fields),
        circuit_breaker=read_circuit_breaker(fields),
        extras=fields.extras(CLUSTER_EXTRAS),
    )


def read_services(node: Node | None) -> tuple[Service, ...]:
    """The services of a cluster: a breed's name, one mapping, or a list of either."""
    return tuple(read_service(item) for item in items_of(node))


def read_service(node: Node) -> Service:
    """One service: a breed's name, or a mapping with `breed`."""
    if not isinstance(node, MappingNode):
        return Service(read_breed_node(node), position=node.position)
    fields = Fields(node, "a service", _SERVICE_FIELDS, _SPELLINGS)
    breed, reference = fields.get("breed"), fields.get("ref")
    if (breed is None) == (reference is None):
        fail(node, "a service without its breed" if breed is None else "a service with two breeds", "'breed'")
    scale = fields.get("scale")
    return Service(
        breed=_reference("breeds", reference)
        if reference is not None
        else read_breed_node(fields.require("breed")),
        scale=None if scale is None else read_scale_node(scale),
        environment=read_environment(fields.get("environment_variables")),
        health_checks=read_health_checks(fields, "health_checks"),
        outlier_detection=read_outlier_detection(fields),
        circuit_breaker=read_circuit_breaker(fields),
        extras=fields.extras(SERVICE_EXTRAS),
        position=node.position,
    )


def read_breed_node(node: Node) -> Breed | Reference:
    """A breed inline, or its name (bare, or under `ref`, `reference` or `name` alone)."""
    if not isinstance(node, MappingNode):
        return _reference("breeds", node)
    known = (
        "name",
        "ref",
        "kind",
        "deployable",
        "ports",
        "environment_variables",
        "health_checks",
        *BREED_EXTRAS,
    )
    fields = Fields(node, "a breed", known, _SPELLINGS, unsupported=("import",))
    _check_kind(fields, "breeds")
    reference = fields.get("ref")
    if reference is not None:
        return _only_reference("breeds", fields, reference)
    if fields.get("deployable") is None:
        return _only_reference("breeds", fields, fields.require("name"))
    return Breed(
        name=name_of(fields.require("name"), "a breed"),
        deployable=_deployable(fields.require("deployable")),
        ports=_ports(fields.get("ports")),
        environment=read_environment(fields.get("environment_variables")),
        health_checks=read_health_checks(fields, "health_checks"),
        extras=fields.extras(BREED_EXTRAS),
    )


def read_scale_node(node: Node) -> Scale | Reference:
    """A scale inline, or its name (bare, or under `ref` or `reference`)."""
    if not isinstance(node, MappingNode):
        return _reference("scales", node)
    if any(key.text in ("ref", "reference") for key, _ in node.entries):
        fields = Fields(node, "a scale", ("ref",), _SPELLINGS)
        return _reference("scales", fields.require("ref"))
    return _inline_scale(node)


def _inline_scale(node: Node) -> Scale:
    fields = Fields(node, "a scale", ("name", "kind", "metadata", "cpu", "memory", "instances"))
    _check_kind(fields, "scales")
    cpu, memory, instances = fields.get("cpu"), fields.get("memory"), fields.get("instances")
    default = Scale()
    return Scale(
        cpu=default.cpu if cpu is None else parsed(cpu, "number of CPUs", q.parse_cpu),
        memory=default.memory if memory is None else parsed(memory, "memory size", q.parse_memory),
        instances=default.instances if instances is None else parsed(instances, "number", _count),
    )


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text):
        raise ValueError("a whole number from 0 to 9999")
    return int(text)


def _reference(kind: str, node: Node) -> Reference:
    return Reference(kind, name_of(node, f"one of {kind}"), node.position)


def _only_reference(kind: str, fields: Fields, name: Node) -> Reference:
    entries = [key for key, _ in entries_of(fields.node, fields.what) if key.text not in ("kind", "metadata")]
    if len(entries) > 1:
        fail(fields.node, f"{fields.what} without 'deployable'", "a deployable, or a reference alone")
    return _reference(kind, name)


def _deployable(node: Node) -> Deployable:
    if not isinstance(node, MappingNode):
        return Deployable(DOCKER, _definition(node))
    fields = Fields(node, "a deployable", ("type", "definition"))
    kind = fields.get("type")
    type_ = DOCKER if kind is None else choice_of(kind, "type of deployable", _TYPES)
    definition = fields.require("definition")
    if type_ == ADDRESS:
        return Deployable(type_, parsed(definition, "address", _address))
    return Deployable(type_, _definition(definition))


def _definition(node: Node) -> str:
    text = text_of(node, "a deployable").strip()
    if not text or "\0" in text:
        fail(node, "an empty deployable", "a command, an address or an image")
    return text


def _address(text: str) -> str:
    found = _ADDRESS.fullmatch(text.strip())
    if found is None or not 0 < int(found["port"]) < 65536:
        raise ValueError("host:port")
    return text.strip()


def _ports(node: Node | None) -> tuple[Port, ...]:
    return tuple(_port(key, item) for key, item in entries_of(node, "ports"))


def _port(key: Scalar, node: Node) -> Port:
    name = name_of(key, "a port", strict=True)
    if text_of(node, "a port").startswith("$"):
        fail(node, "the port of another service is not supported yet", "a number")
    return parsed(node, "port", lambda text: q.named_port(name, text))


def read_environment(node: Node | None) -> tuple[EnvironmentVariable, ...]:
    """`NAME: value` or `NAME[alias]: value`; `~` for a value somebody else must supply."""
    return tuple(_variable(key, item) for key, item in entries_of(node, "environment variables"))


def _variable(key: Scalar, node: Node) -> EnvironmentVariable:
    found = _VARIABLE.fullmatch(key.text)
    if found is None or not key.text.isprintable():
        fail(key, f"{key.text[:80]!r} is no variable", "NAME, NAME[alias] or cluster.NAME")
    value = None if is_null(node) else text_of(node, "a variable")
    if value is not None and "\0" in value:
        fail(node, "a null character in a variable", "text")
    return EnvironmentVariable(found["name"], value, found["alias"] or "")


def read_health_checks(fields: Fields, name: str) -> tuple[HealthCheck, ...] | None:
    """None when nothing is said; an empty list switches inherited checks off."""
    node = fields.get(name)
    return None if node is None else tuple(_health_check(item) for item in items_of(node))


def _health_check(node: Node) -> HealthCheck:
    known = ("protocol", "path", "port", "initial_delay", "timeout", "interval", "failures")
    fields = Fields(node, "a health check", known)
    port, failures, default = fields.get("port"), fields.get("failures"), HealthCheck()
    check = HealthCheck(
        path=_url_path(fields.get("path")),
        port="" if port is None else name_of(port, "a port", strict=True),
        protocol=_protocol(fields.get("protocol")),
        initial_delay=_seconds(fields, "initial_delay", default.initial_delay),
        timeout=_seconds(fields, "timeout", default.timeout),
        interval=_seconds(fields, "interval", default.interval),
        failures=default.failures if failures is None else parsed(failures, "number", _count),
    )
    if check.failures < 1 or not all(0.001 <= time <= 86400 for time in (check.timeout, check.interval)):
        fail(
            node, "a health check that never ends", "timeout and interval from 1ms to 1d, failures above zero"
        )
    return check


def _protocol(node: Node | None) -> str:
    return "HTTP" if node is None else choice_of(node, "protocol", {"http": "HTTP", "https": "HTTPS"})


def _url_path(node: Node | None) -> str:
    path = "/" if node is None else text_of(node, "a path")
    if node is not None and not re.fullmatch(r"/?[!-~]*", path):
        fail(node, f"{path[:80]!r} is no path", "a path such as /health")
    return path if path.startswith("/") else f"/{path}"


def _seconds(fields: Fields, name: str, default: float) -> float:
    node = fields.get(name)
    return default if node is None else parsed(node, "duration", q.parse_seconds)
