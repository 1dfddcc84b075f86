"""Asking a process whether it can be used: does its port accept, does its file exist, does it answer 200.

Only addresses in numbers and Unix sockets, so nothing here resolves a name or starts a thread. Every probe is
bounded in time and in the bytes it reads.
"""

from __future__ import annotations

import asyncio
import os
import socket

from divertor.runtime.process import ReadyCheck, ReadyKind

#: Seconds between two probes, and the most one probe may take.
POLL = 0.01
PROBE_TIMEOUT = 2.0


async def wait_ready(check: ReadyCheck) -> bool:
    """Probes until `check` holds; False when `check.timeout` seconds passed first."""
    try:
        async with asyncio.timeout(check.timeout):
            while True:
                if await probe(check):
                    return True
                await asyncio.sleep(POLL)
    except TimeoutError:
        return False


async def probe(check: ReadyCheck) -> bool:
    """Whether `check` holds now; at most `PROBE_TIMEOUT` seconds."""
    if check.kind is ReadyKind.FILE:
        return os.access(check.path, os.F_OK)
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            return await _answers(check)
    except (OSError, TimeoutError):
        return False


async def _answers(check: ReadyCheck) -> bool:
    family = socket.AF_UNIX if check.socket else socket.AF_INET6 if ":" in check.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, check.socket or (check.host, check.port))
        if check.kind is ReadyKind.TCP:
            return not _is_connected_to_itself(connection)
        request = f"GET {check.path} HTTP/1.1\r\nhost: {check.host}\r\nconnection: close\r\n\r\n"
        await loop.sock_sendall(connection, request.encode())
        return await _status_is_200(connection)


def _is_connected_to_itself(connection: socket.socket) -> bool:
    """A connection to an unused port of the ephemeral range can be given that very port as its own."""
    return bool(connection.getpeername() == connection.getsockname())


async def _status_is_200(connection: socket.socket) -> bool:
    loop = asyncio.get_running_loop()
    head = b""
    while b"\n" not in head and len(head) < 1024:
        chunk = await loop.sock_recv(connection, 1024)
        if not chunk:
            break
        head += chunk
    return head.startswith(b"HTTP/1.") and head.split(b" ", 2)[1:2] == [b"200"]
