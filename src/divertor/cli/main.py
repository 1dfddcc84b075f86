"""`divertor`: the commands, and the one place where errors become a message and an exit code."""

from __future__ import annotations

import os
from typing import Any

import typer
from typer.core import TyperGroup

from divertor import __version__
from divertor.cli import (
    alarms,
    alerts,
    deployments,
    detections,
    events,
    gateways,
    isolations,
    metrics,
    recordings,
    rules,
    stack,
    status,
)
from divertor.cli.errors import exit_code
from divertor.cli.options import AsJson
from divertor.cli.text import print_error, print_json
from divertor.errors import DivertorError


class Commands(TyperGroup):
    """Tells every expected error in one line; a bug of ours still shows its trace."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except DivertorError as problem:
            print_error(str(problem))
            raise typer.Exit(exit_code(problem)) from None
        except BrokenPipeError:
            # Whoever read our output has seen enough; the interpreter must not complain on its way out.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise typer.Exit(0) from None


app = typer.Typer(
    cls=Commands,
    help="Ship every release to every customer; divert the attacker, in the same request, to an audited one.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("up")(stack.up)
app.command("demo")(stack.demo)
app.command("down")(stack.down)
app.command("status")(status.status)
app.command("metrics")(metrics.metrics)
app.add_typer(deployments.group, name="deployments")
app.add_typer(gateways.group, name="gateways")
recordings.join(isolations.group)
app.add_typer(isolations.group, name="isolations")
app.add_typer(detections.group, name="detections")
app.add_typer(events.group, name="events")
alarms.join(rules.group)
app.add_typer(rules.group, name="rules")
app.add_typer(alarms.group, name="alarms")
app.add_typer(alarms.silences, name="silences")
app.add_typer(alerts.group, name="alerts")


@app.command()
def version(as_json: AsJson = False) -> None:
    """Print the version."""
    if as_json:
        print_json({"version": __version__})
    else:
        typer.echo(__version__)


if __name__ == "__main__":
    app(prog_name="divertor")
