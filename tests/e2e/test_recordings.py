"""An attacker's session as it was recorded: shown, exported, and asked again of the audited version."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jsonschema
import pytest

from divertor.cli.client import Api
from divertor.cli.demo.own_stack import OwnStack
from divertor.cli.demo.play import ATTACK

from .conftest import eventually

pytestmark = pytest.mark.timeout(180)

SCHEMA = Path(__file__).parents[1] / "recording" / "har-1.2.schema.json"
PASSWORD = "a password that nobody must see"


def divertor(stack: OwnStack, *arguments: str) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "divertor.cli.main", "isolations", *arguments]
    done = subprocess.run(
        [*command, "--state", str(stack.layout.root)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def attacked(stack: OwnStack) -> Iterator[tuple[str, list[tuple[str, str, int]]]]:
    """An attacker who logs in with an injection and looks around: the id, and what he saw."""
    mark = uuid4().hex
    with httpx.Client(base_url=stack.app, trust_env=False, headers={"user-agent": mark}) as attacker:
        attacker.get("/login")
        asked = [
            attacker.post("/login", data={"username": ATTACK, "password": PASSWORD}),
            attacker.get("/"),
            attacker.get("/search?q=%27%3Cscript%3E&token=t0ps3cret"),
            attacker.get(f"/{mark}"),
            attacker.request("PUT", "/login", content=b"\0\xff"),
            attacker.head("/"),
        ]
    seen = [(each.request.method, each.request.url.raw_path.decode(), each.status_code) for each in asked]
    with stack.api() as api:

        def recording() -> str:
            for each in api.get_all("/recordings"):
                lines = api.get_all(f"/isolations/{each['id']}/exchanges")
                if len(lines) >= len(seen) and any(mark in line["path"] for line in lines):
                    return str(each["id"])
            return ""

        yield str(eventually(recording)), seen


Attacked = tuple[str, list[tuple[str, str, int]]]


def test_everything_an_attacker_asked_is_recorded(stack: OwnStack, api: Api, attacked: Attacked) -> None:
    id, seen = attacked
    lines = api.get_all(f"/isolations/{id}/exchanges")
    found = [(each["method"], each["path"], each["status"]) for each in lines]
    assert found == [
        (method, path.replace("t0ps3cret", "%5Bredacted%5D"), status) for method, path, status in seen
    ]
    assert [each["kind"] for each in lines] == ["diverted"] + ["isolated"] * (len(seen) - 1)
    assert {each["served_by"] for each in lines} == {"hackable:1.0.0"}


def test_secrets_are_nowhere(stack: OwnStack, attacked: Attacked) -> None:
    stored = b"".join(path.read_bytes() for path in stack.layout.recordings.iterdir())
    assert stored and b"t0ps3cret" not in stored
    for spelt in (PASSWORD, PASSWORD.replace(" ", "+")):
        assert spelt.encode() not in stored


def test_the_timeline_names_the_attack_and_its_detection(stack: OwnStack, attacked: Attacked) -> None:
    id, _ = attacked
    shown = eventually(lambda: text if "detection" in (text := divertor(stack, "show", id)) else "")
    first = next(line for line in shown.splitlines() if "ATTACK" in line)
    assert "POST" in first and "/login" in first and "detection" in first
    assert "SQL Injection in 'username'" in shown
    detection = first.split("detection ")[1].split()[0]
    with stack.api() as api:
        assert api.get(f"/detections/{detection}")["type"] == "sql_injection"


def test_one_exchange_is_shown_in_full(stack: OwnStack, attacked: Attacked) -> None:
    id, _ = attacked
    found = json.loads(divertor(stack, "show", id, "--json"))
    number = str(found["exchanges"][0]["number"])
    shown = divertor(stack, "show", id, "--request", number)
    assert "password=%5Bredacted%5D" in shown and "struck out: field password" in shown


def test_har_opens_in_a_validator(stack: OwnStack, attacked: Attacked, tmp_path: Path) -> None:
    id, seen = attacked
    divertor(stack, "export", id, "--format", "har", "-o", str(tmp_path / "session.har"))
    found = json.loads((tmp_path / "session.har").read_bytes())
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(found)
    statuses = [each["response"]["status"] for each in found["log"]["entries"]]
    assert statuses == [status for _, _, status in seen]


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_script_gets_the_same_answers_from_the_audited_version(
    stack: OwnStack, api: Api, attacked: Attacked, tmp_path: Path
) -> None:
    id, seen = attacked
    divertor(stack, "export", id, "--format", "curl", "--reveal", "-o", str(tmp_path / "session.sh"))
    done = subprocess.run(
        ["sh", str(tmp_path / "session.sh"), audited(api)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    answers = [line.split()[1:] for line in done.stdout.splitlines()]
    assert answers == [[str(status)] * 2 for _, _, status in seen]


def audited(api: Api) -> str:
    """Where the audited version itself listens."""
    services: list[Any] = api.get("/deployments/hackable")["clusters"]["hackable"]["services"]
    (service,) = (each for each in services if each["breed"]["name"] == "hackable:1.0.0")
    instance = service["instances"][0]
    return f"http://{instance['host']}:{next(iter(instance['ports'].values()))}"


def test_without_an_id_the_isolations_are_exported(stack: OwnStack, attacked: Attacked) -> None:
    id, _ = attacked
    assert id in [json.loads(line)["id"] for line in divertor(stack, "export").splitlines()]


def test_a_recording_outlives_the_isolation(stack: OwnStack, attacked: Attacked) -> None:
    """Last here: the attacker is let back."""
    id, seen = attacked
    divertor(stack, "rm", id)
    shown = divertor(stack, "show", id)
    assert "no longer isolated" in shown and shown.count("hackable:1.0.0") == len(seen) + 1
    assert id in divertor(stack, "recorded")
