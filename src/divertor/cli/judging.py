"""`divertor rules run`: a rule worker of its own, beside the control plane's or instead of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from divertor.cli.options import State


def run(
    state: State = "",
    name: Annotated[
        str,
        typer.Option(
            "--name", metavar="NAME", help="What its checkpoint is called; without it the first free name."
        ),
    ] = "",
    rules: Annotated[
        Path | None,
        typer.Option(
            "--rules", metavar="DIR", help="Rule files, instead of the stack's.", show_default=False
        ),
    ] = None,
) -> None:
    """Judge events and deliver alerts in this process, until it is stopped.

    Several may run, beside the stack's own: one speaks, the others take over when it dies.
    """
    from divertor.cli.states import find_state
    from divertor.plane.rules import run as run_worker

    folder = "" if rules is None else str(rules.absolute())
    raise typer.Exit(run_worker(find_state(state), name, folder))
