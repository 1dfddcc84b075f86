"""The loop through the API and the command line, on a stack that runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from select import select
from typing import Any
from uuid import uuid4

import httpx
import pytest

from divertor.cli.client import Api
from divertor.cli.demo.own_stack import OwnStack
from divertor.cli.demo.play import ATTACK
from divertor.errors import InputError

from .conftest import eventually, served_by

pytestmark = pytest.mark.timeout(120)
FORMS = ("filters", "condition")


def divertor(stack: OwnStack, *arguments: str, code: int = 0) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "divertor.cli.main", *arguments, "--state", str(stack.layout.root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (code, "")
    return done.stdout


@pytest.fixture
def unchanged(api: Api) -> Iterator[dict[str, Any]]:
    """The deployment, put back as it was at the end."""
    before = api.get("/deployments/hackable")
    yield json.loads(json.dumps(before))
    api.send("PUT", "/deployments/hackable", before)


@pytest.mark.parametrize("form", FORMS)
def test_a_condition_put_into_the_deployment_routes(
    stack: OwnStack, api: Api, unchanged: dict[str, Any], form: str
) -> None:
    """The script everything began with: GET the deployment, set a route's condition, PUT it back."""
    session = uuid4().hex
    condition = f"cookie PHPSESSID has {session}"
    cluster = unchanged["clusters"]["hackable"]
    if form == "filters":
        cluster["routing"]["port"]["routes"]["hackable:1.0.0"]["filters"].append({"condition": condition})
    else:
        cluster["gateways"]["port"]["routes"]["hackable:1.0.0"]["condition"] = condition
    api.send("PUT", "/deployments/hackable", unchanged)
    eventually(lambda: served_by(stack, PHPSESSID=session) == "1.0.0")
    assert served_by(stack, PHPSESSID="somebody-else") == "1.1.0"
    assert served_by(stack) == "1.1.0"


def test_both_forms_were_tried() -> None:
    assert len(FORMS) == 2


def test_a_blueprint_that_is_not_understood_changes_nothing(stack: OwnStack, api: Api) -> None:
    before = api.get("/deployments/hackable")
    bad = {"name": "hackable", "clusters": {"hackable": {"services": [{"breed": {"nam": "x"}}]}}}
    with pytest.raises(InputError, match="nam"):
        api.send("PUT", "/deployments/hackable", bad)
    assert api.get("/deployments/hackable") == before
    assert served_by(stack) == "1.1.0"


def test_a_condition_that_is_not_understood_changes_nothing(api: Api, unchanged: dict[str, Any]) -> None:
    before = api.get("/deployments/hackable")
    routes = unchanged["clusters"]["hackable"]["gateways"]["port"]["routes"]
    routes["hackable:1.0.0"]["condition"] = "cookie PHPSESSID hass x"
    with pytest.raises(InputError, match="hass"):
        api.send("PUT", "/deployments/hackable", unchanged)
    assert api.get("/deployments/hackable") == before


def test_weights_are_set_from_the_command_line(stack: OwnStack, unchanged: dict[str, Any]) -> None:
    divertor(stack, "gateways", "set", "hackable/hackable/port", "hackable:1.0.0=100%", "hackable:1.1.0=0%")
    eventually(lambda: served_by(stack) == "1.0.0")
    divertor(stack, "gateways", "set", "hackable/hackable/port", "hackable:1.0.0=0%", "hackable:1.1.0=100%")
    eventually(lambda: served_by(stack) == "1.1.0")


def test_somebody_is_isolated_and_let_back_from_the_command_line(stack: OwnStack) -> None:
    session = uuid4().hex
    made = json.loads(divertor(stack, "isolations", "add", "--cookie", f"session={session}", "--json"))
    eventually(lambda: served_by(stack, session=session) == "1.0.0")
    assert made["id"] in divertor(stack, "isolations")
    divertor(stack, "isolations", "rm", made["id"])
    eventually(lambda: served_by(stack, session=session) == "1.1.0")


def test_the_trace_names_the_line(stack: OwnStack) -> None:
    with httpx.Client(base_url=stack.app, trust_env=False) as attacker:
        attacker.get("/login")
        answer = attacker.post("/login", data={"username": ATTACK, "password": "x"})
    assert "Level: impossible" in answer.text
    eventually(lambda: json.loads(divertor(stack, "detections", "list", "--json")))
    shown = divertor(stack, "detections", "show")
    assert f"{stack.app_directory}/v1_1_0/app.py:" in shown and "in login" in shown
    assert "→" in shown and "database().execute(" in shown


@pytest.mark.parametrize(
    "command", ["status", "deployments", "gateways", "isolations", "detections", "events", "rules"]
)
def test_every_listing_has_a_table_and_json(stack: OwnStack, command: str) -> None:
    assert divertor(stack, command).strip()
    json.loads(divertor(stack, command, "--json"))


def test_events_are_followed(stack: OwnStack, api: Api) -> None:
    tag = f"probe:{uuid4().hex}"
    command = [sys.executable, "-m", "divertor.cli.main", "events", "tail", "--json", "--tag", tag]
    command += ["--state", str(stack.layout.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        lines: list[str] = []

        def seen() -> bool:
            api.send("POST", "/events", {"tags": [tag], "type": "probe", "value": "x"})
            return select_line(tail, lines)

        eventually(seen)
        tail.terminate()
    assert json.loads(lines[0])["tags"] == [tag]


def select_line(process: subprocess.Popen[str], into: list[str]) -> bool:
    """Whether a line came within a moment; it is added to `into`."""
    assert process.stdout is not None
    if not select([process.stdout], [], [], 0.5)[0]:
        return False
    into.append(process.stdout.readline())
    return True
