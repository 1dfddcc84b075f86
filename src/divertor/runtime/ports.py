"""Loopback ports: which are free, which to hand out, and who holds the one that is taken.

A port that is free now may be taken a moment later; the process that binds it has the last word. All ports
handed out lie below 32768, where Linux starts to take the ports of outgoing connections: a client that keeps
retrying such a port can connect to itself and hold it.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import socket
from collections.abc import Collection, Iterator
from pathlib import Path

from divertor.errors import ConflictError, UnavailableError

LOWEST = 20000
HIGHEST = 29999

_LISTENING = "0A"
_PROC = Path("/proc")


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether `host:port` can be bound right now.

    :raises UnavailableError: it cannot be tried (a privileged port, an address that is not this machine's).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of an earlier owner that are still winding down do not count as use.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as problem:
            if problem.errno == errno.EADDRINUSE:
                return False
            raise UnavailableError(f"cannot listen on {host}:{port}: {problem.strerror}") from problem
    return True


def pick_port(excluded: Collection[int] = (), low: int = LOWEST, high: int = HIGHEST) -> int:
    """A free loopback port from `low` to `high` that is not `excluded`; at random, so that two who look at
    the same time rarely take the same.

    :raises UnavailableError: there is none.
    """
    taken = frozenset(excluded)
    start = random.randint(low, high)
    for port in itertools.chain(range(start, high + 1), range(low, start)):
        if port not in taken and is_free(port):
            return port
    raise UnavailableError(f"no free port from {low} to {high} on 127.0.0.1")


def require_free(port: int, host: str = "127.0.0.1") -> None:
    """Nothing, when `host:port` can be bound.

    :raises ConflictError: somebody listens there; the message names the process when /proc tells.
    """
    if is_free(port, host):
        return
    owner = holder(port)
    raise ConflictError(f"port {port} on {host} is in use" + (f" by {owner}" if owner else ""))


def holder(port: int) -> str:
    """`NAME (pid N)` of the process that listens on TCP `port`; empty when /proc does not tell.

    Other users' sockets stay anonymous unless this runs as root.
    """
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not wanted:
        return ""
    for directory in _PROC.glob("[0-9]*"):
        if any(target in wanted for target in _open_files(directory)):
            return f"{_command_name(directory)} (pid {directory.name})"
    return ""


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _open_files(directory: Path) -> Iterator[str]:
    try:
        entries = list(os.scandir(directory / "fd"))
    except OSError:
        return
    for entry in entries:
        try:
            yield os.readlink(entry.path)
        except OSError:
            continue


def _command_name(directory: Path) -> str:
    try:
        return (directory / "comm").read_text().strip()
    except OSError:
        return "a process"
