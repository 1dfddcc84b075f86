"""The options that many commands share, and a group whose bare name lists."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.core import TyperGroup

State = Annotated[
    str,
    typer.Option(
        "--state",
        envvar="DIVERTOR_STATE",
        metavar="DIR",
        help="State directory of the stack, or `default` or `demo`; without it, the one that is running.",
        show_envvar=True,
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


class ListsByDefault(TyperGroup):
    """A group of commands for which nothing, or an option alone, means `list`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        if not args or (args[0].startswith("-") and args[0] != "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def listing(help: str) -> typer.Typer:
    """A group for one kind of thing."""
    return typer.Typer(cls=ListsByDefault, help=help, no_args_is_help=False)
