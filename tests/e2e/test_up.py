"""`divertor up`, as a user runs it in a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from divertor.cli.demo.own_stack import free_ports
from divertor.layout import API_PORT, NATS_PORT

from .conftest import eventually

pytestmark = pytest.mark.timeout(120)
Up = Callable[..., subprocess.Popen[str]]
SERVE = "python -m http.server $PORT --bind 127.0.0.1"


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def up(servers: None, tmp_path: Path, port: int) -> Iterator[Up]:
    """Starts `divertor up` for an app with the command `definition`."""
    started: list[subprocess.Popen[str]] = []

    def start(definition: str, *options: str) -> subprocess.Popen[str]:
        breed = {
            "name": "web:1",
            "deployable": {"type": "command", "definition": definition},
            "ports": {"port": "8080/http"},
        }
        blueprint = {
            "name": "web",
            "gateways": {str(port): "web/port"},
            "clusters": {"web": {"services": [{"breed": breed}]}},
        }
        (tmp_path / "blueprint.yaml").write_text(json.dumps(blueprint))
        command = [sys.executable, "-m", "divertor.cli.main", "up", str(tmp_path / "blueprint.yaml")]
        command += ["--state", str(tmp_path / "state"), "--port-offset", str(offset()), *options]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=tmp_path))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def offset() -> int:
    """One at which the API's port and the broker's are free."""
    first = free_ports(1)[0]
    return first - API_PORT if first - API_PORT + NATS_PORT < 32_768 else first - NATS_PORT


def left(state: Path) -> list[str]:
    """The command lines of processes that belong to the stack in `state`."""
    mark = f"DIVERTOR_SUPERVISOR={state / 'run'}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0"):
                found.append(path.with_name("cmdline").read_text())
        except OSError:
            continue
    return found


def test_it_says_where_everything_is_and_ctrl_c_stops_all_of_it(up: Up, tmp_path: Path, port: int) -> None:
    process = up(SERVE)
    assert process.stdout is not None
    told = ""
    while "Ctrl-C" not in told:
        line = process.stdout.readline()
        assert line, process.communicate()
        told += line
    assert f"App     http://127.0.0.1:{port}\n" in told
    assert f"Token   {tmp_path}/state/admin.token\n" in told and "/docs\n" in told
    assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code == 200
    assert len(left(tmp_path / "state")) == 4
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert out.endswith("Everything is stopped.\n") and process.returncode == 0
    assert left(tmp_path / "state") == []


def test_an_app_that_does_not_start_is_told_and_nothing_is_left(up: Up, tmp_path: Path) -> None:
    process = up("python -c \"raise SystemExit('no database')\"")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.startswith("divertor: web/web/web:1/0: ended with exit code 1") and "no database" in err
    assert left(tmp_path / "state") == []


def test_a_second_stack_in_the_same_state_is_refused(up: Up, tmp_path: Path) -> None:
    first = up(SERVE, "--json")
    assert first.stdout is not None
    facts = json.loads(first.stdout.readline())
    assert facts["state"] == str(tmp_path / "state")
    second = up(SERVE)
    _, err = second.communicate(timeout=30)
    assert second.returncode == 1
    assert f"a stack already runs in {tmp_path}/state (pid {first.pid})" in err


def test_down_stops_a_stack(up: Up, tmp_path: Path) -> None:
    process = up(SERVE, "--json")
    assert process.stdout is not None and process.stdout.readline()
    command = [sys.executable, "-m", "divertor.cli.main", "down", "--state", str(tmp_path / "state")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert process.wait(10) == 0
    assert left(tmp_path / "state") == []


def test_a_start_that_is_interrupted_leaves_nothing(up: Up, tmp_path: Path) -> None:
    process = up(SERVE)
    assert process.stdout is not None
    assert process.stdout.readline() == "Starting …\n"
    eventually(lambda: left(tmp_path / "state"))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert left(tmp_path / "state") == []


def test_a_demo_that_cannot_start_leaves_the_last_one_as_it_was(tmp_path: Path) -> None:
    """The API's port is the one every demo wants; whoever holds it, the old state stays."""
    old = tmp_path / "divertor" / "demo"
    old.mkdir(parents=True)
    (old / "demo").touch()
    (old / "precious").touch()
    command = [sys.executable, "-m", "divertor.cli.main", "demo"]
    with socket.socket() as holder:
        # Somebody else may hold it already, which is as good.
        with contextlib.suppress(OSError):
            holder.bind(("127.0.0.1", API_PORT))
            holder.listen()
        environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 1 and f"port {API_PORT} on 127.0.0.1 is in use" in done.stderr
    assert (old / "precious").exists()
