"""The sinks inside a request: each way to a shell, a file and a database is seen before it runs."""

from __future__ import annotations

import asyncio
import codecs
import ctypes
import glob
import importlib.util
import io
import os
import pty
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.machinery import SourceFileLoader
from os import system as early_system
from pathlib import Path
from typing import Any

import pytest
import uvloop

from divertor_sensor import AttackInterrupted, context
from divertor_sensor.reports.detection import Detection
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor
from divertor_sensor.settings import Mode

early_open = open
MakeSensor = Callable[..., Sensor]
SHELL = "x; touch /nonexistent/proof"
LINE = f"true {SHELL}"
PATH = "../../etc/hostname"
SQL = "x' or '1'='1"
STATEMENT = f"select 1 where 'a' = '{SQL}'"


def request(sensor: Sensor, value: str) -> Request:
    head = Head("POST", "/", "", {"content-type": "text/plain"}, "")
    made = Request(sensor, lambda: head)
    made.body.record(value.encode())
    return made


def connection() -> sqlite3.Connection:
    return sqlite3.connect(":memory:")


SHELL_CALLS: dict[str, Callable[[], Any]] = {
    "os.system": lambda: os.system(LINE),
    "os.popen": lambda: os.popen(LINE),  # noqa: TID251
    "Popen string": lambda: subprocess.Popen(LINE, shell=True),
    "Popen bytes": lambda: subprocess.Popen(LINE.encode(), shell=True),
    "Popen positional": lambda: subprocess.Popen(LINE, -1, None, None, None, None, None, True, True),
    "Popen list with shell": lambda: subprocess.Popen([LINE, "a"], shell=True),
    "Popen sh -c": lambda: subprocess.Popen(["sh", "-c", LINE]),
    "run": lambda: subprocess.run(LINE, shell=True),
    "call": lambda: subprocess.call(LINE, shell=True),
    "check_call": lambda: subprocess.check_call(args=LINE, shell=True),
    "check_output": lambda: subprocess.check_output(LINE, shell=True),
    "getoutput": lambda: subprocess.getoutput(LINE),
    "asyncio shell": lambda: asyncio.run(_async(lambda: asyncio.create_subprocess_shell(LINE))),
    "asyncio exec": lambda: asyncio.run(_async(lambda: asyncio.create_subprocess_exec("sh", "-c", LINE))),
    "Popen with another executable": lambda: subprocess.Popen(["x", "-c", LINE], executable="/bin/sh"),
    "Popen through env": lambda: subprocess.Popen(["env", "A=b", "bash", "-c", LINE]),
    "Popen through xargs": lambda: subprocess.Popen(["xargs", "-n", "1", "sh", "-c", LINE]),
    "Popen by posix_spawn": lambda: subprocess.Popen(["/bin/sh", "-c", LINE], close_fds=False),
    "os.posix_spawn": lambda: os.posix_spawn("/bin/sh", ["sh", "-c", LINE], {}),
    "os.posix_spawnp": lambda: os.posix_spawnp("sh", ["sh", "-c", LINE], {}),
    "os.execv": lambda: os.execv("/bin/sh", ["sh", "-c", LINE]),
    "os.execvpe": lambda: os.execvpe("sh", ["sh", "-c", LINE], {}),
    "os.spawnv": lambda: os.spawnv(os.P_WAIT, "/bin/sh", ["sh", "-c", LINE]),
    "os.spawnve": lambda: os.spawnve(os.P_WAIT, "/bin/sh", ["sh", "-c", LINE], {}),
    "os.spawnvp by name": lambda: os.spawnvp(mode=os.P_WAIT, file="sh", args=["sh", "-c", LINE]),
    "os.spawnl": lambda: os.spawnl(os.P_WAIT, "/bin/sh", "sh", "-c", LINE),
    "pty.spawn": lambda: pty.spawn(["sh", "-c", LINE]),
    "a name imported early": lambda: early_system(LINE),
    "uvloop shell": lambda: uvloop.run(_async(lambda: asyncio.create_subprocess_shell(LINE))),
    "uvloop exec": lambda: uvloop.run(_async(lambda: asyncio.create_subprocess_exec("sh", "-c", LINE))),
}


async def _async(call: Callable[[], Any]) -> None:
    await call()


@pytest.mark.parametrize("name", SHELL_CALLS)
def test_a_shell_is_stopped(name: str, make_sensor: MakeSensor, kept: list[Detection]) -> None:
    with pytest.raises(AttackInterrupted):
        context.run_in(request(make_sensor(), SHELL), SHELL_CALLS[name])
    assert [(found.type, found.statement) for found in kept] == [("shell_injection", LINE)]


OPTION = "--upload-pack=touch /nonexistent/proof"
STARTED = ["git", "clone", OPTION, "/nonexistent"]
OPTION_CALLS: dict[str, Callable[[], Any]] = {
    "Popen": lambda: subprocess.Popen(STARTED),
    "run": lambda: subprocess.run(tuple(STARTED), check=False),
    "check_output bytes": lambda: subprocess.check_output([word.encode() for word in STARTED]),
    "Popen through timeout": lambda: subprocess.Popen(["timeout", "5", *STARTED]),
    "os.spawnvp": lambda: os.spawnvp(os.P_WAIT, "git", STARTED),
    "os.posix_spawnp": lambda: os.posix_spawnp("git", STARTED, {}),
    "asyncio": lambda: asyncio.run(_async(lambda: asyncio.create_subprocess_exec(*STARTED))),
    "uvloop": lambda: uvloop.run(_async(lambda: asyncio.create_subprocess_exec(*STARTED))),
}


@pytest.mark.parametrize("name", OPTION_CALLS)
def test_an_option_that_executes_is_stopped(
    name: str, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    with pytest.raises(AttackInterrupted):
        context.run_in(request(make_sensor(), OPTION), OPTION_CALLS[name])
    assert [found.type for found in kept] == ["argument_injection"]


def test_an_option_that_only_changes_a_program_is_reported(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    call = partial(subprocess.run, ["sort", "-r"], input=b"", check=True)
    context.run_in(request(make_sensor(), "-r"), call)
    assert [(found.type, found.signal) for found in kept] == [("argument_injection", "vulnerability")]


HONEST_STARTS: list[list[str]] = [
    ["sort", "--", "-o/nonexistent/proof"],
    ["true", "-o/nonexistent/proof"],
    ["sort", "--reverse", "/dev/null"],
    ["sh", "-c", 'test "$0"', "-o/nonexistent/proof"],
]


@pytest.mark.parametrize("words", HONEST_STARTS)
def test_a_program_that_takes_no_option_from_an_input_runs(
    words: list[str], make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    context.run_in(
        request(make_sensor(), "-o/nonexistent/proof"), partial(subprocess.run, words, check=False)
    )
    assert kept == []


FILE_CALLS: dict[str, Callable[[str], Any]] = {
    "open": lambda path: open(path),
    "open by name": lambda path: open(file=path),
    "open bytes": lambda path: open(path.encode()),
    "io.open": lambda path: io.open(path),  # noqa: UP020
    "os.open": lambda path: os.open(path, os.O_RDONLY),
    "pathlib open": lambda path: Path(path).open(),
    "pathlib read_text": lambda path: Path(path).read_text(),
    "pathlib write_bytes": lambda path: Path(path).write_bytes(b""),
    "open of a Path": lambda path: open(Path(path)),
    "a name imported early": lambda path: early_open(path),
    "codecs.open": lambda path: codecs.open(path),
    "FileIO": lambda path: io.FileIO(path),
    "ZipFile": lambda path: zipfile.ZipFile(path),
    "os.stat": lambda path: os.stat(path),
    "os.stat by name": lambda path: os.stat(path=path, follow_symlinks=True),
    "os.lstat": lambda path: os.lstat(path),
    "os.access": lambda path: os.access(path, os.R_OK),
    "os.readlink": lambda path: os.readlink(path),
    "os.path.exists": lambda path: os.path.exists(path),
    "os.path.getsize": lambda path: os.path.getsize(path),
    "os.path.isdir": lambda path: os.path.isdir(path),
    "pathlib exists": lambda path: Path(path).exists(),
    "pathlib unlink": lambda path: Path(path).unlink(),
    "pathlib rename": lambda path: Path("x").rename(path),
    "os.remove": lambda path: os.remove(path),
    "os.unlink bytes": lambda path: os.unlink(path.encode()),
    "os.rename to": lambda path: os.rename("x", path),
    "os.replace from": lambda path: os.replace(path, "x"),
    "os.mkdir": lambda path: os.mkdir(path),
    "os.makedirs": lambda path: os.makedirs(path),
    "os.rmdir": lambda path: os.rmdir(path),
    "os.link": lambda path: os.link(path, "x"),
    "os.symlink": lambda path: os.symlink(path, "x"),
    "os.truncate": lambda path: os.truncate(path, 0),
    "os.chmod": lambda path: os.chmod(path, 0o600),
    "os.chown": lambda path: os.chown(path, 0, 0),
    "os.utime": lambda path: os.utime(path),
    "os.chdir": lambda path: os.chdir(path),
    "os.listdir": lambda path: os.listdir(path),
    "os.scandir": lambda path: os.scandir(path),
    "os.walk": lambda path: list(os.walk(path)),
    "os.getxattr": lambda path: os.getxattr(path, "user.x"),
    "glob.glob": lambda path: glob.glob(f"{path}*"),
    "shutil.copyfile": lambda path: shutil.copyfile(path, "x"),
    "shutil.copy": lambda path: shutil.copy(path, "x"),
    "shutil.move": lambda path: shutil.move(path, "x"),
    "shutil.rmtree": lambda path: shutil.rmtree(path),
    "shutil.copytree": lambda path: shutil.copytree(path, "x"),
    "sqlite3.connect": lambda path: sqlite3.connect(path),
    "ctypes": lambda path: ctypes.CDLL(path),
}


@pytest.mark.parametrize("name", FILE_CALLS)
def test_a_traversal_is_stopped(name: str, make_sensor: MakeSensor, kept: list[Detection]) -> None:
    with pytest.raises(AttackInterrupted):
        context.run_in(request(make_sensor(), PATH), FILE_CALLS[name], f"files/{PATH}")
    assert kept[0].type == "path_traversal" and kept[0].statement.startswith(f"files/{PATH}")
    assert len(kept) == 1 and kept[0].frames[0].file == __file__


HONEST_FILES = ["report.txt", "a/../report.txt", "./report.txt", "..report"]


@pytest.mark.parametrize("name", FILE_CALLS)
@pytest.mark.parametrize("value", HONEST_FILES)
def test_an_honest_name_reaches_the_file_system(
    name: str,
    value: str,
    make_sensor: MakeSensor,
    kept: list[Detection],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It fails there, as it does outside of a request, for there is no such file."""
    monkeypatch.chdir(tmp_path)
    with suppress(OSError, sqlite3.Error):
        gc_closed(context.run_in(request(make_sensor(), value), FILE_CALLS[name], f"nowhere/{value}"))
    assert kept == []


def gc_closed(opened: Any) -> None:
    if hasattr(opened, "close"):
        opened.close()


def test_a_constant_that_equals_an_input_is_left_alone(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    asked = request(make_sensor(), "/etc/hostname")
    assert context.run_in(asked, lambda: os.path.exists("/etc/hostname")) and kept == []


def test_one_call_that_is_announced_in_steps_is_reported_once(
    make_sensor: MakeSensor, kept: list[Detection], tmp_path: Path
) -> None:
    """In mode `report` it runs: `shutil.copy` probes, announces itself and opens."""
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_text("s")
    reporting = make_sensor(mode=Mode.REPORT)
    source = f"{tmp_path}/in/../secret"
    context.run_in(request(reporting, "../secret"), shutil.copy, source, tmp_path / "copy")
    assert (tmp_path / "copy").exists() and [found.outcome for found in kept] == ["reported"]


def test_after_an_interruption_files_are_refused_and_imports_are_not(
    make_sensor: MakeSensor, tmp_path: Path
) -> None:
    asked = request(make_sensor(), "hello")
    asked.interrupted = True
    sys.modules.pop("colorsys", None)
    assert context.run_in(asked, importlib.import_module, "colorsys").__name__ == "colorsys"
    for path in (tmp_path / "x", Path("x")):
        with pytest.raises(AttackInterrupted):
            context.run_in(asked, path.write_text, "")


def test_a_request_too_large_to_judge_may_still_make_the_app_import(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    compiled = Path(importlib.util.cache_from_source("colorsys.py")).name
    many = "&".join([f"p{number}=1" for number in range(4000)] + [f"name={compiled}"])
    sys.modules.pop("colorsys", None)
    asked = request(make_sensor(), many)
    assert context.run_in(asked, importlib.import_module, "colorsys").__name__ == "colorsys"
    assert kept == []


def test_a_module_loaded_from_elsewhere_is_judged_in_a_large_request_too(
    make_sensor: MakeSensor, tmp_path: Path
) -> None:
    (tmp_path / "brought.py").write_text("")
    many = "&".join([f"p{number}=1" for number in range(4000)] + [f"name={tmp_path}/brought.py"])
    loader = SourceFileLoader("brought", f"{tmp_path}/brought.py")
    with pytest.raises(AttackInterrupted):
        context.run_in(request(make_sensor(), many), loader.get_data, loader.path)


def test_a_large_request_is_read_once_however_many_files_it_makes_the_app_open(
    make_sensor: MakeSensor, kept: list[Detection], tmp_path: Path
) -> None:
    asked = request(make_sensor(), "&".join(f"page{number}=some+words" for number in range(30_000)))
    for number in range(12):
        context.run_in(asked, (tmp_path / f"log-{number}.txt").write_text, "x")
    assert kept == []


def test_a_directory_in_a_link_does_not_keep_the_app_from_its_own_files(
    make_sensor: MakeSensor, kept: list[Detection], tmp_path: Path
) -> None:
    (tmp_path / "x").write_text("mine")
    top = "/" + tmp_path.parts[1]
    assert context.run_in(request(make_sensor(), top), (tmp_path / "x").read_text) == "mine"
    assert kept == []


CONVERTED = {
    "..\\..\\etc\\hostname": "files/../../etc/hostname",
    "file:///etc/hostname": "/etc/hostname",
    "file://localhost/etc/hostname": "/etc/hostname",
    "..;/..;/etc/hostname": "files/../../etc/hostname",
    "%2e%2e/%2e%2e/etc/hostname": "files/../../etc/hostname",
}


@pytest.mark.parametrize("value", CONVERTED)
def test_a_path_that_the_app_converted_first_is_recognised(value: str, make_sensor: MakeSensor) -> None:
    with pytest.raises(AttackInterrupted):
        context.run_in(request(make_sensor(), value), os.path.exists, CONVERTED[value])


class OwnCursor(sqlite3.Cursor):
    def execute(self, sql: str, tag: str = "") -> Any:  # type: ignore[override]
        return super().execute(sql.replace("SELEKT", "select"))


class OwnConnection(sqlite3.Connection):
    def cursor(self, *args: Any) -> Any:
        return super().cursor(*args)


SQL_CALLS: dict[str, Callable[[], Any]] = {
    "connection execute": lambda: connection().execute(STATEMENT),
    "connection executemany": lambda: connection().executemany(STATEMENT, []),
    "connection executescript": lambda: connection().executescript(STATEMENT),
    "cursor execute": lambda: connection().cursor().execute(STATEMENT),
    "cursor executemany": lambda: connection().cursor().executemany(STATEMENT, []),
    "cursor executescript": lambda: connection().cursor().executescript(STATEMENT),
    "the cursor an execute returned": lambda: connection().execute("select 1").execute(STATEMENT),
    "dbapi2": lambda: sqlite3.dbapi2.connect(":memory:").execute(STATEMENT),
    "own cursor": lambda: (
        connection().cursor(OwnCursor).execute(STATEMENT.replace("select", "SELEKT"), tag="x")
    ),
    "own connection": lambda: sqlite3.connect(":memory:", factory=OwnConnection).cursor().execute(STATEMENT),
    "own connection, positional": lambda: sqlite3.connect(
        ":memory:", 5.0, 0, None, True, OwnConnection
    ).execute(STATEMENT),
}


@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
@pytest.mark.parametrize("name", SQL_CALLS)
def test_an_sql_injection_is_stopped(name: str, make_sensor: MakeSensor, kept: list[Detection]) -> None:
    with pytest.raises(AttackInterrupted):
        context.run_in(request(make_sensor(), SQL), SQL_CALLS[name])
    assert [(found.type, found.statement) for found in kept] == [("sql_injection", STATEMENT)]


def test_an_own_factory_is_still_what_the_app_gets() -> None:
    database = sqlite3.connect(":memory:", factory=OwnConnection)
    assert isinstance(database, OwnConnection) and type(database).__name__ == "OwnConnection"
    assert isinstance(database.cursor(OwnCursor), OwnCursor)
    database.close()


def test_a_factory_that_is_a_function_is_called_as_it_is() -> None:
    database = sqlite3.connect(":memory:", factory=partial(OwnConnection))  # type: ignore[call-overload]
    assert type(database) is OwnConnection
    database.close()


def test_a_file_the_app_opens_elsewhere_is_no_excuse_for_a_traversal(
    make_sensor: MakeSensor, tmp_path: Path
) -> None:
    """Both go through the same line of pathlib; what counts is the place in the app."""
    sensor, secret = make_sensor(), tmp_path / "secret.ini"
    secret.write_text("s")
    context.run_in(request(sensor, "hello"), lambda: secret.read_text())
    with pytest.raises(AttackInterrupted):
        context.run_in(request(sensor, "../secret.ini"), lambda: Path(str(secret)).read_text())


def test_outside_a_request_nothing_is_judged(kept: list[Detection], tmp_path: Path) -> None:
    os.system("true; true")
    (tmp_path / ".." / "x").write_text("")
    database = connection()
    database.execute(STATEMENT)
    database.close()
    assert kept == []


def test_a_fault_of_the_sensor_lets_the_call_run_and_is_counted(make_sensor: MakeSensor) -> None:
    sensor = make_sensor(strict=False)
    broken = Request(sensor, lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    database = connection()
    assert context.run_in(broken, lambda: database.execute(STATEMENT).fetchall()) == [(1,)]
    database.close()
    assert sensor.faults.count == 1


def test_a_fault_of_the_sensor_is_raised_in_tests(make_sensor: MakeSensor) -> None:
    broken = Request(make_sensor(), lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    database = connection()
    with pytest.raises(ZeroDivisionError):
        context.run_in(broken, database.execute, STATEMENT)
    database.close()


def test_a_fault_of_the_reporter_does_not_let_the_attack_through(make_sensor: MakeSensor) -> None:
    class Broken:
        def submit(self, report: object) -> None:
            raise OSError("no")

    sensor = make_sensor(strict=False)
    sensor.reporter = Broken()
    database = connection()
    with pytest.raises(AttackInterrupted):
        context.run_in(request(sensor, SQL), database.execute, STATEMENT)
    database.close()
