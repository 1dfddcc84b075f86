"""`alert: command`: a program of the user's, with the match on its standard input or in its arguments.

A list is an argument vector, each element formatted with fields of the match; a string is a shell script, run
as it is: no value of a match is ever put into it, because those values are written by attackers. The child
gets its own process group, a time limit, and an output that is kept only up to a bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
from collections.abc import Mapping
from typing import Any

from divertor.alerts.contract import DeliveryError
from divertor.alerts.text import body
from divertor.rules.document import lookup
from divertor.rules.rule import Match

#: Output of a command that is kept for the log, in bytes; the rest is read and thrown away.
MAX_OUTPUT = 16 * 1024

#: A value in an argument is cut here: the kernel limits arguments, and an attacker decides how long a value
#: is.
MAX_ARGUMENT = 4096

#: How long, in seconds, to go on reading output after the command ended (something it left running holds the
#: pipe).
_LINGER = 0.5

PLACEHOLDER = re.compile(r"%\((?P<old>[^()]+)\)s|\{(?P<new>[A-Za-z_@][\w.@\-\[\]]*)\}")


def argument_vector(match: Match, command: str | list[str]) -> list[str]:
    """What is executed. Placeholders are replaced in one pass, so a value is never read as a placeholder."""
    if isinstance(command, str):
        return ["/bin/sh", "-c", command]
    return [PLACEHOLDER.sub(lambda hole: _value(match, hole), element) for element in command]


def _value(match: Match, hole: re.Match[str]) -> str:
    # `{a[b]}` is str.format's spelling of the path `a.b`; `{a[0]}` is our own for a list.
    field = hole["old"] or re.sub(r"\[(\D[^\[\]]*)\]", r".\1", hole["new"])
    value = lookup(match.document, field)
    text = match.rule.words.missing if value is None else str(value)
    return text[:MAX_ARGUMENT].replace("\0", "")


def standard_input(match: Match, options: Mapping[str, Any]) -> bytes:
    """A JSON array with the match and a line end, or the alert's text, or nothing."""
    if options["pipe_match_json"]:
        return (json.dumps([match.document], default=str) + "\n").encode()
    if options["pipe_alert_text"]:
        return (body(match) + "\n").encode("utf-8", "replace")
    return b""


class Command:
    """Runs one command to its end; output goes to the logger, quoted."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [options]

    async def deliver(self, match: Match, options: Mapping[str, Any]) -> None:
        """:raises DeliveryError: it could not start, took too long, or `fail_on_non_zero_exit` and it did."""
        process = await _start(argument_vector(match, options["command"]))
        output = _Output()
        timeout = options["command_timeout"]
        try:
            async with asyncio.timeout(timeout):
                await _run(process, standard_input(match, options), output)
        except TimeoutError:
            raise DeliveryError(f"command still running after {timeout:g} s, killed", again=False) from None
        finally:
            await _end(process)
            self._report(match, process.returncode, output)
        if process.returncode and options["fail_on_non_zero_exit"]:
            raise DeliveryError(f"command exited with {process.returncode}", again=True)

    def _report(self, match: Match, status: int | None, output: _Output) -> None:
        self._log.info(
            "command of %s exited with %s: %s",
            json.dumps(match.rule.name),
            status,
            json.dumps(output.text()),
        )


class _Output:
    """The first bytes a command wrote, on either stream, and how many more there were."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._dropped = 0

    async def collect(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(64 * 1024):
            room = MAX_OUTPUT - len(self._kept)
            self._kept += chunk[:room]
            self._dropped += max(0, len(chunk) - room)

    def text(self) -> str:
        text = self._kept.decode("utf-8", "replace")
        return f"{text} (and {self._dropped} bytes more)" if self._dropped else text


async def _start(arguments: list[str]) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *[argument.encode("utf-8", "replace") for argument in arguments],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as problem:
        raise DeliveryError(f"command cannot start: {problem}", again=False) from problem


async def _run(process: asyncio.subprocess.Process, given: bytes, output: _Output) -> None:
    assert process.stdout is not None
    reading = asyncio.create_task(output.collect(process.stdout))
    try:
        await _feed(process, given)
        await process.wait()
        await asyncio.wait([reading], timeout=_LINGER)
    finally:
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading


async def _feed(process: asyncio.subprocess.Process, given: bytes) -> None:
    """Write and close; a command that does not read its input to the end has not failed."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(given)
        await process.stdin.drain()
    process.stdin.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill what is still running, with everything it started."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
