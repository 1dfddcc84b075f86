"""`divertor demo --script`, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(180)


def script(*options: str) -> tuple[int, Any]:
    command = [sys.executable, "-m", "divertor.cli.main", "demo", "--script", "--json", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=170)
    return done.returncode, json.loads(done.stdout)


def test_every_claim_holds(servers: None) -> None:
    code, told = script()
    assert [claim for claim in told["claims"] if not claim["held"]] == []
    assert (code, told["held"], len(told["claims"])) == (0, True, 13)
    assert {each["served_by"] for each in told["timeline"] if each["is_attack"]} == {"1.0.0"}


def test_without_isolation_it_fails(servers: None) -> None:
    code, told = script("--no-isolation")
    failed = {claim["says"] for claim in told["claims"] if not claim["held"]}
    assert code == 1
    assert {
        "the attack's very answer says Level: impossible",
        "the database of 1.1.0 never saw the statement",
        "every later request of the attacker is served by 1.0.0",
    } <= failed
