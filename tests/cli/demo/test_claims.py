"""The demo's claims: all hold for what should happen, and each fails when what it says is not so."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from divertor.cli.demo.claims import CLAIMS, Case, judge
from divertor.cli.demo.evidence import Evidence
from divertor.cli.demo.play import APOSTROPHE, SCRIPT, TOOL, Answer, Stage

CODE = """\
@app.post("/login")
def login():
    # CWE-89: SQL injection
    found = database().execute(
        f"SELECT id, name FROM users WHERE name = '{name}'"
    )
"""


def answer(who: str, did: str, version: str, **changes: Any) -> Answer:
    level = {"1.0.0": "impossible", "1.1.0": "low"}[version]
    base = Answer(who, did, 0.0, 1.0, 200, version, level, f"{who}'s session", "/", (), f"Hello {who}")
    return replace(base, **changes)


def perfect(code: Path) -> Case:
    """The play as it should go."""
    (code / "v1_1_0").mkdir()
    (code / "v1_1_0" / "app.py").write_text(CODE)
    answers = [
        answer("alice", "shops", "1.1.0"),
        answer("alice", f"searches for {APOSTROPHE}", "1.1.0", status=500),
    ]
    for who in ("mallory", "trudy", "eve", "oscar"):
        answers += [answer(who, "attacks", "1.0.0", is_attack=True), answer(who, "looks around", "1.0.0")]
    answers += [answer("mallory", f"searches for {SCRIPT}", "1.0.0"), answer("alice", "shops", "1.1.0")]
    frame = {"file": str(code / "v1_1_0" / "app.py"), "line": 4, "function": "login"}
    match = {"context": {"php": {"session": {"sessionId": "mallory's session"}}}}
    isolation = {
        "value": "mallory's session",
        "by": "gateway",
        "reason": "attacked",
        "target": "hackable:1.0.0",
    }
    found = Evidence(
        detections=[{"request": {"path": "/login"}, "frames": [frame]}],
        isolations=[isolation],
        slack=[{"message": {"text": f"Attack on /login IP: 127.0.0.1 UA: {TOOL}"}}],
        command=[[match]],
        statements_new="SELECT name FROM products",
    )
    return Case(Stage("http://127.0.0.1:1", answers), found, code)


def with_answer(case: Case, pick: Callable[[Answer], bool], **changes: Any) -> Case:
    answers = [replace(each, **changes) if pick(each) else each for each in case.stage.answers]
    return replace(case, stage=Stage(case.stage.app, answers))


def with_evidence(case: Case, **changes: Any) -> Case:
    return replace(case, evidence=replace(case.evidence, **changes))


def by(who: str, did: str = "") -> Callable[[Answer], bool]:
    return lambda each: each.who == who and did in each.did


SPOILT: list[tuple[str, Callable[[Case], Case]]] = [
    ("Level: impossible", lambda case: with_answer(case, by("mallory", "attacks"), level="low")),
    ("Level: impossible", lambda case: with_answer(case, by("mallory", "attacks"), status=503)),
    ("no 307", lambda case: with_answer(case, by("eve", "attacks"), status=307)),
    ("no 307", lambda case: with_answer(case, by("eve"), headers=(("x-divertor-token", "1"),))),
    (
        "never saw",
        lambda case: with_evidence(case, statements_new="SELECT FROM products; UNION ALL select 1"),
    ),
    ("never saw", lambda case: with_evidence(case, statements_new="")),
    ("every later", lambda case: with_answer(case, by("mallory", "looks"), version="1.1.0")),
    ("without a cookie", lambda case: with_answer(case, by("trudy", "attacks"), version="1.1.0")),
    ("without a cookie", lambda case: with_answer(case, by("trudy", "looks"), version="")),
    ("path traversal", lambda case: with_answer(case, by("eve", "attacks"), body="def secret(): ...")),
    ("path traversal", lambda case: with_answer(case, by("oscar", "attacks"), body="uid=0(root)")),
    ("path traversal", lambda case: with_answer(case, by("oscar", "looks"), version="1.1.0")),
    ("script is shown", lambda case: with_answer(case, by("mallory", SCRIPT), body=f"You said {SCRIPT}")),
    ("customer gets", lambda case: with_answer(case, by("alice", APOSTROPHE), version="1.0.0")),
    ("customer gets", lambda case: with_answer(case, by("alice", "shops"), body="Hello guest")),
    ("detection names", lambda case: with_evidence(case, detections=[])),
    ("detection names", lambda case: with_evidence(case, detections=[_frame(case, line=1)])),
    ("detection names", lambda case: with_evidence(case, detections=[_frame(case, function="search")])),
    ("detection names", lambda case: with_evidence(case, detections=[_frame(case, file="/v1_0_0/app.py")])),
    ("Slack", lambda case: with_evidence(case, slack=[])),
    ("Slack", lambda case: with_evidence(case, slack=[{"message": {"text": "Attack on /login"}}])),
    ("command", lambda case: with_evidence(case, command=[])),
    ("command", lambda case: with_evidence(case, command=["no JSON"])),
    ("isolation is listed", lambda case: with_evidence(case, isolations=[])),
    (
        "customer is not isolated",
        lambda case: with_evidence(case, isolations=[_alices(case), *case.evidence.isolations]),
    ),
]


def _frame(case: Case, **changes: Any) -> dict[str, Any]:
    frame = case.evidence.detections[0]["frames"][0]
    return {"request": {"path": "/login"}, "frames": [{**frame, **changes}]}


def _alices(case: Case) -> dict[str, Any]:
    return {**case.evidence.isolations[0], "value": "alice's session"}


def test_all_hold_when_everything_is_as_it_should_be(tmp_path: Path) -> None:
    assert [claim for claim in judge(perfect(tmp_path)) if not claim.held] == []


@pytest.mark.parametrize(("claim", "spoil"), SPOILT)
def test_a_claim_fails_when_it_is_not_so(tmp_path: Path, claim: str, spoil: Callable[[Case], Case]) -> None:
    failed = [each for each in judge(spoil(perfect(tmp_path))) if not each.held]
    assert any(re.search(claim, each.says) and each.why for each in failed)


def test_every_claim_is_spoilt_at_least_once() -> None:
    for says, _ in CLAIMS:
        assert any(re.search(claim, says) for claim, _ in SPOILT), says
    assert (len(CLAIMS), len(SPOILT)) == (13, 25)
