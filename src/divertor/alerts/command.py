"""`alert: command`: a program of the user's, with the match on its standard input or in its arguments.

A list is an argument vector, each element formatted with fields of the match; a string is a shell script in
which `%(field)s` is a reference to a variable: values are written by attackers and never become part of it.
The child gets its own process group, a time limit, and an output that is kept only up to a bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from typing import IO, Any

from divertor.alerts.contract import Alerter, Delivery, DeliveryError
from divertor.alerts.filling import filled
from divertor.alerts.hook import Tools
from divertor.alerts.http import to_json
from divertor.alerts.text import body
from divertor.rules.alerters.shell import PLACEHOLDER, VARIABLE, with_variables
from divertor.rules.document import lookup
from divertor.rules.notification import Notification
from divertor.rules.rule import Match

#: Output of a command that is kept for the log, in bytes; the rest is read and thrown away.
MAX_OUTPUT = 16 * 1024

#: A value in an argument is cut here: the kernel limits arguments, and an attacker decides how long a value
#: is.
MAX_ARGUMENT = 4096

#: How long, in seconds, to go on reading output after the command ended (something it left running holds the
#: pipe).
_LINGER = 0.5


def argument_vector(match: Match, command: str | list[str]) -> list[str]:
    """What is executed. Placeholders are replaced in one pass, so a value is never read as a placeholder."""
    if isinstance(command, str):
        return ["/bin/sh", "-c", with_variables(command)[0] if PLACEHOLDER.search(command) else command]
    return [filled(element, match, _argument, MAX_ARGUMENT) for element in command]


def environment(match: Match, command: str | list[str]) -> dict[str, str]:
    """The variables that a script refers to, beside those of this process."""
    if not isinstance(command, str) or not PLACEHOLDER.search(command):
        return {}
    fields = enumerate(with_variables(command)[1], 1)
    return {f"{VARIABLE}{number}": _value(match, field) for number, field in fields}


def _value(match: Match, field: str) -> str:
    value = lookup(match.document, field)
    return _argument(match.rule.words.missing if value is None else str(value)[:MAX_ARGUMENT])


def _argument(value: str) -> str:
    """Arguments and variables end at a zero byte."""
    return value.replace("\0", "")


def standard_input(notification: Notification, options: Mapping[str, Any]) -> bytes:
    """A JSON array with the matches and a line end, or the alert's text as it is, or nothing."""
    if options["pipe_match_json"]:
        return to_json([match.document for match in notification.matches]) + b"\n"
    if options["pipe_alert_text"]:
        return body(notification).encode("utf-8", "replace")
    return b""


class Command:
    """Runs one command to its end; output goes to the logger, quoted."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [options]

    async def deliver(self, delivery: Delivery) -> None:
        """:raises DeliveryError: it could not start, took too long, or `fail_on_non_zero_exit` and it did."""
        notification, options = delivery.notification, delivery.options
        timeout = options["command_timeout"]
        output = _Output()
        async with output.pipe() as written:
            given = standard_input(notification, options)
            match, command = notification.first, options["command"]
            arguments, own = argument_vector(match, command), environment(match, command)
            process = await _start(arguments, own, given, written)
            try:
                in_time = await _ends_within(process, timeout)
            finally:
                await _kill(process)
            await output.settle()
        self._report(notification.rule.name, process.returncode, output)
        if not in_time:
            raise DeliveryError(f"command still running after {timeout:g} s, killed", again=False)
        if process.returncode and options["fail_on_non_zero_exit"]:
            raise DeliveryError(f"command exited with {process.returncode}", again=True)

    def _report(self, name: str, status: int | None, output: _Output) -> None:
        self._log.info(
            "command of %s exited with %s: %s",
            json.dumps(name),
            status,
            json.dumps(output.text()),
        )


class _Output(asyncio.Protocol):
    """The first bytes a command wrote, on either stream, and how many more there were.

    A pipe of our own: with asyncio's, `wait` would not return while a leftover child holds the other end.
    """

    def __init__(self) -> None:
        self._kept = bytearray()
        self._dropped = 0
        self._writing = -1
        self._ended = asyncio.Event()

    @contextlib.asynccontextmanager
    async def pipe(self) -> AsyncIterator[int]:
        """The end to write to, until it settles; reading goes on beside whatever else happens."""
        reading, self._writing = os.pipe()
        file = os.fdopen(reading, "rb", buffering=0)
        transport, _protocol = await asyncio.get_running_loop().connect_read_pipe(lambda: self, file)
        try:
            yield self._writing
        finally:
            self._close_writing()
            transport.close()

    async def settle(self) -> None:
        """Wait for the last output, but not for what lingers."""
        self._close_writing()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), _LINGER)

    def data_received(self, data: bytes) -> None:
        room = MAX_OUTPUT - len(self._kept)
        self._kept += data[:room]
        self._dropped += max(0, len(data) - room)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()

    def text(self) -> str:
        text = self._kept.decode("utf-8", "replace")
        return f"{text} (and {self._dropped} bytes more)" if self._dropped else text

    def _close_writing(self) -> None:
        writing, self._writing = self._writing, -1
        if writing >= 0:
            os.close(writing)


async def _start(
    arguments: list[str], own: Mapping[str, str], given: bytes, written: int
) -> asyncio.subprocess.Process:
    variables = {**os.environb, **{name.encode(): _bytes(value) for name, value in own.items()}}
    try:
        with _as_file(given) as file:
            return await asyncio.create_subprocess_exec(
                *map(_bytes, arguments),
                env=variables,
                stdin=file,
                stdout=written,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
    except (OSError, ValueError) as problem:
        raise DeliveryError(f"command cannot start: {problem}", again=False) from problem


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "replace")


def _as_file(given: bytes) -> IO[bytes]:
    """What is given, as a file to read: unlike a pipe it never blocks either side."""
    file = tempfile.TemporaryFile()
    file.write(given)
    file.seek(0)
    return file


async def _ends_within(process: asyncio.subprocess.Process, timeout: float) -> bool:
    try:
        await asyncio.wait_for(process.wait(), timeout)
    except TimeoutError:
        return False
    return True


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End what still runs, with everything it started."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def make(tools: Tools) -> Alerter:
    return Command(tools.log)
