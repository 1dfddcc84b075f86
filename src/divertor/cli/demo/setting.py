"""The demo's stage: the shop's files, a state of its own, and a stand-in for Slack."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import divertor
from divertor.cli.errors import RefusedError
from divertor.cli.states import running_pid
from divertor.errors import ConflictError, UnavailableError
from divertor.layout import Layout
from divertor.runtime.ports import require_free
from divertor.runtime.process import ProcessSpec, ReadyCheck, ReadyKind

#: Where the demo's rules send their Slack messages.
SLACK_PORT = 9095
#: Only a state that holds this file is ever removed.
MARK = "demo"
_NEEDED = ("flask", "gunicorn", "divertor_sensor")


def require_demo() -> None:
    """:raises UnavailableError: what the shop runs on is not installed."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UnavailableError(
            f"the demo needs {', '.join(missing)}; run `make setup`, or `pip install 'divertor[demo]'`"
        )


def shop_directory() -> Path:
    """The demo shop's directory, which is part of the source checkout only.

    :raises UnavailableError: this is an installation without it.
    """
    directory = Path(divertor.__file__).resolve().parents[2] / "examples" / "hackable"
    if not (directory / "blueprint.yaml").is_file():
        raise UnavailableError(f"the demo shop is not in {directory}; run the demo from a source checkout")
    return directory


def require_own(layout: Layout) -> None:
    """:raises ConflictError: a demo runs in it.
    :raises RefusedError: it holds something that is not the demo's.
    :raises UnavailableError: it cannot be read.
    """
    if pid := running_pid(layout):
        raise ConflictError(f"the demo is running already (pid {pid}); stop it with `divertor down`")
    root = layout.root
    try:
        is_strange = root.exists() and any(root.iterdir()) and not (root / MARK).is_file()
    except OSError as problem:
        raise UnavailableError(f"{root}: {problem.strerror}") from problem
    if is_strange:
        raise RefusedError(f"{root} is not a state of the demo; move it away")


def fresh_state(layout: Layout, *, keep: bool) -> None:
    """An empty state directory of the demo, or the last one; raises as `require_own` does.

    :raises UnavailableError: it cannot be removed or made.
    """
    require_own(layout)
    root = layout.root
    try:
        if root.exists() and not keep:
            shutil.rmtree(root)
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        (root / MARK).touch()
    except OSError as problem:
        raise UnavailableError(f"{problem.filename}: {problem.strerror}") from problem


def messages_file(layout: Layout) -> Path:
    """What the stand-in for Slack received, as JSON lines."""
    return layout.root / "slack.jsonl"


def sink(layout: Layout, port: int = SLACK_PORT) -> ProcessSpec:
    """The stand-in for Slack.

    :raises ConflictError: its port is taken.
    """
    require_free(port)
    return ProcessSpec(
        name="slack-stand-in",
        argv=(
            sys.executable,
            "-m",
            "divertor.cli.slack_sink",
            str(port),
            str(messages_file(layout)),
            str(layout.live_log),
        ),
        env={name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        cwd=str(Path.cwd()),
        log=str(layout.logs / "slack-stand-in.log"),
        ready=ReadyCheck(ReadyKind.TCP, port=port, timeout=20.0),
        listens=(port,),
    )


def hints() -> tuple[str, ...]:
    """What to try."""
    return (
        "  Slack   a stand-in; what it received is shown below",
        "",
        "  Log in as alice, password wonderland. Then, in a private window, log in as",
        "    ' union all select 1,2 from INFORMATION_SCHEMA.tables -- ",
        "  with any password. In another terminal: divertor detections show",
    )
