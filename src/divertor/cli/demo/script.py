"""`divertor demo --script`: stack, play, evidence, claims, and the timeline of all of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from divertor.cli.demo.claims import Case, Claim, judge
from divertor.cli.demo.evidence import Evidence, gather
from divertor.cli.demo.own_stack import OwnStack
from divertor.cli.demo.play import Answer, Stage, play
from divertor.cli.errors import ExitCode
from divertor.cli.text import console, print_error, print_json, print_table, styled
from divertor.errors import UnavailableError


def run_script(shop: Path, *, isolate: bool, keep: bool, as_json: bool) -> int:
    """Plays, prints, and answers with the exit code: 0 only if every claim held.

    :raises UnavailableError: the stack does not come up, or the shop stops answering.
    """
    directory = Path(tempfile.mkdtemp(prefix="divertor-demo-"))
    try:
        with OwnStack(shop, directory, isolate) as stack:
            stage = _play(stack)
            found = gather(stack, sum(answer.is_attack for answer in stage.answers))
            claims = judge(Case(stage, found, stack.app_directory))
    finally:
        if keep:
            print_error(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    if as_json:
        print_json({"held": all(claim.held for claim in claims), **_told(stage, found, claims)})
    else:
        _print(stage, found, claims)
    return ExitCode.OK if all(claim.held for claim in claims) else ExitCode.PROBLEM


def _play(stack: OwnStack) -> Stage:
    try:
        return play(stack.app)
    except httpx.HTTPError as problem:
        raise UnavailableError(f"the shop at {stack.app} does not answer: {problem}") from problem


def alerted(answer: Answer, found: Evidence) -> str:
    """What was found in this request and who was told, in words; empty when nothing was."""
    for detection in found.detections:
        request = detection["request"]
        is_of_it = answer.is_attack or (detection["payload"] and detection["payload"] in answer.did)
        if is_of_it and (request["path"], request["session"]) == (answer.path, answer.session):
            return _story(detection, found)
    return ""


def _story(detection: dict[str, Any], found: Evidence) -> str:
    told = {
        str(alert["body"]["alert"]["alerter"])
        for alert in found.alerts
        if alert["body"]["alert"]["event"] == detection["id"] and alert["body"]["alert"]["ok"]
    }
    frame = (detection["frames"] or [{"file": "", "line": 0}])[0]
    place = f"{Path(frame['file']).parent.name}/{Path(frame['file']).name}:{frame['line']}"
    return f"{detection['type']} {detection['signal']} at {place} → {', '.join(sorted(told)) or 'nobody'}"


def _print(stage: Stage, found: Evidence, claims: Sequence[Claim]) -> None:
    screen = console()
    print_table(
        ["TIME", "WHO", "REQUEST", "SERVED BY", "STATUS", "MS", "ALERTED"],
        [_row(answer, found) for answer in stage.answers],
        empty="Nobody asked for anything.",
    )
    screen.print()
    for claim in claims:
        mark, style = ("✓", "green") if claim.held else ("✗", "bold red")
        screen.print(styled(f"{mark} {claim.says}{': ' + claim.why if claim.why else ''}", style))
    failed = sum(not claim.held for claim in claims)
    screen.print()
    if failed:
        screen.print(styled(f"{failed} of {len(claims)} claims did not hold.", "bold red"))
    else:
        screen.print(styled(f"All {len(claims)} claims held.", "bold green"))


def _row(answer: Answer, found: Evidence) -> list[object]:
    style = "red" if answer.is_attack else ""
    served = f"{answer.version} ({answer.level})" if answer.version else "–"
    return [
        f"{answer.at:6.3f}",
        answer.who,
        styled(answer.did, style),
        styled(served, {"impossible": "yellow", "low": "green"}.get(answer.level, "")),
        answer.status,
        f"{answer.took:.0f}",
        alerted(answer, found),
    ]


def _told(stage: Stage, found: Evidence, claims: Sequence[Claim]) -> dict[str, Any]:
    return {
        "claims": [{"says": claim.says, "held": claim.held, "why": claim.why} for claim in claims],
        "timeline": [
            {
                "at": round(answer.at, 4),
                "who": answer.who,
                "did": answer.did,
                "served_by": answer.version,
                "level": answer.level,
                "status": answer.status,
                "ms": round(answer.took, 1),
                "is_attack": answer.is_attack,
                "alerted": alerted(answer, found),
            }
            for answer in stage.answers
        ],
    }
