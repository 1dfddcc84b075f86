"""How a command ends: its exit code, and the errors that only the command line knows."""

from __future__ import annotations

from enum import IntEnum

from divertor.errors import DivertorError, UnavailableError


class ExitCode(IntEnum):
    """What a script can rely on. `USAGE` is what the argument parser itself exits with."""

    OK = 0
    PROBLEM = 1
    USAGE = 2
    UNREACHABLE = 3


class UnreachableError(UnavailableError):
    """No stack runs, or the one that should does not answer."""


class RefusedError(DivertorError):
    """The stack understood the request and said no."""


def exit_code(problem: DivertorError) -> ExitCode:
    """The exit code that tells `problem`."""
    return ExitCode.UNREACHABLE if isinstance(problem, UnreachableError) else ExitCode.PROBLEM
