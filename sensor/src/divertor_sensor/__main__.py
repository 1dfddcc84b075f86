"""The command `divertor-sensor` (also `python -m divertor_sensor`): start a program with the sensor in it, or
say what the sensor guards.

    divertor-sensor run gunicorn shop:app
    divertor-sensor doctor shop:app

`run` only prepares the environment and becomes the program; all settings are environment variables (see the
README).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from divertor_sensor.version import VERSION

_NOT_FOUND = 127
_NOT_EXECUTABLE = 126


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; `run` returns an exit status only when the program could not be started."""
    options = _parser().parse_args(arguments)
    return _doctor(options) if options.action == "doctor" else _run(options)


def _doctor(options: argparse.Namespace) -> int:
    """0 when all is well, 1 when something should be changed."""
    from divertor_sensor.doctor import examine, render

    diagnosis = examine(os.environ, options.app)
    print(json.dumps(dataclasses.asdict(diagnosis), indent=2) if options.json else render(diagnosis))
    return 1 if diagnosis.problems else 0


def _run(options: argparse.Namespace) -> int:
    environ = prepared_environment(os.environ)
    try:
        os.execvpe(options.command, [options.command, *options.arguments], environ)
    except FileNotFoundError:
        print(f"divertor-sensor: no such command: {options.command}", file=sys.stderr)
        return _NOT_FOUND
    except OSError as problem:
        print(f"divertor-sensor: cannot run {options.command}: {problem.strerror}", file=sys.stderr)
        return _NOT_EXECUTABLE


def prepared_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` with the sensor switched on.

    The start-up hook is a `.pth` file of the installation. A directory on PYTHONPATH gets no `.pth`
    processing, so the package's own `sitecustomize` is put in front as well; it hands over to the one it
    hides.
    """
    bootstrap = str(Path(__file__).resolve().parent / "bootstrap")
    path = [part for part in environ.get("PYTHONPATH", "").split(os.pathsep) if part and part != bootstrap]
    package_home = str(Path(__file__).resolve().parent.parent)
    if "site-packages" not in package_home and package_home not in path:
        path.append(package_home)
    return {**environ, "DIVERTOR_SENSOR": "1", "PYTHONPATH": os.pathsep.join([bootstrap, *path])}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="divertor-sensor", description="Divertor's in-app attack sensor.")
    parser.add_argument("--version", action="version", version=f"divertor-sensor {VERSION}")
    commands = parser.add_subparsers(dest="action", required=True, metavar="run | doctor")
    run = commands.add_parser("run", help="start a command with the sensor in every Python process of it")
    run.add_argument("command", help="the program to start")
    run.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments, passed on as they are")
    doctor = commands.add_parser("doctor", help="say what is guarded here, what is not, and why")
    doctor.add_argument("app", nargs="?", default="", help="MODULE or MODULE:APP to look into")
    doctor.add_argument("--json", action="store_true", help="print it as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
