"""`divertor alarms` and `divertor silences`: what is going off, who looks after it, what people are not told.

`join` adds `mute` and `unmute` to the group of rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from divertor.cli.alerts import waiting
from divertor.cli.ids import SHOWN, remove_all, whole_id
from divertor.cli.options import AsJson, State, listing
from divertor.cli.text import console, print_json, print_table, short_time, styled

if TYPE_CHECKING:
    from divertor.cli.client import Api

group = listing("What rules found and is not over, and who looks after it.")
silences = listing("Which matches people are not told of, and when.")

#: Deliveries that are shown of an alarm.
_MESSAGES = 20

_STYLES = {"critical": "bold red", "high": "red", "medium": "yellow"}

For = Annotated[str, typer.Option("--for", metavar="4h", help="For so long; or `forever`.")]
Until = Annotated[str, typer.Option(metavar="TIME", help="Until then: an ISO 8601 time.")]
Comment = Annotated[str, typer.Option(metavar="TEXT", help="Why, for whoever looks at it later.")]
RuleName = Annotated[str, typer.Argument(metavar="RULE", help="The rule's name.")]


@group.command("list")
def list_all(
    over: Annotated[bool, typer.Option("--over", help="Those that are over instead.")] = False,
    rule: Annotated[str, typer.Option(metavar="NAME", help="Only of this rule.")] = "",
    severity: Annotated[str, typer.Option(metavar="LEVEL", help="Only of this severity.")] = "",
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """List the alarms that are open, the latest first."""
    from divertor.cli.client import open_api

    wanted = {"state": "over" if over else "open", "rule": rule, "severity": severity}
    with open_api(state) as api:
        found = api.get_all("/alarms", {name: value for name, value in wanted.items() if value})
    if as_json:
        print_json(found)
        return
    headings = ["ID", "RULE", "KEY", "SEVERITY", "SINCE", "MATCHES", "SEEN BY"]
    empty = "No alarm has ended lately." if over else "No alarm is open."
    print_table(headings, [_row(each) for each in found], empty=empty)


@group.command("show")
def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="The alarm's id, or how it begins.")],
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """Tell all that is known of an alarm, and what was told of it."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        found = api.get(f"/alarms/{quote(_whole(api, id), safe='')}")
        told = [] if as_json else _told(api, found)
        more = 0 if as_json else waiting(api, alarm=str(found.get("id")))
    if as_json:
        print_json(found)
        return
    screen = console()
    for name, value in _details(found):
        screen.print(styled(f"{name:13}", "dim"), styled(value))
    for event in reversed(told):
        screen.print(styled(f"{short_time(event.get('timestamp'))}  {_message(event)}"))
    if more:
        screen.print(styled(f"{more:,} more to be delivered; see `divertor alerts`", "yellow"))


@group.command("ack")
def acknowledge(
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="One or more ids, or how they begin.")],
    duration: For = "",
    until: Until = "",
    comment: Comment = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take it back.")] = False,
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """Look after an alarm: no more messages about it until it is over, or for a time. Isolations go on."""
    from divertor.cli.client import open_api

    wanted = _given({"for": duration, "until": until, "comment": comment})
    made = []
    with open_api(state) as api:
        for id in ids:
            path = f"/alarms/{quote(_whole(api, id), safe='')}/ack"
            made.append(api.send("DELETE", path) if undo else api.send("POST", path, wanted))
    if as_json:
        print_json({"released": ids} if undo else made)
    elif undo:
        console().print(styled(f"Told again from now on: {', '.join(ids)}"))
    else:
        for each in made:
            end = short_time(each["acknowledged"]["until"]) or "it is over"
            console().print(styled(f"{each['rule']}: no more messages until {end}."))


@silences.command("list")
def list_silences(state: State = "", as_json: AsJson = False) -> None:
    """List the silences, planned ones and mutes of rules among them."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        found = api.get_all("/silences")
    if as_json:
        print_json(found)
        return
    headings = ["ID", "MATCHES", "STATE", "FROM", "UNTIL", "HELD BACK", "BY", "COMMENT"]
    print_table(headings, [_silence_row(each) for each in found], empty="Nothing is silenced.")


@silences.command("add")
def add(
    rule: Annotated[str, typer.Option(metavar="PATTERN", help="Rules; * stands for any characters.")] = "",
    key: Annotated[str, typer.Option(metavar="PATTERN", help="The query_key's value.")] = "",
    field: Annotated[
        list[str] | None, typer.Option(metavar="PATH=VALUE", help="What the match must hold; repeatable.")
    ] = None,
    start: Annotated[str, typer.Option("--from", metavar="TIME", help="Not before: an ISO 8601 time.")] = "",
    duration: For = "",
    until: Until = "",
    cron: Annotated[
        str, typer.Option(metavar="CRON", help="Again and again from these minutes: '0 22 * * sat'.")
    ] = "",
    lasting: Annotated[str, typer.Option(metavar="4h", help="With --cron: for so long each time.")] = "",
    zone: Annotated[str, typer.Option(metavar="ZONE", help="With --cron: such as Europe/Zurich.")] = "",
    comment: Comment = "",
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """Tell people nothing of some matches, now or in a planned window. Isolations go on."""
    from divertor.cli.client import open_api

    wanted: dict[str, Any] = _given(
        {
            "rule": rule,
            "key": key,
            "from": start,
            "for": duration,
            "until": until,
            "cron": cron,
            "lasting": lasting,
            "zone": zone,
            "comment": comment,
        }
    )
    if field:
        wanted["fields"] = dict(_field(each) for each in field)
    if not any(name in wanted for name in ("rule", "key", "fields")):
        raise typer.BadParameter("say what, with --rule, --key or --field")
    if not duration and not until:
        raise typer.BadParameter("say how long, with --for (or --for forever) or --until")
    with open_api(state) as api:
        made = api.send("POST", "/silences", wanted)
    if as_json:
        print_json(made)
        return
    console().print(styled(f"Silenced {_until(made)}: {_about(made)} ({made['id']})."))


@silences.command("rm")
def remove(
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="One or more ids.")],
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """End silences, at once."""
    remove_all(state, "/silences", ids, "No longer silenced", as_json)


def mute(
    rule: RuleName,
    duration: For = "",
    until: Until = "",
    comment: Comment = "",
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """Tell people nothing of a rule's matches, for a time or until `unmute`. Isolations go on."""
    from divertor.cli.client import open_api

    wanted = _given({"for": duration, "until": until, "comment": comment})
    with open_api(state) as api:
        made = api.send("POST", f"/rules/{quote(rule, safe='')}/mute", wanted)
    if as_json:
        print_json(made)
        return
    console().print(styled(f"{rule} is muted {_until(made)}."))


def unmute(rule: RuleName, state: State = "", as_json: AsJson = False) -> None:
    """Let a muted rule speak again."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        api.send("POST", f"/rules/{quote(rule, safe='')}/unmute")
    if as_json:
        print_json({"unmuted": rule})
    else:
        console().print(styled(f"{rule} is told again."))


def join(rules: typer.Typer) -> None:
    """Add the commands that are about one rule to the group of rules."""
    rules.command("mute")(mute)
    rules.command("unmute")(unmute)


def _given(options: Mapping[str, str]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value}


def _field(text: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not path or not equals:
        raise typer.BadParameter(f"{text!r} is no PATH=VALUE", param_hint="--field")
    return path, value


def _whole(api: Api, id: str) -> str:
    """The id of the only alarm that begins so."""
    return whole_id(api, "/alarms", id, {"state": "all"})


def _told(api: Api, alarm: Mapping[str, Any]) -> list[Any]:
    """The deliveries about an alarm, the newest first, as far as they are stored."""
    wanted = {"type": "alert", "field": f"alert.alarm:{alarm.get('id')}"}
    return api.get_all("/events", wanted, limit=_MESSAGES)


def _message(event: Mapping[str, Any]) -> str:
    body = event.get("body") or {}
    alert = body.get("alert") or {}
    said = "on trial" if alert.get("dry_run") else "delivered" if alert.get("ok") else alert.get("error")
    over = "Resolved: " if alert.get("status") == "resolved" else ""
    return f"{alert.get('alerter')}: {over}{alert.get('subject')} ({said})"


def _row(alarm: Mapping[str, Any]) -> list[object]:
    severity = str(alarm.get("severity"))
    return [
        str(alarm.get("id"))[:SHOWN],
        alarm.get("rule"),
        alarm.get("key"),
        styled(severity, _STYLES.get(severity, "")),
        short_time(alarm.get("opened"))[5:16],
        alarm.get("matches"),
        (alarm.get("acknowledged") or {}).get("by"),
    ]


def _details(alarm: Mapping[str, Any]) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [
        (name, alarm.get(name)) for name in ("id", "rule", "key", "severity", "state")
    ]
    rows += [(name, short_time(alarm.get(name))) for name in ("opened", "last", "ended")]
    rows += [(name, alarm.get(name)) for name in ("matches", "alerts", "suppressed")]
    ack = alarm.get("acknowledged")
    if ack:
        end = short_time(ack.get("until")) or "it is over"
        rows.append(("acknowledged", f"by {ack.get('by')} until {end}: {ack.get('comment') or 'no comment'}"))
    return [(name, value) for name, value in rows if value not in (None, "")]


def _silence_row(silence: Mapping[str, Any]) -> list[object]:
    return [
        silence.get("id"),
        _about(silence),
        silence.get("state"),
        short_time(silence.get("since")),
        short_time(silence.get("until")) or "removed",
        silence.get("suppressed"),
        silence.get("by"),
        silence.get("comment"),
    ]


def _about(silence: Mapping[str, Any]) -> str:
    """Which matches, and when, in a few words."""
    parts = [f"muted {silence.get('rule')}" if silence.get("mute") else str(silence.get("rule"))]
    if silence.get("key"):
        parts.append(f"key {silence['key']}")
    parts += [f"{path}={value}" for path, value in (silence.get("fields") or {}).items()]
    if silence.get("cron"):
        parts.append(f"{silence.get('lasting')} from {silence['cron']} ({silence.get('zone')})")
    return ", ".join(parts)


def _until(silence: Mapping[str, Any]) -> str:
    end = short_time(silence.get("until"))
    return f"until {end}" if end else "until it is removed"
