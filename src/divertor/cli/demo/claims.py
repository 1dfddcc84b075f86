"""What the demo claims, each claim judged by what was seen. Pure, but it reads the line a detection names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from divertor.cli.demo.evidence import Evidence
from divertor.cli.demo.play import SCRIPT, TOOL, Answer, Stage

AUDITED = "1.0.0"
NEWEST = "1.1.0"
_ATTACKERS = ("mallory", "trudy", "eve", "oscar")


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim; `why` says what was seen instead when it did not hold."""

    says: str
    held: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """All there is to judge by: the play, the evidence, and where the shop's code is."""

    stage: Stage
    evidence: Evidence
    code: Path

    def attack_of(self, who: str) -> Answer:
        return next(answer for answer in self.stage.of(who) if answer.is_attack)

    def after_attack(self, who: str) -> list[Answer]:
        answers = self.stage.of(who)
        return answers[answers.index(self.attack_of(who)) + 1 :]


def judge(case: Case) -> list[Claim]:
    """Every claim, judged."""
    return [Claim(says, not why, why) for says, why in ((says, test(case)) for says, test in CLAIMS)]


def _answered_by_the_audited(case: Case) -> str:
    answer = case.attack_of("mallory")
    if (answer.status, answer.level) == (200, "impossible"):
        return ""
    return f"it says Level: {answer.level or 'nothing'}, status {answer.status}"


def _nothing_leaked(case: Case) -> str:
    for answer in case.stage.answers:
        if answer.status == 307:
            return f"{answer.who} was answered 307"
        for name, _ in answer.headers:
            if name.startswith("x-divertor"):
                return f"{answer.who} received {name}"
    return ""


def _statement_never_ran(case: Case) -> str:
    """The log must hold what it should as well: an empty one proves nothing."""
    new = case.evidence.statements_new.lower()
    if "from products" not in new:
        return "its statement log holds not even the customer's statements"
    for trace in ("information_schema", "union all"):
        if trace in new:
            return f"its statement log holds {trace!r}"
    return ""


def _stays_with_the_audited(case: Case) -> str:
    return _all_served(case.after_attack("mallory"), AUDITED)


def _cookieless(case: Case) -> str:
    return _all_served([case.attack_of("trudy"), *case.after_attack("trudy")], AUDITED)


def _other_attacks(case: Case) -> str:
    for who, secret in (("eve", "def "), ("oscar", "uid=")):
        answer = case.attack_of(who)
        if secret in answer.body:
            return f"{who} received {secret!r}"
        if why := _all_served([answer, *case.after_attack(who)], AUDITED):
            return why
    return ""


def _script_is_text(case: Case) -> str:
    answer = next(each for each in case.stage.of("mallory") if SCRIPT in each.did)
    return f"the page of {answer.version} holds the script as it was sent" if SCRIPT in answer.body else ""


def _customer_keeps_the_newest(case: Case) -> str:
    pages = [answer for answer in case.stage.of("alice") if answer.status != 303]
    if why := _all_served(pages, NEWEST):
        return why
    return "" if "alice" in pages[-1].body else "she is no longer logged in"


def _line_is_named(case: Case) -> str:
    found = [each for each in case.evidence.detections if each["request"]["path"] == "/login"]
    for detection in found:
        frame = (detection.get("frames") or [{}])[0]
        if (
            Path(str(frame.get("file"))) == case.code / "v1_1_0" / "app.py"
            and frame.get("function") == "login"
        ):
            return _line_is_the_query(Path(str(frame["file"])), int(frame["line"]))
    return f"{len(found)} detections in the login form, none in login of v1_1_0/app.py"


def _line_is_the_query(file: Path, line: int) -> str:
    """The line is within the statement that builds the query: its call, or the text it is given."""
    lines = file.read_text(encoding="utf-8").splitlines()
    text = "\n".join(lines[max(0, line - 2) : line + 2])
    return (
        "" if ".execute(" in text and "SELECT id" in text else f"line {line} is {lines[line - 1].strip()!r}"
    )


def _slack_was_told(case: Case) -> str:
    for each in case.evidence.slack:
        text = json.dumps(each.get("message"))
        if "Attack on" in text and "IP: 127.0.0.1" in text and TOOL in text:
            return ""
    return f"{len(case.evidence.slack)} messages, none with subject, IP and user agent"


def _command_was_given_json(case: Case) -> str:
    for each in case.evidence.command:
        if isinstance(each, list) and each and _session_of(each[0]) in _sessions(case):
            return ""
    return f"{len(case.evidence.command)} lines, none a JSON array of the match with the attacker's session"


def _session_of(match: Any) -> object:
    """The field the seed's command reads: `context.php.session.sessionId`."""
    for part in ("context", "php", "session", "sessionId"):
        match = match.get(part) if isinstance(match, dict) else None
    return match


def _sessions(case: Case) -> set[str]:
    return {case.attack_of(who).session for who in _ATTACKERS} - {""}


def _isolation_is_listed(case: Case) -> str:
    session = case.attack_of("mallory").session
    for each in case.evidence.isolations:
        if each["value"] == session and each["by"] and each["reason"] and each["target"].endswith(AUDITED):
            return ""
    return f"{len(case.evidence.isolations)} isolations, none of this session with who and why"


def _customer_is_not_listed(case: Case) -> str:
    sessions = {answer.session for answer in case.stage.of("alice")}
    listed = [each for each in case.evidence.isolations if each["value"] in sessions]
    return "she is isolated" if listed else ""


def _all_served(answers: Iterable[Answer], version: str) -> str:
    for answer in answers:
        if answer.version != version:
            by = answer.version or "nobody"
            return f"{answer.who} ({answer.did}) was served by {by}, status {answer.status}"
    return ""


CLAIMS: tuple[tuple[str, Callable[[Case], str]], ...] = (
    ("the attack's very answer says Level: impossible", _answered_by_the_audited),
    ("no 307 and no internal header reached anybody", _nothing_leaked),
    ("the database of 1.1.0 never saw the statement", _statement_never_ran),
    ("every later request of the attacker is served by 1.0.0", _stays_with_the_audited),
    ("so is an attacker who came without a cookie", _cookieless),
    ("so are path traversal and command injection, which reach nothing", _other_attacks),
    ("an isolated attacker's script is shown as text", _script_is_text),
    ("the customer gets 1.1.0 all the time, apostrophe included", _customer_keeps_the_newest),
    ("the detection names file, line and function of 1.1.0", _line_is_named),
    ("Slack was told subject, IP and user agent", _slack_was_told),
    ("the command got the match as a JSON array", _command_was_given_json),
    ("the isolation is listed, with who and why", _isolation_is_listed),
    ("the customer is not isolated", _customer_is_not_listed),
)
