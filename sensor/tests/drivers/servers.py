"""Database servers of the tests' own: in a directory of their own, on a socket of their own, ended by pid.

Nothing outlives them, so nothing is synced to disk. Each writes down every statement it gets before it runs
it: that is how a test knows whether one arrived.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

#: Seconds a server may take to come up.
_DEADLINE = 60.0
#: Only part of the socket's name: neither server listens on a network.
_PORT = 15432
_SYSTEM = ("/usr/sbin", "/usr/local/sbin")


class MissingError(Exception):
    """The server's programs are not installed; the message says which."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: `directory` holds its socket, `log` the statements it got."""

    directory: Path
    socket: Path
    log: Path
    port: int

    def has_seen(self, text: str) -> bool:
        """Whether a statement with `text` in it has arrived."""
        return text in self.log.read_text(errors="replace")


@contextmanager
def postgresql() -> Iterator[Server]:
    """A PostgreSQL, user `tests`, database `postgres`, everybody trusted who can reach the socket.

    :raises MissingError: it is not installed.
    """
    programs = _postgresql_programs()
    with _home("postgres") as (home, user):
        data, log = home / "data", home / "log"
        _run(
            [programs / "initdb", "-D", data, "-N", "-A", "trust", "-U", "tests", "-E", "UTF8", "--locale=C"],
            user,
        )
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(home),
            "port": str(_PORT),
            "fsync": "off",
            "shared_buffers": "16MB",
            "max_wal_senders": "0",
            "log_statement": "all",
            "log_min_duration_statement": "0",  # tells what was only prepared, too
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        socket = home / f".s.PGSQL.{_PORT}"
        with _running(
            [programs / "postgres", "-D", data, *options],
            user,
            log,
            lambda: "ready to accept connections" in log.read_text(),
            signal.SIGQUIT,
        ):
            yield Server(home, socket, log, _PORT)


@contextmanager
def mariadb() -> Iterator[Server]:
    """A MariaDB, user `root` without a password, database `tests`.

    :raises MissingError: it is not installed.
    """
    program, setup = _program("mariadbd"), _program("mariadb-install-db")
    with _home("mysql") as (home, user):
        data, log, socket = home / "data", home / "statements", home / "socket"
        as_user = [f"--user={user}"] if user else []
        _run([setup, "--no-defaults", f"--datadir={data}", *as_user, *_SETUP], None)
        (data / "tests").mkdir()
        if user:
            shutil.chown(data / "tests", user)
        with _running(
            [
                program,
                "--no-defaults",
                f"--datadir={data}",
                f"--socket={socket}",
                f"--pid-file={home / 'pid'}",
                "--skip-networking",
                "--general-log",
                f"--general-log-file={log}",
                "--innodb-buffer-pool-size=16M",
                "--innodb-flush-log-at-trx-commit=0",
                "--innodb-flush-method=nosync",
            ],
            user,
            home / "log",
            lambda: "ready for connections" in (home / "log").read_text(),
            signal.SIGKILL,  # it would take a second to write down what nobody reads
        ):
            yield Server(home, socket, log, 0)


_SETUP = ("--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve")


@contextmanager
def _home(preferred: str) -> Iterator[tuple[Path, str | None]]:
    """A directory for a server, and the user to run it as: servers refuse to be root."""
    user = _unprivileged(preferred) if os.geteuid() == 0 else None
    # Not below pytest's directories: another user could not enter, and a socket's path must be short.
    home = Path(tempfile.mkdtemp(prefix="divertor-"))
    try:
        if user:
            shutil.chown(home, user)
        yield home, user
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _running(
    command: Sequence[str | Path], user: str | None, log: Path, is_up: Callable[[], bool], end: signal.Signals
) -> Iterator[None]:
    # Where the machine can, the kernel ends the server as well when the tests are killed.
    guard = ["setpriv", "--pdeathsig", end.name.removeprefix("SIG"), "--"] if shutil.which("setpriv") else []
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*guard, *command], user=user, stdout=output, stderr=output, cwd=log.parent
        )
    try:
        deadline = time.monotonic() + _DEADLINE
        while not is_up():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield
    finally:
        process.send_signal(end)
        process.wait()


def _run(command: Sequence[str | Path], user: str | None) -> None:
    done = subprocess.run(command, user=user, capture_output=True, cwd="/", check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def _unprivileged(preferred: str) -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return preferred if preferred in names else "nobody"


def _postgresql_programs() -> Path:
    """Debian keeps the server's programs out of the path, by version; the newest one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else _program("initdb").parent


def _program(name: str) -> Path:
    path = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *_SYSTEM)))
    if path is None:
        raise MissingError(f"{name} is not installed")
    return Path(path)
