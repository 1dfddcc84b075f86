"""Envoys in front of one backend: bare, with the plainest static configuration, and Divertor's.

All run one worker, so that Envoy is what limits, and all are asked by the same load generator, by turns.
The bare one has none of what ours has besides the isolation (retries, limits, the generic matcher, a log);
one of ours has no isolation section, to tell the two costs apart.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from divertor.envoy import resources
from divertor.envoy.plan import (
    Endpoint,
    FilterKey,
    Isolated,
    Paths,
    Route,
    Snapshot,
    Upstream,
    simple_listener,
)
from divertor.gateway.files import ConfigFiles
from divertor.gateway.process import FILTER, envoy_binary
from divertor.isolation.layout import FOREVER, fingerprint, scope_key
from divertor.isolation.table import Recent, Table
from divertor.model.isolation import KeyKind, KeySelector

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
}


@dataclass(frozen=True, slots=True)
class Contender:
    """One Envoy: its name in the table, its port, its process."""

    name: str
    port: int
    process: subprocess.Popen[bytes]


@contextmanager
def running(name: str, port: int, bootstrap: Path) -> Iterator[Contender]:
    """An Envoy with one worker, until the block is left."""
    argv = [
        str(envoy_binary()),
        "-c",
        str(bootstrap),
        "--use-dynamic-base-id",
        "--concurrency",
        "1",
        "-l",
        "error",
    ]
    environment = {**os.environ, "ENVOY_DYNAMIC_MODULES_SEARCH_PATH": str(FILTER.parent)}
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(port)
        yield Contender(name, port, process)
    finally:
        process.terminate()
        process.wait(10)


def backend(folder: Path, port: int) -> Path:
    """A backend that costs next to nothing: an Envoy that answers by itself."""
    answer = {"status": 200, "body": {"inline_string": "0123456789abcdef"}}
    return _static(folder / "backend.json", port, [{"match": {"prefix": "/"}, "direct_response": answer}], [])


def bare(folder: Path, port: int, upstream: int) -> Path:
    """Envoy as a reverse proxy and nothing else."""
    load = [{"lb_endpoints": [_endpoint(upstream)]}]
    cluster = {
        "name": "app",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "app", "endpoints": load},
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": "app", "timeout": "0s"}}
    return _static(folder / "bare.json", port, [route], [cluster])


def divertor(folder: Path, port: int, upstream: int, isolated: int | None) -> Path:
    """Divertor's gateway in front of one service, with that many isolated sessions; None: no isolation."""
    folder.mkdir()
    paths = Paths(
        config=str(folder / "xds"),
        table=str(folder / "table"),
        recent=str(folder / "recent"),
        access_log=str(folder / "access.log"),
        admin=str(folder / "admin.sock"),
    )
    scope, session = "shop/web", KeySelector(KeyKind.COOKIE, "session")
    address = KeySelector(KeyKind.ADDRESS)
    keys = tuple(FilterKey(key, scope_key(b"bench" * 7, scope, key)) for key in (session, address))
    policy = None if isolated is None else Isolated(scope, "audited", keys, 86400, "token")
    routes = (Route("audited", "audited", 0), Route("newest", "newest", 100))
    listener = simple_listener("shop/80", "127.0.0.1", port, routes=routes, isolated=policy)
    upstreams = tuple(Upstream(name, (Endpoint("127.0.0.1", upstream),)) for name in ("audited", "newest"))
    files = ConfigFiles(paths)
    files.create()
    files.write(Snapshot((listener,), upstreams))
    table = Table.open(Path(paths.table))
    table.replace((fingerprint(keys[0].secret, f"session-{n}"), FOREVER) for n in range(isolated or 0))
    table.close()
    Recent(Path(paths.recent)).close()
    bootstrap = folder / "bootstrap.json"
    bootstrap.write_text(json.dumps(resources.bootstrap(paths, "bench")))
    return bootstrap


def _static(path: Path, port: int, routes: list[Any], clusters: list[Any]) -> Path:
    manager = {
        "@type": f"type.googleapis.com/{_HCM}",
        "stat_prefix": "bare",
        "use_remote_address": True,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [_ROUTER],
    }
    filters = [{"name": "http", "typed_config": manager}]
    listener = {
        "name": "all",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": filters}],
    }
    path.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": clusters}}))
    return path


def _endpoint(port: int) -> dict[str, Any]:
    return {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}


def _wait(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nothing serves on port {port}")
