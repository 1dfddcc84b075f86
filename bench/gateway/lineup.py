"""Who is compared: Divertor's gateway, Envoy alone, HAProxy and nginx, in front of the same two versions.

The competitors' configurations are written by hand (`configs/`), as somebody would who wants the same from
them; none comes from our own generator. All have one worker. Isolated sessions are the same random text
everywhere; the load's session is not among them, except where the name says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from signal import SIGQUIT
from string import Template

from bench.contenders import LOAD_CORES, Contender, new_port, running
from bench.load import program
from divertor.envoy.plan import Endpoint, FilterKey, Isolated, Route, Snapshot, Upstream, simple_listener
from divertor.gateway.files import ConfigFiles
from divertor.gateway.process import envoy_binary, envoy_process, paths_of, prepare
from divertor.isolation.layout import FOREVER, fingerprint, scope_key
from divertor.isolation.table import Table
from divertor.layout import Layout
from divertor.model.artifacts import Recording
from divertor.model.isolation import KeyKind, KeySelector

SECRET = b"bench" * 6
SCOPE = "shop/web"
COOKIE = KeySelector(KeyKind.COOKIE, "session")
ADDRESS = KeySelector(KeyKind.ADDRESS)
CONFIGS = Path(__file__).parent / "configs"
#: The equivalent bare Envoy, which everything is compared with.
BASE = "Envoy, equivalent"
#: Seconds an isolation lasts that the gateway itself begins.
LASTING = 86400


#: A command line and what its environment has besides ours.
Command = tuple[Sequence[str], dict[str, str]]


@dataclass(frozen=True, slots=True)
class Versions:
    """The ports of the two versions behind every gateway."""

    newest: int
    audited: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A contender of the table: its process, the session its load has, the folder of its configuration, and
    how many sessions are isolated (None: it knows no isolation)."""

    name: str
    contender: Contender
    folder: Path
    isolated: int | None = None
    session: str = ""

    @property
    def layout(self) -> Layout:
        """Divertor's files, if it is Divertor."""
        return Layout(self.folder)


def session(number: int) -> str:
    """A session id as applications make them: 128 bits that look random."""
    return blake2b(number.to_bytes(8, "little"), digest_size=16).hexdigest()


@contextmanager
def backend(folder: Path, taken: set[int]) -> Iterator[Versions]:
    """The two versions, in one process; at the end it finishes what it was asked."""
    versions = Versions(new_port(taken), new_port(taken))
    folder.mkdir()
    path = _written(folder, "backend.conf", 0, versions)
    argv = [program("nginx"), "-e", str(folder / "error.log"), "-c", str(path)]
    with running("backend", versions.newest, argv, cores=LOAD_CORES, log=folder / "log", stop=SIGQUIT):
        yield versions


@contextmanager
def lineup(
    folder: Path, many: int, versions: Versions, taken: set[int], say: Callable[[str], None]
) -> Iterator[list[Entry]]:
    """Everybody, running; `many` sessions are isolated in the one that has many."""
    with ExitStack() as stack:
        entries: list[Entry] = []

        def enter(name: str, start: Callable[..., Command], isolated: int | None) -> None:
            say(f"starting {name}")
            own = folder / str(len(entries))
            own.mkdir()
            argv, environment = start(own, port := new_port(taken), versions, isolated)
            contender = stack.enter_context(running(name, port, argv, environment, log=own / "log"))
            entries.append(Entry(name, contender, own, isolated))

        enter("Envoy, plainest", _plain_envoy, None)
        enter(BASE, _bare_envoy, None)
        enter(f"{BASE}, once more", _bare_envoy, None)
        enter("Divertor, no isolation", divertor, None)
        enter("Divertor, 0 isolated", divertor, 0)
        enter(f"Divertor, {many:,} isolated", divertor, many)
        entries.append(replace(entries[-1], name="… asked by an isolated client", session=session(0)))
        enter("HAProxy, 0 isolated", _haproxy, 0)
        enter(f"HAProxy, {many:,} isolated", _haproxy, many)
        enter("nginx, 0 isolated", _nginx, 0)
        enter(f"nginx, {many:,} isolated", _nginx, many)
        yield entries


def _plain_envoy(folder: Path, port: int, versions: Versions, isolated: None) -> Command:
    return _envoy(_written(folder, "plain-envoy.yaml", port, versions))


def _bare_envoy(folder: Path, port: int, versions: Versions, isolated: None) -> Command:
    return _envoy(_written(folder, "bare-envoy.yaml", port, versions))


def _envoy(path: Path) -> Command:
    options = ["--use-dynamic-base-id", "--concurrency", "1", "-l", "error"]
    return [str(envoy_binary()), "-c", str(path), *options], {}


def _haproxy(folder: Path, port: int, versions: Versions, isolated: int) -> Command:
    _write_map(folder, isolated, "{} 1\n")
    return [program("haproxy"), "-db", "-f", str(_written(folder, "haproxy.cfg", port, versions))], {}


def _nginx(folder: Path, port: int, versions: Versions, isolated: int) -> Command:
    _write_map(folder, isolated, "{} 1;\n")
    path = _written(folder, "nginx.conf", port, versions, hash_size=max(2048, isolated))
    return [program("nginx"), "-e", str(folder / "error.log"), "-c", str(path)], {}


def _write_map(folder: Path, isolated: int, line: str) -> None:
    with (folder / "sessions.map").open("w") as file:
        file.writelines(line.format(session(number)) for number in range(isolated))
    (folder / "addresses.map").touch()


def _written(folder: Path, name: str, port: int, versions: Versions, **more: int) -> Path:
    """A configuration of `configs/` with its ports and paths filled in."""
    template = Template((CONFIGS / name).read_text())
    path = folder / name
    path.write_text(
        template.safe_substitute(
            port=port, newest=versions.newest, audited=versions.audited, folder=folder, **more
        )
    )
    return path


def divertor(folder: Path, port: int, versions: Versions, isolated: int | None) -> Command:
    """Divertor's gateway with that many isolated sessions; None: without an isolation section."""
    layout = Layout(folder)
    layout.create()
    prepare(layout)
    ConfigFiles(paths_of(layout)).write(snapshot(port, versions, isolated is not None))
    table = Table.open(layout.table)
    table.replace((digest(session(number)), FOREVER) for number in range(isolated or 0))
    table.close()
    return envoy_command(layout)


def envoy_command(layout: Layout) -> Command:
    """Envoy as the supervisor starts it, but with one worker."""
    spec = envoy_process(layout)
    argv = list(spec.argv)
    argv[argv.index("--concurrency") + 1] = "1"
    return argv, dict(spec.env)


def snapshot(port: int, versions: Versions, isolates: bool) -> Snapshot:
    """One port, the newest version for everybody, the audited one for the isolated."""
    keys = tuple(FilterKey(each, scope_key(SECRET, SCOPE, each)) for each in (COOKIE, ADDRESS))
    policy = Isolated(SCOPE, "audited", keys, LASTING, "token" * 8, record=Recording())
    routes = (Route("newest", "newest", 100), Route("audited", "audited", 0))
    listener = simple_listener(
        "shop/80", "127.0.0.1", port, routes=routes, isolated=policy if isolates else None
    )
    return Snapshot((listener,), upstreams(versions))


def upstreams(versions: Versions) -> tuple[Upstream, Upstream]:
    """The two versions."""
    return (
        Upstream("newest", (Endpoint("127.0.0.1", versions.newest),)),
        Upstream("audited", (Endpoint("127.0.0.1", versions.audited),)),
    )


def digest(value: str) -> int:
    """What the table holds for a session."""
    return fingerprint(scope_key(SECRET, SCOPE, COOKIE), value)
