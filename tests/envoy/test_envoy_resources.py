"""Blueprints as Envoy resources: compared with golden files, and all of them accepted by Envoy.

`DIVERTOR_GOLDEN=write` writes the golden files anew; look at the difference before keeping it.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from divertor.envoy import resources
from divertor.envoy.plan import (
    Endpoint,
    Isolated,
    Paths,
    Route,
    Snapshot,
    Upstream,
    simple_listener,
)
from divertor.errors import UnavailableError
from divertor.gateway.files import ConfigFiles
from divertor.gateway.planning import Choices, snapshot
from divertor.gateway.process import FILTER, envoy_binary
from divertor.model.artifacts import Blueprint, Gateway
from divertor.model.deploying import deploy
from divertor.model.deployments import DeployedCluster, DeployedService, Deployment, Instance
from divertor.model.reading import read_artifacts

GOLDEN = Path(__file__).parent / "golden"
INPUTS = sorted(path.stem for path in GOLDEN.glob("*.yaml"))
PATHS = Paths(
    "/state/xds",
    "/state/isolated.table",
    "/state/recent.table",
    "/state/isolated.log",
    "/state/admin",
    spool="/state/recorded.spool",
    request_log="/state/requests.log",
)
CHOICES = Choices(isolation_secret=b"isolation", divert_secret=b"divert")


def running(deployment: Deployment) -> Deployment:
    """As the runtime fills it in for services that already run somewhere."""

    def of(service: DeployedService) -> DeployedService:
        host, _, port = service.breed.deployable.definition.rpartition(":")
        ports = {service.breed.ports[0].name: int(port)}
        return replace(service, instances=(Instance("one", host.strip("[]"), ports, True),))

    clusters = [replace(each, services=tuple(map(of, each.services))) for each in deployment.clusters]
    return replace(deployment, clusters=tuple[DeployedCluster, ...](clusters))


def planned(name: str) -> Snapshot:
    """A blueprint, and after it the gateways that belong to no deployment."""
    found = read_artifacts((GOLDEN / f"{name}.yaml").read_text(), name)
    blueprints = [each.value for each in found if isinstance(each.value, Blueprint)]
    gateways = [each.value for each in found if isinstance(each.value, Gateway)]
    (deployment,) = (running(deploy(blueprint, "shop")) for blueprint in blueprints)
    hosts = 9080 if any(gateway.virtual_hosts for gateway in gateways) else 0
    return snapshot([deployment], gateways, replace(CHOICES, virtual_hosts_port=hosts))


def rendered(wanted: Snapshot) -> dict[str, Any]:
    return {
        "listeners": resources.listeners(wanted, PATHS),
        "routes": resources.routes(wanted, PATHS),
        "clusters": resources.clusters(wanted, PATHS),
        "endpoints": resources.endpoints(wanted),
    }


def test_every_blueprint_has_its_golden_file_and_every_golden_file_its_blueprint() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(INPUTS) and len(INPUTS) == 41


@pytest.mark.parametrize("name", INPUTS)
def test_a_blueprint_becomes_just_these_resources(name: str) -> None:
    found = json.dumps(rendered(planned(name)), indent=1, sort_keys=True) + "\n"
    golden = GOLDEN / f"{name}.json"
    if os.environ.get("DIVERTOR_GOLDEN") == "write":
        golden.write_text(found)
    assert golden.read_text() == found


@pytest.fixture(scope="module")
def envoy() -> Path:
    try:
        return envoy_binary()
    except UnavailableError as problem:
        pytest.skip(str(problem))


def refusal(envoy: Path, folder: Path, wanted: Snapshot) -> str:
    """What Envoy has against a snapshot; everything is inline, so that nothing is left out."""
    found = rendered(wanted)
    kinds = found["listeners"], found["clusters"], found["routes"].values(), found["endpoints"].values()
    for resource in (each for kind in kinds for each in kind):
        del resource["@type"]
    for listener in found["listeners"]:
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        if manager.pop("rds", None):
            manager["route_config"] = found["routes"][listener["name"]]
    for cluster in found["clusters"]:
        if cluster.pop("eds_cluster_config", None):
            cluster["type"] = "STATIC"
            cluster["load_assignment"] = found["endpoints"][cluster["name"]]
    config = folder / "xds"
    ConfigFiles(replace(PATHS, config=str(config))).create()
    for secret in resources.secret_names(wanted):
        (config / "sds" / resources.file_name(secret)).write_text('{"resources": []}')
    file = folder / "static.json"
    static = {"listeners": found["listeners"], "clusters": found["clusters"]}
    bootstrap = {"node": {"id": "test", "cluster": "divertor"}, "static_resources": static}
    file.write_text(json.dumps(bootstrap).replace("/state/", f"{folder}/"))
    run = subprocess.run(
        [envoy, "--mode", "validate", "-c", file, "--use-dynamic-base-id", "--log-level", "error"],
        env={"ENVOY_DYNAMIC_MODULES_SEARCH_PATH": str(FILTER.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return run.stdout + run.stderr if run.returncode else ""


@pytest.mark.parametrize("name", INPUTS)
def test_envoy_accepts_every_golden_blueprint(envoy: Path, tmp_path: Path, name: str) -> None:
    assert refusal(envoy, tmp_path, planned(name)) == ""


def test_what_envoy_does_not_accept_is_noticed(envoy: Path, tmp_path: Path) -> None:
    front = simple_listener("g", "127.0.0.1", 9000, routes=(Route("r", "a", 100, {"nonsense": 1}),))
    wanted = Snapshot((front,), (Upstream("a", (Endpoint("127.0.0.1", 1),)),))
    assert "nonsense" in refusal(envoy, tmp_path, wanted)


def test_an_isolation_without_routes_can_be_built(envoy: Path, tmp_path: Path) -> None:
    policy = Isolated("s/c", "a", (), 0, "token", open=True)
    front = simple_listener("g", "127.0.0.1", 9000, isolated=policy)
    wanted = Snapshot((front,), (Upstream("a", (Endpoint("127.0.0.1", 1),)),))
    assert refusal(envoy, tmp_path, wanted) == ""


@pytest.mark.parametrize("name", ["shop/web/web:1.0.0/port", "[a:80]", "ü", "x" * 200, "a'\"\\b"])
def test_any_name_is_accepted(envoy: Path, tmp_path: Path, name: str) -> None:
    front = simple_listener(name, "127.0.0.1", 9000, sticky="route", routes=(Route(name, name, 100),))
    wanted = Snapshot((front,), (Upstream(name, (Endpoint("127.0.0.1", 1),)),))
    assert refusal(envoy, tmp_path, wanted) == ""


def test_names_become_files_that_cannot_leave_their_folder() -> None:
    names = ["a", "b", "../../etc/passwd", "a/b", "", "ü" * 300]
    files = {resources.file_name(name) for name in names}
    assert len(files) == len(names) and all(file.removesuffix(".json").isalnum() for file in files)


def test_the_admin_interface_is_a_socket_only_its_owner_may_use() -> None:
    admin = resources.bootstrap(PATHS, "node")["admin"]["address"]
    assert admin == {"pipe": {"path": "/state/admin", "mode": 0o600}}


def test_secrets_are_not_shown() -> None:
    shown = repr(planned("isolation"))
    assert "token" not in shown and "secret=" not in shown
