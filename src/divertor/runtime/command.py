"""A breed of type `command` as a process: its command line, its environment, its log. Pure.

No shell is involved: the definition is split into arguments once, and variables are replaced inside each
argument, so a value with spaces or quotes stays one argument. The environment is complete and small: of the
operator's own variables only those in `INHERITED` are handed on, so that tokens in the shell that started
Divertor do not reach an application that attackers are talking to.
"""

from __future__ import annotations

import os.path
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from divertor.errors import InputError, Position
from divertor.model.artifacts import Breed, EnvironmentVariable
from divertor.runtime.instances import PlannedInstance
from divertor.runtime.process import ProcessSpec, ReadyCheck, ReadyKind

#: What a process gets of the environment that Divertor itself was started in.
INHERITED = ("PATH", "HOME", "LANG", "VIRTUAL_ENV", "PYTHONPATH")
#: Seconds an instance may take until its first port accepts.
START_TIMEOUT = 60.0

_VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|(?P<bare>[A-Za-z_][A-Za-z0-9_]*)|\{(?P<braced>[^{}]*)\})")
_UNNAMEABLE = re.compile(r"[^A-Za-z0-9_]")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def _nothing(_instance: PlannedInstance) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class CommandHost:
    """Where commands run: the blueprint's directory, the directory for logs, the interpreter that `python`
    means.

    `inherited` comes from `inherited_environment`; `provided` gives the variables that Divertor itself hands
    to an instance (the sensor's settings, its directories). Both give way to what the breed says.
    """

    directory: Path
    logs: Path
    python: str
    inherited: Mapping[str, str] = field(default_factory=dict)
    provided: Callable[[PlannedInstance], Mapping[str, str]] = _nothing


def inherited_environment(environ: Mapping[str, str], directory: Path) -> dict[str, str]:
    """The part of `environ` that is handed on; PYTHONPATH's relative entries are made absolute from
    `directory`.
    """
    kept = {name: environ[name] for name in INHERITED if name in environ}
    if "PYTHONPATH" in kept:
        entries = kept["PYTHONPATH"].split(os.path.pathsep)
        kept["PYTHONPATH"] = os.path.pathsep.join(str(directory / entry) for entry in entries if entry)
    return kept


def command_process(instance: PlannedInstance, host: CommandHost) -> ProcessSpec:
    """The process of `instance`, in the blueprint's directory.

    It gets HOST, PORT (its first port) and PORT_NAME for each of its ports. Standard output and error go to
    one log file per instance. It counts as running when its first port accepts connections.

    :raises InputError: the command cannot be split, names an unknown variable, or a variable has no value.
    """
    breed = instance.service.breed
    environment = _environment(instance, host)
    port = instance.port()
    ready = None
    if port is not None:
        ready = ReadyCheck(ReadyKind.TCP, host=instance.host, port=port, timeout=START_TIMEOUT)
    return ProcessSpec(
        name=instance.name,
        argv=_arguments(breed, environment, host),
        env=environment,
        cwd=str(host.directory),
        log=str(host.logs / f"{_UNSAFE.sub('_', instance.name)}.log"),
        ready=ready,
        listens=instance.ports,
    )


def _environment(instance: PlannedInstance, host: CommandHost) -> dict[str, str]:
    environment = {**host.inherited, **host.provided(instance)}
    for variable in instance.service.environment:
        environment[variable.alias or variable.name] = _value(variable, instance.service.breed)
    for port, number in zip(instance.service.breed.ports, instance.ports, strict=False):
        environment[f"PORT_{_UNNAMEABLE.sub('_', port.name).upper()}"] = str(number)
    environment["HOST"] = instance.host
    if instance.ports:
        environment["PORT"] = str(instance.ports[0])
    return environment


def _value(variable: EnvironmentVariable, breed: Breed) -> str:
    if variable.value is None:
        raise InputError(
            f"the environment variable {variable.name} has no value",
            _position(breed),
            "a value in the blueprint or the service",
        )
    return variable.value


def _arguments(breed: Breed, environment: Mapping[str, str], host: CommandHost) -> tuple[str, ...]:
    try:
        words = shlex.split(breed.deployable.definition)
    except ValueError as problem:
        raise InputError(
            f"the command cannot be split: {problem}", _position(breed), "balanced quotes"
        ) from problem
    if not words:
        raise InputError("the command is empty", _position(breed), "a program and its arguments")
    arguments = [_expand(word, environment, breed) for word in words]
    return (_program(arguments[0], host), *arguments[1:])


def _program(name: str, host: CommandHost) -> str:
    if name in ("python", "python3"):
        return host.python
    # A bare name is looked up in PATH; anything with a slash starts at the blueprint's directory.
    return str(host.directory / name) if "/" in name else name


def _expand(word: str, environment: Mapping[str, str], breed: Breed) -> str:
    def value(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        name = match["bare"] or match["braced"] or ""
        if name not in environment:
            known = ", ".join(f"${known}" for known in sorted(environment))
            raise InputError(f"the command names ${name}, which is not set", _position(breed), known)
        return environment[name]

    return _VARIABLE.sub(value, word)


def _position(breed: Breed) -> Position:
    return Position(f"breed {breed.name}")
