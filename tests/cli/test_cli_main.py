"""The program: exit codes, and errors in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from divertor import __version__
from divertor.cli.main import app

COMMANDS = [
    *(["status"], ["down"], ["deployments"], ["deployments", "show", "x"], ["deployments", "delete", "x"]),
    *(["gateways"], ["gateways", "show", "x"], ["gateways", "set", "x", "a=1%"], ["isolations"]),
    *(["isolations", "rm", "x"], ["isolations", "add", "--address", "1.2.3.4", "--cookie", "a=b"]),
    ["isolations", "show", "x"],
    *(["detections"], ["detections", "show"], ["events"], ["events", "tail"], ["rules"]),
    *(["rules", "show", "x"], ["alerts"], ["alerts", "drop", "x"], ["alerts", "retry", "--all"]),
]
WRONG = [
    ["nonsense"],
    ["up"],
    ["gateways", "set", "x", "a=b"],
    ["gateways", "set", "x", "a=101%"],
    ["isolations", "add"],
    ["isolations", "add", "--cookie", "session"],
    ["isolations", "add", "--bearer"],
    ["isolations", "import"],
    ["detections", "list", "--limit", "0"],
    ["alerts", "drop"],
    ["alerts", "drop", "x", "--all"],
    ["alerts", "list", "--status", "nonsense"],
]


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("DIVERTOR_STATE", raising=False)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_without_a_stack_a_command_ends_with_3(command: list[str]) -> None:
    result = CliRunner().invoke(app, command)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "no stack is running" in result.stderr and len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", WRONG, ids=" ".join)
def test_a_wrong_call_ends_with_2(command: list[str]) -> None:
    assert CliRunner().invoke(app, command).exit_code == 2


def test_every_case_ran() -> None:
    assert (len(COMMANDS), len(WRONG)) == (21, 12)


@pytest.mark.parametrize(
    "command", [*COMMANDS, ["up"], ["demo"], ["version"], ["rules", "test"]], ids=" ".join
)
def test_every_command_takes_json(command: list[str]) -> None:
    groups = {"deployments", "gateways", "isolations", "detections", "events", "rules", "alerts"}
    whole = [*command, "list"] if command[-1] in groups else command
    assert "--json" in CliRunner().invoke(app, [*whole, "--help"]).stdout


def test_a_state_that_never_started_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["status", "--state", str(tmp_path / "none")])
    assert result.exit_code == 3 and "no stack was started" in result.stderr


def test_the_version_is_printed() -> None:
    assert CliRunner().invoke(app, ["version"]).stdout.strip() == __version__
    assert json.loads(CliRunner().invoke(app, ["version", "--json"]).stdout) == {"version": __version__}


def test_a_bad_blueprint_ends_with_1_and_its_place(tmp_path: Path) -> None:
    path = tmp_path / "blueprint.yaml"
    path.write_text("name: x\nclusters: {web: {serv: 1}}\n")
    result = CliRunner().invoke(app, ["up", str(path)])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"divertor: {path}:2:") and "Traceback" not in result.stderr


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from divertor.cli.main import app; "
        "heavy = {'httpx', 'duckdb', 'fastapi', 'nats', 'google.protobuf', 'yaml', 'uvicorn'}; "
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
