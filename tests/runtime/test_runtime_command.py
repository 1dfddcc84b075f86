"""Commands: what becomes of a definition, and what a process gets to see of the operator's environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.errors import InputError
from divertor.model.artifacts import COMMAND, Breed, Deployable, EnvironmentVariable, Port
from divertor.model.deployments import DeployedService
from divertor.runtime.command import CommandHost, command_process, inherited_environment
from divertor.runtime.instances import PlannedInstance
from divertor.runtime.process import ProcessSpec, ReadyKind

HOST = CommandHost(
    Path("/blue"), Path("/logs"), "/usr/bin/python3.11", {"PATH": "/bin"}, lambda _instance: {"SENSOR": "on"}
)


def _process(
    definition: str, environment: dict[str, str | None] | None = None, ports: int = 1
) -> ProcessSpec:
    names = ("port", "admin-api")[:ports]
    breed = Breed("shop:1", Deployable(COMMAND, definition), tuple(Port(name, 80) for name in names))
    variables = tuple(EnvironmentVariable(name, value) for name, value in (environment or {}).items())
    service = DeployedService(breed, environment=variables)
    numbers = (20001, 20002)[:ports]
    return command_process(PlannedInstance("d/c/shop:1/0", "d", "c", service, "127.0.0.1", numbers), HOST)


@pytest.mark.parametrize(
    ("definition", "argv"),
    [
        ("python app.py --port $PORT", ("/usr/bin/python3.11", "app.py", "--port", "20001")),
        ("python3 -m app", ("/usr/bin/python3.11", "-m", "app")),
        ("./run --at ${HOST}:${PORT}", ("/blue/run", "--at", "127.0.0.1:20001")),
        ("bin/run", ("/blue/bin/run",)),
        ("/opt/run", ("/opt/run",)),
        ("gunicorn 'a b' \"c d\"", ("gunicorn", "a b", "c d")),
        ("run $NAME", ("run", "two words; rm -rf /")),
        ("run $$PORT $", ("run", "$PORT", "$")),
        ("run $PORT_PORT", ("run", "20001")),
    ],
)
def test_a_definition_becomes_arguments(definition: str, argv: tuple[str, ...]) -> None:
    assert _process(definition, {"NAME": "two words; rm -rf /"}).argv == argv


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("run 'open", "breed shop:1: the command cannot be split: No closing quotation"),
        ("", "breed shop:1: the command is empty"),
        ("run $SECRET", "breed shop:1: the command names \\$SECRET, which is not set; expected \\$HOST, "),
        ("run ${}", "breed shop:1: the command names \\$, which is not set"),
    ],
)
def test_a_definition_that_is_not_understood_is_refused(definition: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _process(definition)


def test_the_environment_is_what_the_breed_says_and_little_else() -> None:
    assert _process("run", {"LEVEL": "low"}, ports=2).env == {
        "PATH": "/bin",
        "SENSOR": "on",
        "LEVEL": "low",
        "HOST": "127.0.0.1",
        "PORT": "20001",
        "PORT_PORT": "20001",
        "PORT_ADMIN_API": "20002",
    }


def test_the_breed_overrides_the_sensors_variables_but_not_the_port() -> None:
    environment = _process("run", {"SENSOR": "off", "PORT": "1"}).env
    assert (environment["SENSOR"], environment["PORT"]) == ("off", "20001")


def test_a_variable_without_a_value_is_refused() -> None:
    with pytest.raises(InputError, match="the environment variable TOKEN has no value"):
        _process("run", {"TOKEN": None})


def test_the_operators_secrets_are_not_handed_on() -> None:
    environ = {"PATH": "/bin", "HOME": "/root", "SLACK_TOKEN": "secret", "PYTHONPATH": "src:/abs:"}
    assert inherited_environment(environ, Path("/here")) == {
        "PATH": "/bin",
        "HOME": "/root",
        "PYTHONPATH": "/here/src:/abs",
    }


def test_it_is_ready_when_its_first_port_accepts() -> None:
    spec = _process("run", ports=2)
    assert spec.ready is not None
    assert (spec.ready.kind, spec.ready.port, spec.listens) == (ReadyKind.TCP, 20001, (20001, 20002))


def test_one_without_ports_is_running_when_it_runs() -> None:
    spec = _process("run", ports=0)
    assert (spec.ready, spec.listens, "PORT" in spec.env) == (None, (), False)


def test_the_log_is_a_plain_name_in_the_log_directory() -> None:
    assert _process("run").log == "/logs/d_c_shop_1_0.log"


@given(st.text(max_size=40), st.dictionaries(st.sampled_from("ABC"), st.text(max_size=10)))
@settings(max_examples=300, deadline=None)
def test_any_definition_is_a_process_or_an_error(definition: str, environment: dict[str, Any]) -> None:
    try:
        assert _process(definition, environment).argv
    except (InputError, ValueError) as problem:
        assert str(problem)
