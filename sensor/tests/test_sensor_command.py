"""The command, the start-up hooks and an installation of the wheel in a fresh environment."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import divertor_sensor
from divertor_sensor.__main__ import main, prepared_environment

PROJECT = Path(divertor_sensor.__file__).parents[2]
SOURCE = str(PROJECT / "src")
PROOF = "import sys; m = sys.modules.get('divertor_sensor.patching'); print(bool(m and m.patched))"


def python(*arguments: str, executable: str = sys.executable, **environ: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("DIVERTOR", "PYTHON"))}
    done = subprocess.run(
        [executable, *arguments], env={**clean, **environ}, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_command_starts_a_program_with_the_sensor_in_it() -> None:
    assert python("-m", "divertor_sensor", "run", sys.executable, "-c", PROOF, PYTHONPATH=SOURCE) == "True"


def test_without_the_command_nothing_is_patched() -> None:
    assert python("-c", PROOF, PYTHONPATH=SOURCE) == "False"


def test_what_the_host_may_do_without_is_not_imported() -> None:
    """asyncio alone is 2.5 MB; some versions of wrapt import it, and nothing can be done about that here."""
    proof = (
        "import sys; print(sorted({'asyncio', 'subprocess', 'flask', 'multiprocessing'} & set(sys.modules)))"
    )
    run = ("-m", "divertor_sensor", "run", sys.executable, "-c", proof)
    assert python(*run, PYTHONPATH=SOURCE) == python("-c", f"import wrapt; {proof}")


def test_one_import_turns_it_on_and_the_package_alone_does_not() -> None:
    assert python("-c", f"import divertor_sensor.auto; {PROOF}", PYTHONPATH=SOURCE) == "True"
    assert python("-c", f"import divertor_sensor; {PROOF}", PYTHONPATH=SOURCE) == "False"


def test_turning_it_on_twice_changes_nothing() -> None:
    again = (
        "import divertor_sensor as d, sqlite3; from divertor_sensor import patching as p; d.instrument();"
        "before, connect = set(p.patched), sqlite3.connect; d.instrument(); d.protect();"
        "print(set(p.patched) == before and sqlite3.connect is connect)"
    )
    assert python("-c", again, PYTHONPATH=SOURCE) == "True"


def test_a_sub_interpreter_is_guarded_by_itself() -> None:
    pytest.importorskip("_xxsubinterpreters")
    code = (
        "import _xxsubinterpreters as s; s.run_string(s.create(), 'import divertor_sensor, sqlite3;"
        "divertor_sensor.instrument(); print(type(sqlite3.connect).__name__)', {})"
    )
    told = python("-c", code, PYTHONPATH=SOURCE)
    assert told == python("-c", code.replace("s.run_string(s.create(), ", "exec("), PYTHONPATH=SOURCE)


def test_a_sitecustomize_of_the_host_still_runs(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import builtins; builtins.own = 'ran'")
    path = os.pathsep.join([SOURCE, str(tmp_path)])
    run = ("-m", "divertor_sensor", "run", sys.executable, "-c", "print(own)")
    assert python(*run, PYTHONPATH=path) == "ran"


def test_the_programs_arguments_are_passed_on_as_they_are() -> None:
    show = "import sys; print(sys.argv[1:])"
    run = ("-m", "divertor_sensor", "run", sys.executable, "-c", show, "--x", "-h", "a b")
    assert python(*run, PYTHONPATH=SOURCE) == "['--x', '-h', 'a b']"


def test_a_command_that_does_not_exist_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "/no/such/command"]) == 127
    assert "no such command" in capsys.readouterr().err


def test_preparing_twice_adds_nothing() -> None:
    once = prepared_environment({"PYTHONPATH": "/own"})
    assert prepared_environment(once) == once and once["DIVERTOR_SENSOR"] == "1"


def test_a_bad_setting_is_told_and_the_host_starts(tmp_path: Path) -> None:
    environ = {"PYTHONPATH": SOURCE, "DIVERTOR_MODE": "destroy", "DIVERTOR_TRUSTED_HOPS": "x"}
    assert python("-m", "divertor_sensor", "run", sys.executable, "-c", PROOF, **environ) == "True"


def test_a_bad_setting_is_told_once_however_often_the_sensor_is_turned_on() -> None:
    code = (
        "import io, logging, divertor_sensor as d; told = io.StringIO(); logging.basicConfig(stream=told);"
        "d.instrument(); d.instrument(); d.protect(); print(told.getvalue().count('DIVERTOR_MODE'))"
    )
    assert python("-c", code, PYTHONPATH=SOURCE, DIVERTOR_MODE="destroy") == "1"


def test_nothing_waits_at_exit_when_the_collector_is_gone(port: int) -> None:
    code = (
        "import time, divertor_sensor as d; from divertor_sensor.reports import reporter, detection as n\n"
        f"r = reporter.OtlpReporter(d.Settings(endpoint='http://127.0.0.1:{port}'))\n"
        "s = n.Subject('', '', '', '', '', '', '')\n"
        "r.submit(n.Detection('i', 1, 't', 'c', 's', 'o', 's', 'p', 'p', 's', 's', s, ()))\n"
        "import atexit; start = time.monotonic()\n"
        "atexit._run_exitfuncs(); print(time.monotonic() - start < 3)"
    )
    assert python("-c", code, PYTHONPATH=SOURCE) == "True"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment that sees the dependencies of this one, but not the sensor."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=True)
    wrapt = importlib.util.find_spec("wrapt")
    assert wrapt is not None and wrapt.origin is not None
    own = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (own / "wrapt").symlink_to(Path(wrapt.origin).parent)
    return folder


def install(fresh: Path, *arguments: str) -> str:
    """pip of the fresh environment, without an index; the build tools are this environment's."""
    tools = sysconfig.get_path("purelib")
    pip = ("-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-index", "--no-deps")
    flags = ("--no-build-isolation", "--force-reinstall", *arguments)
    python(*pip, *flags, executable=str(fresh / "bin" / "python"), PYTHONPATH=tools)
    return str(fresh / "bin" / "python")


@pytest.mark.parametrize("how", [[str(PROJECT)], ["--editable", str(PROJECT)]])
def test_an_installation_starts_by_the_environment_variable_alone(fresh: Path, how: list[str]) -> None:
    executable = install(fresh, *how)
    assert python("-c", PROOF, executable=executable, DIVERTOR_SENSOR="1") == "True"
    assert python("-c", PROOF, executable=executable) == "False"
    assert python("-c", PROOF, executable=executable, DIVERTOR_SENSOR="0") == "False"
    command = str(fresh / "bin" / "divertor-sensor")
    assert python("run", executable, "-c", PROOF, executable=command) == "True"
