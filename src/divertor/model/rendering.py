"""Artifacts and deployments to JSON, with Vamp's field names, such that what is printed can be read back.

The readers are `reading` (blueprints) and `updating` (deployments and gateways).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from divertor.conditions import Condition, Or, to_text
from divertor.model import quantities as q
from divertor.model.artifacts import (
    Artifact,
    Blueprint,
    Breed,
    Cluster,
    EnvironmentVariable,
    Gateway,
    HealthCheck,
    IsolationPolicy,
    Recording,
    Reference,
    Route,
    Scale,
    Service,
)
from divertor.model.deployments import DeployedCluster, DeployedService, Deployment, Instance, Status
from divertor.model.events import format_time
from divertor.model.rendering_traffic import (
    rate_limit_to_json,
    tls_to_json,
    traffic_fields,
    version_fields,
)

JsonObject = dict[str, Any]


def blueprint_to_json(blueprint: Blueprint) -> JsonObject:
    """`blueprint_from_json` reads it back to an equal blueprint."""
    return {
        "name": blueprint.name,
        "kind": "blueprints",
        **blueprint.extras,
        "gateways": {gateway.name: gateway_fields(gateway) for gateway in blueprint.gateways},
        "clusters": {cluster.name: _cluster(cluster) for cluster in blueprint.clusters},
        "environment_variables": _environment(blueprint.environment),
        "isolation": _isolation(blueprint.isolation),
    }


def artifact_to_json(artifact: Artifact) -> JsonObject:
    """One artifact of any kind, as `read_artifacts` reads it."""
    head = {"name": artifact.name, "kind": artifact.kind}
    match artifact.value:
        case Blueprint() as blueprint:
            return blueprint_to_json(blueprint)
        case Breed() as breed:
            return {**breed_to_json(breed), **head}
        case Scale() as scale:
            return {**head, **scale_to_json(scale)}
        case Gateway() as gateway:
            return gateway_to_json(gateway)
        case condition:
            return {**head, "condition": to_text(condition)}


def gateway_to_json(gateway: Gateway) -> JsonObject:
    """A gateway on its own; `gateway_from_json` reads it back."""
    internal = gateway.name.count("/") == 2
    return {"name": gateway.name, "kind": "gateways", "internal": internal, **gateway_fields(gateway)}


def gateway_fields(gateway: Gateway) -> JsonObject:
    """A gateway without its name, as it appears under `gateways` of something else."""
    return {
        **gateway.extras,
        "port": q.format_port(gateway.port, gateway.protocol),
        "sticky": gateway.sticky.value,
        "virtual_hosts": list(gateway.virtual_hosts),
        **_selector(gateway),
        **traffic_fields(gateway.traffic),
        **_listener(gateway),
        "routes": {route.path: _route(route) for route in gateway.routes},
    }


def _selector(thing: Gateway | Route) -> JsonObject:
    return {} if thing.selector is None else {"selector": thing.selector.text}


def _listener(gateway: Gateway) -> JsonObject:
    """What only a gateway with a port of its own has, as far as it has it."""
    data: JsonObject = {
        "rate_limits": [rate_limit_to_json(limit) for limit in gateway.rate_limits],
        "tls": None if gateway.tls is None else tls_to_json(gateway.tls),
        "proxy_protocol": gateway.proxy_protocol,
        "trusted_proxies": list(gateway.trusted_proxies),
    }
    return {name: value for name, value in data.items() if value}


def breed_to_json(breed: Breed) -> JsonObject:
    data: JsonObject = {
        "name": breed.name,
        "kind": "breeds",
        **breed.extras,
        "deployable": {"type": breed.deployable.type, "definition": breed.deployable.definition},
        "ports": {port.name: q.format_port(port.number, port.protocol) for port in breed.ports},
        "environment_variables": _environment(breed.environment),
    }
    return data | _health_checks(breed.health_checks)


def scale_to_json(scale: Scale) -> JsonObject:
    return {"cpu": scale.cpu, "memory": q.format_memory(scale.memory), "instances": scale.instances}


def deployment_to_json(deployment: Deployment) -> JsonObject:
    """A deployment with its status, Vamp's shape; `deployment_from_json` takes it back, changed or not.

    A cluster's gateways appear twice: under `gateways`, and under `routing`, their name in older Vamps, whose
    routes say `filters` and `filter_strength`. The routes of both are keyed by service.
    """
    return {
        "name": deployment.name,
        "kind": "deployments",
        **deployment.extras,
        "clusters": {cluster.name: _deployed_cluster(cluster) for cluster in deployment.clusters},
        "gateways": {short_name(gateway): gateway_fields(gateway) for gateway in deployment.gateways},
        "isolation": _isolation(deployment.isolation),
        "environment_variables": _environment(deployment.environment),
        "ports": dict(deployment.ports),
        "hosts": dict(deployment.hosts),
    }


def short_name(gateway: Gateway) -> str:
    """The last part of a gateway's path: a cluster's port name, or an external gateway's own name."""
    return gateway.name.rpartition("/")[2]


def _cluster(cluster: Cluster) -> JsonObject:
    data = {
        **cluster.extras,
        "services": [_service(service) for service in cluster.services],
        "gateways": _cluster_gateways(cluster.gateways),
    }
    limits = version_fields(cluster.outlier_detection, cluster.circuit_breaker)
    return data | _health_checks(cluster.health_checks) | limits


def _cluster_gateways(gateways: tuple[Gateway, ...]) -> JsonObject:
    """By port name; a lone gateway whose port name was left out stays so."""
    if len(gateways) == 1 and not gateways[0].name:
        return gateway_fields(gateways[0])
    return {gateway.name: gateway_fields(gateway) for gateway in gateways}


def _service(service: Service) -> JsonObject:
    data: JsonObject = {**service.extras, "breed": _breed_or_reference(service.breed)}
    if service.scale is not None:
        data["scale"] = _scale_or_reference(service.scale)
    data["environment_variables"] = _environment(service.environment)
    limits = version_fields(service.outlier_detection, service.circuit_breaker)
    return data | _health_checks(service.health_checks) | limits


def _breed_or_reference(breed: Breed | Reference) -> JsonObject:
    return {"reference": breed.name} if isinstance(breed, Reference) else breed_to_json(breed)


def _scale_or_reference(scale: Scale | Reference) -> JsonObject:
    return {"reference": scale.name} if isinstance(scale, Reference) else scale_to_json(scale)


def _route(route: Route) -> JsonObject:
    return {
        **route.extras,
        "weight": None if route.weight is None else q.format_percentage(route.weight),
        "condition": _condition(route),
        "condition_strength": q.format_percentage(route.condition_strength),
        "rewrites": [
            {"path": f"{rewrite.path} if {to_text(rewrite.condition)}"} for rewrite in route.rewrites
        ],
        **_selector(route),
        **traffic_fields(route.traffic),
    }


def _condition(route: Route) -> JsonObject | None:
    if route.condition_reference is not None:
        return {"reference": route.condition_reference.name}
    return None if route.condition is None else {"condition": to_text(route.condition)}


def _old_route(route: Route) -> JsonObject:
    """As Vamp wrote routes when conditions were called filters; any one of several counts."""
    return _route(route) | {
        "filters": [{"condition": to_text(condition)} for condition in alternatives(route.condition)],
        "filter_strength": q.format_percentage(route.condition_strength),
    }


def alternatives(condition: Condition | None) -> tuple[Condition, ...]:
    """The conditions any of which counts, each once; none for no condition."""
    if condition is None:
        return ()
    return tuple(dict.fromkeys(condition.operands)) if isinstance(condition, Or) else (condition,)


def _environment(variables: Iterable[EnvironmentVariable]) -> JsonObject:
    return {_variable_name(variable): variable.value for variable in variables}


def _variable_name(variable: EnvironmentVariable) -> str:
    return f"{variable.name}[{variable.alias}]" if variable.alias else variable.name


def _health_checks(checks: tuple[HealthCheck, ...] | None) -> JsonObject:
    """Left out when nothing was said, as an empty list says something."""
    return {} if checks is None else {"health_checks": [_health_check(check) for check in checks]}


def _health_check(check: HealthCheck) -> JsonObject:
    return {
        "protocol": check.protocol,
        "path": check.path,
        "port": check.port or None,
        "initial_delay": q.format_seconds(check.initial_delay),
        "timeout": q.format_seconds(check.timeout),
        "interval": q.format_seconds(check.interval),
        "failures": check.failures,
    }


def _isolation(policies: Iterable[IsolationPolicy]) -> JsonObject:
    return {
        policy.cluster: {
            "to": policy.to,
            "keys": [str(key) for key in policy.keys],
            "for": q.format_duration(policy.duration),
            "fail": policy.fail.value,
            "mode": policy.mode.value,
            **({} if policy.allow is None else {"allow": to_text(policy.allow)}),
            "record": "none" if policy.record is None else _recording(policy.record),
        }
        for policy in policies
    }


def _recording(record: Recording) -> JsonObject:
    return {
        "body": q.format_memory(record.body),
        "limit": q.format_memory(record.limit),
        "redact": list(record.redact),
    }


def _deployed_cluster(cluster: DeployedCluster) -> JsonObject:
    return {
        **cluster.extras,
        "services": [_deployed_service(service) for service in cluster.services],
        "gateways": {short_name(gateway): _internal(gateway, _route) for gateway in cluster.gateways},
        "routing": {short_name(gateway): _internal(gateway, _old_route) for gateway in cluster.gateways},
    }


def _internal(gateway: Gateway, render: Any) -> JsonObject:
    routes = {_service_name(route): render(route) for route in gateway.routes}
    return gateway_fields(gateway) | {"routes": routes}


def _service_name(route: Route) -> str:
    """`deployment/cluster/service/port`, by its service."""
    return route.path.split("/")[2]


def _deployed_service(service: DeployedService) -> JsonObject:
    return {
        **service.extras,
        "status": status_to_json(service.status),
        "breed": breed_to_json(service.breed),
        "scale": scale_to_json(service.scale),
        "environment_variables": _environment(service.environment),
        "health_checks": [_health_check(check) for check in service.health_checks],
        **version_fields(service.outlier_detection, service.circuit_breaker),
        "instances": [_instance(instance) for instance in service.instances],
    }


def status_to_json(status: Status) -> JsonObject:
    since = None if status.since is None else format_time(status.since)
    return {"intention": status.intention, "since": since, "phase": {"name": status.phase, "since": since}}


def _instance(instance: Instance) -> JsonObject:
    return {
        "name": instance.name,
        "host": instance.host,
        "ports": dict(instance.ports),
        "deployed": instance.deployed,
    }
