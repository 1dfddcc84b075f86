"""The sinks inside a request: each way to a shell, a file and a database is seen before it runs."""

from __future__ import annotations

import asyncio
import io
import os
import sqlite3
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from divertor_sensor import AttackInterrupted, context
from divertor_sensor.detection import Detection, Session
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor

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
}


async def _async(call: Callable[[], Any]) -> None:
    await call()


@pytest.mark.parametrize("name", SHELL_CALLS)
def test_a_shell_is_stopped(name: str, make_sensor: MakeSensor, kept: list[Detection]) -> None:
    with pytest.raises(AttackInterrupted):
        context.run_in(request(make_sensor(), SHELL), SHELL_CALLS[name])
    assert [(found.type, found.statement) for found in kept] == [("shell_injection", LINE)]


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
}


@pytest.mark.parametrize("name", FILE_CALLS)
def test_a_traversal_is_stopped(name: str, make_sensor: MakeSensor, kept: list[Detection]) -> None:
    with pytest.raises(AttackInterrupted):
        context.run_in(request(make_sensor(), PATH), FILE_CALLS[name], f"files/{PATH}")
    assert [(found.type, found.statement) for found in kept] == [("path_traversal", f"files/{PATH}")]


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
        def submit(self, report: Detection | Session) -> None:
            raise OSError("no")

    sensor = make_sensor(strict=False)
    sensor.reporter = Broken()
    database = connection()
    with pytest.raises(AttackInterrupted):
        context.run_in(request(sensor, SQL), database.execute, STATEMENT)
    database.close()
