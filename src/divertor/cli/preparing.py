"""Before a stack starts: everything that can be known to fail is looked at, then its files are written.

Nothing is started here. A check says what is wrong and, where it can, how to mend it; no setting is written
until every check has passed.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from divertor.api.auth import Auth
from divertor.bus.server import server_binary, server_config, store_mib
from divertor.cli.errors import RefusedError
from divertor.cli.states import running_pid
from divertor.errors import ConflictError, InputError, Position, UnavailableError
from divertor.gateway.hosts import require_served
from divertor.gateway.process import envoy_binary, envoy_process
from divertor.gateway.process import prepare as prepare_envoy
from divertor.layout import Layout, Settings, write_private
from divertor.model.artifacts import ADDRESS, COMMAND, Blueprint, Breed, Gateway, Reference
from divertor.model.deploying import deploy
from divertor.model.reading import read_blueprint
from divertor.model.resolving import resolve
from divertor.rules.reading.files import load_rules, read_text
from divertor.runtime.client import SupervisorClient
from divertor.runtime.command import CommandHost, inherited_environment
from divertor.runtime.driver import AddressDriver, Drivers, ProcessDriver
from divertor.runtime.main import APPS, Plan
from divertor.runtime.ports import require_free
from divertor.runtime.process import ProcessSpec, ReadyCheck, ReadyKind
from divertor.runtime.serving import Sources

#: Bytes that must be free where the state is kept.
MIN_FREE = 100 * 1024 * 1024
#: A Unix socket's address holds 108 bytes, its end included.
MAX_SOCKET = 107
#: Seconds the control plane may take until it answers.
PLANE_TIMEOUT = 60.0
#: What only a running control plane can fill in; a command may name it.
_LATER = ("DIVERTOR_DATA", "DIVERTOR_SHARED")


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for. `settings.blueprint` and `settings.rules` are absolute paths, or empty."""

    layout: Layout
    settings: Settings


@dataclass(frozen=True, slots=True)
class Checked:
    """A wish that can be granted, as far as one can know."""

    wish: Wish
    blueprint: Blueprint


def check(wish: Wish) -> Checked:
    """Looks at everything, the user's own files first.

    :raises InputError: the blueprint or a rule is not understood.
    :raises ConflictError: a port is taken, or the stack runs already.
    :raises UnavailableError: a binary is missing, or the state directory or the disk cannot be used.
    """
    checked = check_files(wish)
    require_usable(wish.layout)
    require_ports(checked)
    return checked


def check_files(wish: Wish) -> Checked:
    """The user's own files and the binaries; raises as `check` does."""
    blueprint = read_wished_blueprint(Path(wish.settings.blueprint))
    if wish.settings.rules:
        load_rules(Path(wish.settings.rules))
    server_binary()
    envoy_binary()
    return Checked(wish, blueprint)


def require_ports(checked: Checked) -> None:
    """:raises ConflictError: a port is taken, or wanted twice (the message names who holds it), or one for
    virtual hosts is missing.
    """
    settings, blueprint = checked.wish.settings, checked.blueprint
    require_free(settings.api_port)
    require_free(settings.nats_port)
    require_distinct(blueprint.gateways, settings)
    require_served(blueprint.gateways, settings.virtual_hosts_port)
    if settings.virtual_hosts_port:
        require_free(settings.virtual_hosts_port, settings.listen)
    for gateway in blueprint.gateways:
        if gateway.port:
            require_free(gateway.port, settings.listen)


def read_wished_blueprint(path: Path) -> Blueprint:
    """The blueprint of a file, checked as far as it can be without the artifacts that a stack has stored.

    :raises InputError: it is not understood, or cannot be run.
    :raises UnavailableError: it cannot be read.
    """
    blueprint = read_blueprint(read_text(path), str(path))
    for cluster in blueprint.clusters:
        for service in cluster.services:
            if isinstance(service.breed, Breed):
                require_runnable(service.breed, service.position, path.parent)
    if not _names_artifacts(blueprint):
        deployment = deploy(resolve(blueprint, {}), blueprint.name or "deployment")
        later: dict[str, str] = dict.fromkeys(_LATER, "-")
        inherited = inherited_environment(os.environ, Path.cwd())
        host = CommandHost(path.parent, path.parent, sys.executable, inherited, lambda _: later)
        Drivers([ProcessDriver(SupervisorClient(path.parent), host), AddressDriver()]).check(deployment)
    return blueprint


def require_runnable(breed: Breed, position: Position, directory: Path) -> None:
    """:raises InputError: there is no driver for it, or no such program on this machine."""
    if breed.deployable.type not in (COMMAND, ADDRESS):
        raise InputError(
            f"{breed.name}: deployables of type {breed.deployable.type!r} are not supported yet",
            position,
            f"`{COMMAND}` or `{ADDRESS}`",
        )
    words = breed.deployable.definition.split() if breed.deployable.type == COMMAND else []
    if not words or "$" in words[0] or words[0] in ("python", "python3"):
        return
    program = str(directory / words[0]) if "/" in words[0] else words[0]
    if shutil.which(program.strip("'\"")) is None:
        raise InputError(f"{breed.name}: there is no program {words[0][:200]!r}", position, "one on the PATH")


def require_distinct(gateways: Iterable[Gateway], settings: Settings) -> None:
    """:raises ConflictError: a gateway wants a port that the stack uses itself."""
    own = {settings.api_port: "the API", settings.nats_port: "the broker"}
    if settings.api_port == settings.nats_port:
        raise ConflictError(f"port {settings.api_port} cannot be both the API's and the broker's")
    shared = settings.virtual_hosts_port
    if shared in own:
        raise ConflictError(f"port {shared} is wanted for virtual hosts and by {own[shared]}")
    if shared:
        own[shared] = "the virtual hosts"
    for gateway in gateways:
        if gateway.port in own:
            raise ConflictError(f"port {gateway.port} is wanted by a gateway and by {own[gateway.port]}")


def require_usable(layout: Layout) -> None:
    """The state directory can be written, is understood, and nobody uses it.

    :raises ConflictError: a stack runs in it.
    :raises UnavailableError: it cannot be used.
    """
    if pid := running_pid(layout):
        raise ConflictError(
            f"a stack already runs in {layout.root} (pid {pid}); stop it with `divertor down`"
        )
    if len(os.fsencode(layout.envoy_admin)) > MAX_SOCKET:
        raise UnavailableError(
            f"{layout.root}: the path is too long for a socket in it; choose a shorter --state"
        )
    layout.create()
    free = shutil.disk_usage(layout.root).free
    if free < MIN_FREE:
        raise UnavailableError(
            f"{layout.root}: the disk is full: {free // 2**20} MB free,"
            f" {MIN_FREE // 2**20} MB needed for events, state and logs"
        )
    layout.read_settings()
    layout.read_secrets()
    if layout.auth.exists():
        Auth.load(layout.auth)


def write(checked: Checked) -> None:
    """Writes what the processes read when they start; what an earlier start made is kept.

    :raises UnavailableError: the disk refuses.
    """
    layout, settings = checked.wish.layout, checked.wish.settings
    layout.write_settings(settings)
    put_logs_aside(layout)
    create_tokens(layout)
    password = layout.read_secrets().nats_password
    conf = layout.nats / "nats.conf"
    before = conf.read_text(encoding="utf-8", errors="replace") if conf.is_file() else ""
    most = store_mib(shutil.disk_usage(layout.root).total, before)
    config = server_config(settings.nats_port, layout.nats / "js", password, max_store_mib=most)
    write_private(conf, config)
    prepare_envoy(layout)


def put_logs_aside(layout: Layout) -> None:
    """What an earlier run said goes to `NAME.log.1`: a message that quotes a log must quote this run's."""
    for log in layout.logs.glob("*.log"):
        if log != layout.live_log:
            log.replace(log.with_name(f"{log.name}.1"))


def create_tokens(layout: Layout) -> None:
    """The API's tokens, made at the first start, and anew when one of their files is gone.

    :raises UnavailableError: the disk refuses.
    """
    if all(path.exists() for path in (layout.auth, layout.admin_token, layout.ingest_token)):
        return
    _auth, admin, ingest = Auth.create(layout.auth)
    write_private(layout.admin_token, admin + "\n")
    write_private(layout.ingest_token, ingest + "\n")


def plan(checked: Checked, announce: str, *, quiet: bool = False, beside: Iterable[ProcessSpec] = ()) -> Plan:
    """What the foreground process is to run; `beside` are processes that are no part of the stack itself.

    :raises UnavailableError: a binary is missing.
    """
    layout, settings = checked.wish.layout, checked.wish.settings
    environment = inherited_whole(os.environ, Path.cwd())
    return Plan(
        waves=(
            (_nats(layout, settings), *beside),
            (envoy_process(layout), _plane(layout, settings, environment)),
        ),
        sources=Sources(
            settings.api_port,
            layout.admin_token.read_text(encoding="ascii").strip(),
            str(layout.envoy_admin),
            reachable(settings.listen),
        ),
        announce=announce,
        live_log="" if quiet else str(layout.live_log),
        quiet=quiet,
    )


def inherited_whole(environ: Mapping[str, str], directory: Path) -> dict[str, str]:
    """All of `environ`, for the operator's own programs; relative import paths made absolute."""
    return {**environ, **inherited_environment(environ, directory)}


def _nats(layout: Layout, settings: Settings) -> ProcessSpec:
    return ProcessSpec(
        name="nats",
        argv=(str(server_binary()), "-c", str(layout.nats / "nats.conf")),
        env={"PATH": os.environ.get("PATH", os.defpath)},
        cwd=str(layout.nats),
        log=str(layout.logs / "nats.log"),
        ready=ReadyCheck(ReadyKind.TCP, port=settings.nats_port, timeout=20.0),
        listens=(settings.nats_port,),
    )


def _plane(layout: Layout, settings: Settings, environment: Mapping[str, str]) -> ProcessSpec:
    ready = ReadyCheck(ReadyKind.HTTP, port=settings.api_port, path="/api/v1/health", timeout=PLANE_TIMEOUT)
    return ProcessSpec(
        name="control-plane",
        argv=(sys.executable, "-m", "divertor.plane", str(layout.root)),
        # DIVERTOR_DATA is where the commands of rules may write.
        env={**environment, "DIVERTOR_DATA": str(layout.data)},
        cwd=str(Path.cwd()),
        log=str(layout.logs / "control-plane.log"),
        ready=ready,
        listens=(settings.api_port,),
    )


def announcement(checked: Checked, title: str, hints: Iterable[str] = ()) -> str:
    """What a person is told once the stack serves."""
    layout, settings = checked.wish.layout, checked.wish.settings
    api = f"http://127.0.0.1:{settings.api_port}"
    lines = [
        f"{title} is up.",
        "",
        f"  App     {APPS}",
        f"  API     {api}/api/v1",
        f"  Docs    {api}/docs",
        f"  Token   {layout.admin_token}",
        f"  Logs    {layout.logs}",
        *hints,
    ]
    if not settings.isolate:
        lines += ["", "  ISOLATION IS OFF: attacks are reported and go through."]
    return "\n".join([*lines, "", "What is diverted, and why (Ctrl-C stops everything):"])


def facts(checked: Checked) -> dict[str, object]:
    """What a script is told once the stack serves."""
    layout, settings = checked.wish.layout, checked.wish.settings
    api = f"http://127.0.0.1:{settings.api_port}"
    return {
        "apps": APPS,
        "api": f"{api}/api/v1",
        "docs": f"{api}/docs",
        "token_file": str(layout.admin_token),
        "state": str(layout.root),
    }


def reachable(listen: str) -> str:
    """An address at which somebody on this machine reaches what listens on `listen`."""
    return "127.0.0.1" if listen in ("", "0.0.0.0", "::") else listen


def wish(
    layout: Layout,
    blueprint: Path,
    rules: Path | None,
    *,
    listen: str,
    port_offset: int,
    isolate: bool,
    color: bool,
    virtual_hosts_port: int = 0,
    trusted_hops: int = 0,
    log_sample: float = 1.0,
    public_url: str = "",
) -> Wish:
    """The user's options as a wish.

    :raises RefusedError: the ports leave the range of ports.
    :raises InputError: the address to listen on, or the public one, is none.
    """
    from ipaddress import IPv4Address

    try:
        IPv4Address(listen)
    except ValueError:
        raise InputError(
            f"{listen!r} is no address", Position("--listen"), "an IPv4 address, as 127.0.0.1"
        ) from None
    if public_url and urlsplit(public_url).scheme not in ("http", "https"):
        raise InputError(
            f"{public_url[:80]!r} is no web address", Position("--public-url"), "https://divertor.example.com"
        )
    defaults = Settings()
    settings = replace(
        defaults,
        api_port=defaults.api_port + port_offset,
        nats_port=defaults.nats_port + port_offset,
        listen=listen,
        blueprint=str(blueprint.absolute()),
        rules=str(rules.absolute()) if rules else "",
        isolate=isolate,
        color=color,
        virtual_hosts_port=virtual_hosts_port,
        trusted_hops=trusted_hops,
        log_sample=log_sample,
        public_url=public_url.rstrip("/"),
    )
    if not 1024 <= settings.api_port <= 65535 or not 1024 <= settings.nats_port <= 65535:
        raise RefusedError(f"--port-offset {port_offset} leads out of the range of ports")
    return Wish(layout, settings)


def _names_artifacts(blueprint: Blueprint) -> bool:
    """Whether it means something by its name only, which a running stack may have stored."""
    services = [service for cluster in blueprint.clusters for service in cluster.services]
    gateways = [
        *blueprint.gateways,
        *(gateway for cluster in blueprint.clusters for gateway in cluster.gateways),
    ]
    meant = [
        *(service.breed for service in services),
        *(service.scale for service in services),
        *(route.condition_reference for gateway in gateways for route in gateway.routes),
    ]
    return any(isinstance(each, Reference) for each in meant)
