"""The command `divertor-sensor` (also `python -m divertor_sensor`): start a program with the sensor in it.

    divertor-sensor run gunicorn shop:app

It only prepares the environment and becomes the program; all settings are environment variables (see the
README).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from divertor_sensor.version import VERSION

_NOT_FOUND = 127
_NOT_EXECUTABLE = 126


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns an exit status only when the program could not be started."""
    options = _parser().parse_args(arguments)
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
    commands = parser.add_subparsers(dest="action", required=True, metavar="run")
    run = commands.add_parser("run", help="start a command with the sensor in every Python process of it")
    run.add_argument("command", help="the program to start")
    run.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments, passed on as they are")
    return parser


if __name__ == "__main__":
    sys.exit(main())
