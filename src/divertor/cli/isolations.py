"""`divertor isolations`: who is being diverted and why; divert somebody, or let somebody back."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from divertor.cli.errors import RefusedError
from divertor.cli.ids import remove_all
from divertor.cli.options import AsJson, State, listing
from divertor.cli.text import console, print_json, print_table, short_time, styled

if TYPE_CHECKING:
    from divertor.cli.client import Api

group = listing("Who is being diverted, and why.")


Scope = Annotated[
    str, typer.Option(metavar="DEPLOYMENT/CLUSTER", help="Only there.", rich_help_panel="Which")
]
Kind = Annotated[str, typer.Option(metavar="KIND", help="Only such keys: cookie, address, …")]
Many = list[str] | None
Author = Annotated[str, typer.Option("--by", metavar="WHO", help="Only what this user or rule decided.")]


@group.command("list")
def list_all(
    scope: Scope = "", kind: Kind = "", by: Author = "", state: State = "", as_json: AsJson = False
) -> None:
    """List who is isolated, by whom and until when: the newest 10,000."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        found = api.get_all("/isolations", _which(scope, kind, by))
        if as_json:
            print_json(found)
            return
        watched = only_watched(api)
    headings = ["ID", "KEY", "SCOPE", "SERVED BY", "SINCE", "UNTIL", "BY", "WHY"]
    print_table(headings, [_row(each, watched) for each in found], empty="Nobody is isolated.")


@group.command("add")
def add(
    cookie: Annotated[Many, typer.Option(metavar="NAME=VALUE", help="Whoever sends this cookie.")] = None,
    header: Annotated[Many, typer.Option(metavar="NAME=VALUE", help="Whoever sends this header.")] = None,
    bearer: Annotated[Many, typer.Option(metavar="TOKEN", help="Whoever sends this bearer token.")] = None,
    address: Annotated[
        Many, typer.Option(metavar="IP[/BITS]", help="Whoever comes from this address or network.")
    ] = None,
    user: Annotated[Many, typer.Option(metavar="ID", help="This user, with all his sessions.")] = None,
    ja3: Annotated[Many, typer.Option(metavar="HASH", help="Whoever's TLS handshake looks so.")] = None,
    ja4: Annotated[Many, typer.Option(metavar="HASH", help="Whoever's TLS handshake looks so.")] = None,
    scope: Annotated[
        str, typer.Option(metavar="DEPLOYMENT/CLUSTER", help="Needed when there are several.")
    ] = "",
    to: Annotated[
        str, typer.Option(metavar="SERVICE", help="Who serves them; else as the blueprint says.")
    ] = "",
    duration: Annotated[
        str, typer.Option("--for", metavar="24h", help="How long; else as the blueprint says.")
    ] = "",
    reason: Annotated[str, typer.Option(help="Why, for whoever looks at it later.")] = "by hand",
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """Divert somebody from now on. Several keys are those of one client, released together."""
    from divertor.cli.client import open_api

    named = {"cookie": cookie, "header": header}
    plain = {"bearer": bearer, "address": address, "user": user, "ja3": ja3, "ja4": ja4}
    keys = [_named(kind, text) for kind, texts in named.items() for text in texts or ()]
    keys += [_plain(kind, text) for kind, texts in plain.items() for text in texts or ()]
    if not keys:
        raise typer.BadParameter(
            "say who, with --cookie, --header, --bearer, --address, --user, --ja3 or --ja4"
        )
    extras = {"target": to, "for": duration}
    with open_api(state) as api:
        wanted = {"scope": scope or only_scope(api), "keys": keys, "reason": reason}
        wanted |= {name: value for name, value in extras.items() if value}
        made = api.send("POST", "/isolations", wanted)
    if as_json:
        print_json(made)
        return
    verb = "would be" if made.get("simulated") else "is"
    console().print(
        styled(f"{_key_text(made)} {verb} served by {made.get('target')} from now on ({made.get('id')}).")
    )


@group.command("rm")
def remove(
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="One or more ids.")],
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """Let somebody back to the live version, at once."""
    remove_all(state, "/isolations", ids, "No longer isolated", as_json)


@group.command("import")
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Newline-delimited JSON; -: standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all lines, change nothing.")] = False,
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """Divert many: each line an isolation, as `export` writes them. All of them, or nobody."""
    from divertor.cli.client import open_api

    with open_api(state) as api, _opened(file) as source:
        params = {"validate_only": "true" if dry_run else "false"}
        done = api.upload("/isolations/import", _shown(source, file), "application/x-ndjson", params)
    if as_json:
        print_json(done)
        return
    would = "would be " if dry_run else ""
    console().print(
        styled(
            f"{done['added']} {would}isolated, {done['prolonged']} {would}prolonged,"
            f" {done['unchanged']} as before, {done['expired']} no longer hold."
        )
    )


def export_all(file: str, scope: str, kind: str, by: str, state: str) -> None:
    """Writes all isolations as lines of JSON, for another installation, or to keep; `-`: standard output."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        pieces = api.pieces("/isolations/export", _which(scope, kind, by))
        if file == "-":
            for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            return
        # Session ids are as good as passwords: for nobody else's eyes.
        path = Path(file)
        with private(path) as out:
            for piece in pieces:
                out.write(piece)


def private(path: Path) -> IO[bytes]:
    try:
        out = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
        if stat.S_ISREG(os.fstat(out.fileno()).st_mode):
            os.fchmod(out.fileno(), 0o600)  # a file that was there may have been open to others
        return out
    except OSError as problem:
        raise RefusedError(f"{path}: cannot be written: {problem.strerror}") from problem


def _opened(file: str) -> IO[bytes]:
    if file == "-":
        return sys.stdin.buffer
    try:
        return Path(file).open("rb")
    except OSError as problem:
        raise RefusedError(f"{file}: cannot be read: {problem.strerror}") from problem


def _shown(source: IO[bytes], file: str) -> Iterator[bytes]:
    """The bytes of a file, with a bar that shows how far it is; on a terminal only."""
    from rich.console import Console
    from rich.progress import Progress

    total = os.fstat(source.fileno()).st_size if file != "-" else None
    screen = Console(stderr=True)
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("Isolating", total=total)
        while piece := source.read(1 << 18):
            yield piece
            bar.advance(task, len(piece))
        bar.update(task, description="Recording", total=None)


def _which(scope: str, kind: str, by: str) -> dict[str, str]:
    return {name: text for name, text in (("scope", scope), ("kind", kind), ("by", by)) if text}


def only_scope(api: Api) -> str:
    """The one cluster that can isolate.

    :raises RefusedError: there is none, or several.
    """
    scopes = list(_policies(api))
    if not scopes:
        raise RefusedError("no deployment has an isolation section: there is nowhere to divert to")
    if len(scopes) > 1:
        raise RefusedError(f"say where with --scope: {', '.join(scopes)}")
    return scopes[0]


def only_watched(api: Api) -> set[str]:
    """The scopes whose isolated are watched and not moved, as their policies say now. What an isolation says
    of itself, `simulated`, is how that was when it was decided."""
    return {scope for scope, policy in _policies(api).items() if policy.get("mode") == "simulate"}


def _policies(api: Api) -> dict[str, Mapping[str, Any]]:
    return {
        f"{each['name']}/{cluster}": policy
        for each in api.get_all("/deployments")
        for cluster, policy in (each.get("isolation") or {}).items()
    }


def _plain(kind: str, text: str) -> dict[str, str]:
    if kind == "address" and "/" in text:
        kind = "prefix"
    return {"kind": kind, "value": text}


def _named(kind: str, text: str) -> dict[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name or not value:
        raise typer.BadParameter(f"--{kind} {text!r}: expected NAME=VALUE")
    return {"kind": kind, "name": name, "value": value}


def _row(each: Mapping[str, Any], watched: Container[object]) -> list[object]:
    return [
        each.get("id"),
        _key_text(each),
        each.get("scope"),
        f"{each.get('target')} (simulated)" if each.get("scope") in watched else each.get("target"),
        short_time(each.get("created")),
        short_time(each.get("expires")) or "removed",
        each.get("by"),
        each.get("reason"),
    ]


def _key_text(each: Mapping[str, Any]) -> str:
    kind, value = each.get("kind"), each.get("value")
    if kind in ("cookie", "header"):
        return f"{kind} {each.get('name')}={value}"
    return f"{_WORDS.get(str(kind), kind)} {value}"


_WORDS = {
    "address": "client address",
    "prefix": "network",
    "bearer": "bearer token",
    "ja3": "JA3",
    "ja4": "JA4",
}
