"""`divertor up`, `demo` and `down`: the stack in the foreground of a terminal.

This process prepares everything and then becomes the small one of `divertor.runtime.main`, so that nothing it
had to import stays in memory.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from divertor.cli.errors import RefusedError
from divertor.cli.options import AsJson, State
from divertor.cli.states import DEFAULT, DEMO, find_state, named_state, running_pid
from divertor.cli.text import print_json

if TYPE_CHECKING:
    from divertor.cli.preparing import Checked
    from divertor.runtime.process import ProcessSpec

#: Seconds `down` waits before it kills, and after that.
STOP_TIMEOUT = 30.0


def up(
    blueprint: Annotated[Path, typer.Argument(metavar="BLUEPRINT", help="What to run: a YAML file.")],
    rules: Annotated[
        Path | None,
        typer.Option("--rules", metavar="DIR", help="A directory of rule files.", show_default=False),
    ] = None,
    state: State = "",
    listen: Annotated[
        str, typer.Option(metavar="ADDR", help="The address customers come in by; 0.0.0.0 for all.")
    ] = "127.0.0.1",
    port_offset: Annotated[
        int, typer.Option(metavar="N", help="Added to the API's port (9090) and the broker's (9094).")
    ] = 0,
    virtual_hosts_port: Annotated[
        int,
        typer.Option(
            metavar="PORT", help="All gateways on one port, told apart by host; 0: none.", min=0, max=65535
        ),
    ] = 0,
    trusted_hops: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Proxies in front of all gateways whose X-Forwarded-For counts.",
            min=0,
            max=16,
        ),
    ] = 0,
    no_isolation: Annotated[
        bool, typer.Option("--no-isolation", help="Report attacks, divert nobody.")
    ] = False,
    log_sample: Annotated[
        float,
        typer.Option(
            metavar="PERCENT",
            help="The share of requests that become events though they went well.",
            min=0,
            max=100,
        ),
    ] = 1.0,
    public_url: Annotated[
        str,
        typer.Option(metavar="URL", help="Where people reach the API: alerts then link to their event."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Run your app under Divertor, in the foreground, until Ctrl-C.

    With --json: prints one JSON document with its addresses when it serves, and nothing else.
    """
    from divertor.cli.preparing import check, wish, write

    asked = wish(
        named_state(state or DEFAULT),
        blueprint,
        rules,
        listen=listen,
        port_offset=port_offset,
        isolate=not no_isolation,
        color=_has_colour(),
        virtual_hosts_port=virtual_hosts_port,
        trusted_hops=trusted_hops,
        log_sample=log_sample,
        public_url=public_url,
    )
    checked = check(asked)
    write(checked)
    _become(checked, checked.blueprint.name or "The stack", as_json=as_json)


def demo(
    script: Annotated[
        bool, typer.Option("--script", help="Play a customer and an attacker, check every claim, and end.")
    ] = False,
    no_isolation: Annotated[
        bool, typer.Option("--no-isolation", help="Divert nobody, to see what an attack does then.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the state of the last demo (or of the script).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the demo shop under Divertor, in the foreground, until Ctrl-C.

    With --script it starts a stack of its own, beside whatever runs, and exits 0 only if every claim held.
    """
    from divertor.cli.demo.setting import (
        fresh_state,
        hints,
        require_demo,
        require_own,
        shop_directory,
        sink,
    )
    from divertor.cli.preparing import check_files, require_ports, require_usable, wish, write

    require_demo()
    shop = shop_directory()
    if script:
        from divertor.cli.demo.script import run_script

        raise typer.Exit(run_script(shop, isolate=not no_isolation, keep=keep, as_json=as_json))
    layout = named_state(DEMO)
    asked = wish(
        layout,
        shop / "blueprint.yaml",
        shop / "rules",
        listen="127.0.0.1",
        port_offset=0,
        isolate=not no_isolation,
        color=_has_colour(),
    )
    # The last demo's state is removed only when nothing speaks against a new one.
    require_own(layout)
    checked = check_files(asked)
    require_ports(checked)
    process = sink(layout)
    fresh_state(layout, keep=keep)
    require_usable(layout)
    write(checked)
    _become(checked, "The demo shop", as_json=as_json, hints=hints(), beside=[process])


def down(state: State = "", as_json: AsJson = False) -> None:
    """Stop a running stack and everything it started."""
    layout = find_state(state)
    pid = running_pid(layout)
    if not pid:
        raise RefusedError(f"no stack is running in {layout.root}")
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        pass
    else:
        _stop(handle)
    if as_json:
        print_json({"stopped": str(layout.root)})
    else:
        typer.echo(f"The stack in {layout.root} is stopped.")


def _stop(handle: int) -> None:
    """Asks the process behind a pidfd to end; a second time, which kills what is left, when it takes long."""
    from select import select

    try:
        for _ in range(2):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGTERM)
            if select([handle], [], [], STOP_TIMEOUT)[0]:
                return
    except PermissionError:
        raise RefusedError("the stack belongs to another user") from None
    finally:
        os.close(handle)
    raise RefusedError("the stack does not stop")


def _become(
    checked: Checked,
    title: str,
    *,
    as_json: bool,
    hints: tuple[str, ...] = (),
    beside: list[ProcessSpec] | None = None,
) -> NoReturn:
    """Ends this program by turning it into the foreground process of the stack."""
    import json

    from divertor.cli.preparing import announcement, facts, plan
    from divertor.runtime.main import command_line

    announce = json.dumps(facts(checked)) if as_json else announcement(checked, title, hints)
    argv, _ = command_line(
        checked.wish.layout.run, plan(checked, announce, quiet=as_json, beside=beside or [])
    )
    if not as_json:
        typer.echo("Starting …")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(argv[0], argv)


def _has_colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
