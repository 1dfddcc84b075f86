"""Which stack a command means: the one that was named, else the one that runs."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from divertor.cli.errors import RefusedError, UnreachableError
from divertor.layout import Layout, default_root

DEFAULT = "default"
DEMO = "demo"


def named_state(name: str) -> Layout:
    """The stack in the directory `name`; a bare `default` or `demo` is one of the user's own."""
    if name in (DEFAULT, DEMO):
        return Layout(default_root(name))
    return Layout(Path(name).expanduser().absolute())


def find_state(name: str) -> Layout:
    """The stack `name`, or the running one when nothing is named.

    :raises UnreachableError: nothing runs.
    :raises RefusedError: several run, so that one must be named.
    """
    if name:
        return named_state(name)
    running = [each for each in (DEFAULT, DEMO) if running_pid(named_state(each))]
    if not running:
        raise UnreachableError(
            "no stack is running; start one with `divertor up BLUEPRINT` or `divertor demo`,"
            " or name one with --state"
        )
    if len(running) > 1:
        raise RefusedError(f"{' and '.join(running)} are running; name one with --state")
    return named_state(running[0])


def running_pid(layout: Layout) -> int:
    """The supervisor's process id, 0 when none runs: it holds a lock as long as it lives."""
    try:
        descriptor = os.open(layout.run / "supervisor.lock", os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return 0
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        return int(text) if text.isdecimal() else 0
    finally:
        os.close(descriptor)
    return 0
