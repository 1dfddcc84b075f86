"""`divertor alerts`: what rules found and nobody was told yet, because it waits to be delivered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from divertor.cli.ids import SHOWN, whole_id
from divertor.cli.options import AsJson, State, listing
from divertor.cli.text import clean, console, print_json, print_table, short_span, styled

if TYPE_CHECKING:
    from divertor.cli.client import Api

group = listing("Messages and actions that wait to be delivered: where to, and why they are not yet.")


class Status(StrEnum):
    """How far a delivery is."""

    WAITING = "waiting"
    SENDING = "sending"
    FAILING = "failing"


Ids = Annotated[list[str] | None, typer.Argument(metavar="ID…", help="One or more ids, or how they begin.")]
RuleName = Annotated[str, typer.Option("--rule", metavar="NAME", help="Only of this rule, removed or not.")]
Alerter = Annotated[str, typer.Option(metavar="NAME", help="Only by this alerter, such as slack.")]
Alarm = Annotated[str, typer.Option(metavar="ID", help="Only about this alarm.")]
How = Annotated[
    Status | None,
    typer.Option("--status", help="Only these; failing: tried and not taken, waiting: not tried yet."),
]
Everything = Annotated[bool, typer.Option("--all", help="Everything that waits.")]

#: Deliveries that are shown unless more are asked for.
_SHOWN = 50
_ISOLATE = "isolate"
_STYLES = {"failing": "red", "sending": "green"}


@group.command("list")
def list_all(
    rule: RuleName = "",
    alerter: Alerter = "",
    alarm: Alarm = "",
    status: How = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = _SHOWN,
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """List what waits to be delivered, the longest waiting first."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        found, total = api.get_some("/alerts", _which(api, rule, alerter, alarm, status), limit)
    if as_json:
        print_json(found)
        return
    now = datetime.now(UTC)
    headings = ["ID", "RULE", "TO", "FOR", "TRIES", "NEXT", "WHY"]
    print_table(headings, [_row(each, now) for each in found], empty="Nothing waits to be delivered.")
    if total > len(found):
        console().print(styled(f"{len(found):,} of {total:,}; --limit shows more.", "dim"))


@group.command("drop")
def drop(
    ids: Ids = None,
    rule: RuleName = "",
    alerter: Alerter = "",
    alarm: Alarm = "",
    status: How = None,
    everything: Everything = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """Give up what waits: it is never delivered. What is being sent right now may arrive all the same."""
    from divertor.cli.client import open_api

    _require_choice(ids, any((rule, alerter, alarm, status, everything)))
    with open_api(state) as api:
        which = _which(api, rule, alerter, alarm, status) or {"all": "true"}
        if ids:
            whole = [whole_id(api, "/alerts", id) for id in ids]
            _ask(len(whole), "", yes)
            for id in whole:
                api.send("DELETE", f"/alerts/{quote(id, safe='')}")
            dropped = len(whole)
        else:
            _, total = api.get_some("/alerts", which, 1)
            if total and not yes:
                _ask(total, _words(which) + _isolations(api, which), yes)
            dropped = _drop_all(api, which) if total else 0
    if as_json:
        print_json({"dropped": dropped})
    else:
        console().print(styled(f"Dropped: {dropped:,}" if dropped else "Nothing of that kind waits."))


@group.command("retry")
def retry(
    ids: Ids = None,
    rule: RuleName = "",
    alerter: Alerter = "",
    alarm: Alarm = "",
    status: How = None,
    everything: Everything = False,
    state: State = "",
    as_json: AsJson = False,
) -> None:
    """Try now what waits, instead of when its pause is over; first what has to arrive before it."""
    from divertor.cli.client import open_api

    _require_choice(ids, any((rule, alerter, alarm, status, everything)))
    with open_api(state) as api:
        which = _which(api, rule, alerter, alarm, status) or {"all": "true"}
        if ids:
            for id in [whole_id(api, "/alerts", id) for id in ids]:
                api.send("POST", f"/alerts/{quote(id, safe='')}/retry")
            done = {"retried": len(ids), "left": 0}
        else:
            done = api.send("POST", "/alerts/retry", params=which)
    if as_json:
        print_json(done)
        return
    said = f"Tried now: {done['retried']:,}; `divertor alerts` shows what became of it."
    console().print(styled(said if done["retried"] else "Nothing of that kind waits."))
    if done["left"]:
        console().print(styled(f"The other {done['left']:,} are tried as planned."))


def waiting(api: Api, **which: str) -> int:
    """How many of these wait, for whoever tells of something else; 0 while the stack does not know."""
    from divertor.errors import UnavailableError

    try:
        return api.get_some("/alerts", which, 1)[1]
    except UnavailableError:
        return 0


def _require_choice(ids: list[str] | None, narrowed: bool) -> None:
    """:raises typer.BadParameter: nothing is chosen, or in two ways."""
    if ids and narrowed:
        raise typer.BadParameter("ids, or --rule, --alerter, --alarm, --status or --all; not both")
    if not ids and not narrowed:
        raise typer.BadParameter("say which: ids, --rule, --alerter, --alarm, --status or --all")


def _which(api: Api, rule: str, alerter: str, alarm: str, status: Status | None) -> dict[str, str]:
    whole = whole_id(api, "/alarms", alarm, {"state": "all"}) if alarm else ""
    given = {"rule": rule, "alerter": alerter, "alarm": whole, "state": status.value if status else ""}
    return {name: value for name, value in given.items() if value}


def _words(which: Mapping[str, str]) -> str:
    said = [f"{name} {value}" for name, value in which.items() if name != "all"]
    return f" ({', '.join(said)})" if said else ""


def _isolations(api: Api, which: Mapping[str, str]) -> str:
    """How many of them are no messages: whoever waits to be isolated goes on."""
    if which.get("alerter", _ISOLATE) != _ISOLATE:
        return ""
    _, count = api.get_some("/alerts", {**which, "alerter": _ISOLATE}, 1)
    return f", {count:,} of which isolate somebody" if count else ""


def _ask(count: int, words: str, yes: bool) -> None:
    """Unless they said yes before.

    :raises typer.Abort: they say no.
    """
    things = "1 alert that waits" if count == 1 else f"{count:,} alerts that wait"
    if not yes:
        typer.confirm(clean(f"Drop {things}{words}? Nobody will be told of them."), abort=True, err=True)


def _drop_all(api: Api, which: Mapping[str, str]) -> int:
    """However many there are; a request drops a part of them."""
    dropped, left = 0, 1
    while left:
        done = api.send("DELETE", "/alerts", params=which)
        dropped, left = dropped + done["dropped"], done["left"] if done["dropped"] else 0
    return dropped


def _row(alert: Mapping[str, Any], now: datetime) -> list[object]:
    status, target = str(alert.get("state")), str(alert.get("target") or "")
    to = f"{alert.get('alerter')} {target}".strip()
    why = str(alert.get("error") or "").removeprefix(target).strip()  # it often begins with where it goes
    return [
        str(alert.get("id"))[:SHOWN],
        f"{alert.get('rule')} (removed)" if alert.get("rule_gone") else alert.get("rule"),
        to,
        short_span(alert.get("created"), now),
        alert.get("attempts"),
        styled(_next(alert, now), _STYLES.get(status, "")),
        why,
    ]


def _next(alert: Mapping[str, Any], now: datetime) -> str:
    """When it is tried next, in words."""
    if alert.get("state") == "sending":
        return "sending"
    if alert.get("next_try") is None:
        return "after another"
    left = short_span(now, alert.get("next_try"))
    return f"in {left}" if left else "now"
