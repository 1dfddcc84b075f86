"""What the sensor must not do to its host: cost too much, keep it from cleaning up, leave anything broken
behind a request that was interrupted.
"""

from __future__ import annotations

import gc
import io
import logging
import os
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from divertor_sensor import AttackInterrupted, context
from divertor_sensor.faults import LOG
from divertor_sensor.frameworks.wsgi import DivertorWSGI
from divertor_sensor.reports.detection import Outcome, Subject
from divertor_sensor.reports.redaction import is_secret
from divertor_sensor.reports.reporter import OtlpReporter
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor
from divertor_sensor.settings import Settings
from divertor_sensor.sources.bodies import read_body
from divertor_sensor.sources.derived import readings
from divertor_sensor.sources.inputs import Inputs
from divertor_sensor.sources.raw import raw_text
from divertor_sensor.work import BUDGET

MakeSensor = Callable[..., Sensor]
MIB = 1 << 20


@pytest.fixture
def interrupted(make_sensor: MakeSensor) -> Request:
    asked = Request(make_sensor(), lambda: Head("GET", "/", "q=x", {}, ""))
    asked.interrupted = True
    return asked


def test_an_interrupted_request_removes_its_temporary_files(interrupted: Request, tmp_path: Path) -> None:
    """An attacker could fill the disk with them otherwise."""
    directory = tempfile.TemporaryDirectory(dir=tmp_path)
    (Path(directory.name) / "a" / "b").mkdir(parents=True)
    (Path(directory.name) / "a" / "b" / "c").write_text("")
    file = tempfile.NamedTemporaryFile(dir=tmp_path)
    context.run_in(interrupted, file.close)
    context.run_in(interrupted, directory.cleanup)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("remove", [os.remove, shutil.rmtree])
def test_an_interrupted_request_removes_nothing_else(
    remove: Callable[[Any], None], interrupted: Request, tmp_path: Path
) -> None:
    with pytest.raises(AttackInterrupted):
        context.run_in(interrupted, remove, tmp_path)
    assert tmp_path.exists()


@pytest.mark.parametrize("end", ["rollback", "ROLLBACK TRANSACTION;", 'rollback to savepoint "a"'])
def test_an_interrupted_request_ends_its_transaction(end: str, interrupted: Request) -> None:
    """Everybody else would wait for its locks."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript("begin; savepoint a")
    context.run_in(interrupted, connection.execute, end)
    with pytest.raises(AttackInterrupted):
        context.run_in(interrupted, connection.execute, "commit")
    connection.close()


def test_a_thread_that_an_interrupted_request_started_works_for_others_later(
    interrupted: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker thread is often started by the first request that needs it."""
    jobs: Queue[Path | None] = Queue()
    results: Queue[Any] = Queue()

    def work() -> None:
        while (path := jobs.get()) is not None:
            try:
                results.put(path.write_text("done"))
            except AttackInterrupted as refused:
                results.put(refused)

    thread = threading.Thread(target=work)
    context.run_in(interrupted, thread.start)
    interrupted.close()
    jobs.put(tmp_path / "x")
    assert isinstance(results.get(), AttackInterrupted)
    monkeypatch.setattr("divertor_sensor.request._AFTERLIFE", 0.0)
    jobs.put(tmp_path / "x")
    assert results.get() == 4
    jobs.put(None)
    thread.join()


def test_a_statement_of_a_class_of_its_own_is_judged_as_the_text_it_is(make_sensor: MakeSensor) -> None:
    class Odd(str):
        def lower(self) -> Any:
            raise ValueError

    value = "x' or 1=1 --"
    asked = Request(make_sensor(), lambda: Head("GET", "/", f"q={value}", {}, ""))
    connection = sqlite3.connect(":memory:")
    with pytest.raises(AttackInterrupted):
        context.run_in(asked, connection.execute, Odd(f"select 1 where 'a' = '{value}'"))
    connection.close()


def test_much_that_cannot_be_decoded_reads_as_little_does() -> None:
    for repeated in (1, 2000):
        text = readings(b"\xc3\xa9 a'\xff\xfe" * repeated)[2]
        assert text == "\xe9 a'%FF%FE" * repeated


def test_a_backslash_gives_way_to_what_follows_it() -> None:
    assert raw_text("", "", {}, rb"a\"b\\c\\\n\\").splitlines()[-1] == r'a"b\c\n' + "\\"


COSTLY: dict[str, tuple[str, bytes]] = {
    "broken bytes": ("application/octet-stream", b"\x93" * MIB),
    "elements in elements": ("application/xml", b"<a>" * (MIB // 3)),
    "signs and broken bytes": ("application/octet-stream", b"a=\xff" * (MIB // 3)),
    "escapes": ("application/json", b'"' + b"\\\\" * (MIB // 2) + b'"'),
}


@pytest.mark.parametrize("case", COSTLY)
def test_a_mebibyte_of_anything_is_read_quickly(case: str) -> None:
    kind, body = COSTLY[case]
    inputs = Inputs()
    began = time.process_time()
    read_body(inputs, kind, body, True)
    raw_text("", "", {}, body)
    for found in inputs.values:
        is_secret(found.source, found.name)
    assert time.process_time() - began < 1 and len(COSTLY) == 4


def test_a_name_as_long_as_a_request_costs_no_more_than_a_long_one() -> None:
    began = time.process_time()
    assert not any(is_secret("form", "-" * MIB) for _ in range(1000))
    assert time.process_time() - began < 1


def test_long_texts_are_not_kept_in_memory(make_sensor: MakeSensor) -> None:
    """Each of these requests is another one, as a hostile client would send them."""
    app = DivertorWSGI(page, make_sensor())
    texts = [f"{number}{'x' * 50_000}" for number in range(120)]
    ask_for(app, texts[:20])
    tracemalloc.start()
    ask_for(app, texts[20:])
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 2 * MIB


def page(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/html")])
    return [b"hello"]


def ask_for(app: Any, texts: list[str]) -> None:
    for text in texts:
        environ: dict[str, Any] = {"QUERY_STRING": text, "PATH_INFO": f"/{text}", "HTTP_COOKIE": f"a={text}"}
        environ |= {"HTTP_USER_AGENT": text, "HTTP_REFERER": text}
        app(environ, lambda status, headers, exc_info=None: None)
    gc.collect()


SUBJECT = Subject("GET", "/", "", "", "", "", "")


class FullDisk(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise OSError(28, "No space left on device")


def broken(*_: Any) -> Any:
    raise ZeroDivisionError


def test_a_fault_that_cannot_even_be_logged_stays_inside(make_sensor: MakeSensor) -> None:
    sensor = make_sensor(strict=False)
    handler = FullDisk()
    LOG.addHandler(handler)
    try:
        sensor.faults.contain("place", ValueError())
    finally:
        LOG.removeHandler(handler)
    assert sensor.faults.count == 1


def test_a_fault_before_anything_is_judged_stays_inside(make_sensor: MakeSensor) -> None:
    sensor = make_sensor(strict=False)
    sensor.memory.knows = broken  # type: ignore[method-assign, assignment]
    connection = sqlite3.connect(":memory:")
    asked = Request(sensor, lambda: Head("GET", "/", "", {}, ""))
    assert context.run_in(asked, connection.execute, "select 1").fetchall() == [(1,)]
    connection.close()
    assert sensor.faults.count == 1


def test_a_collector_that_refuses_does_not_fill_the_log(
    collector: Any, caplog: pytest.LogCaptureFixture
) -> None:
    collector.statuses += [401] * 20
    reporter = OtlpReporter(Settings(endpoint=collector.url))
    for _ in range(20):
        reporter.submit(Outcome(0, 200, 1.0, SUBJECT))
        assert reporter.flush(5)
    assert (len(caplog.records), reporter.dropped) == (1, 20)


def test_many_calls_do_not_use_up_what_a_short_request_may_cost(make_sensor: MakeSensor) -> None:
    asked = Request(make_sensor(), lambda: Head("GET", "/", "q=abc", {}, ""))
    asked.work.left = 1000
    connection = sqlite3.connect(":memory:")

    def work() -> None:
        for number in range(500):
            connection.execute(f"select {number} where 'a' = 'abc{number}'")

    context.run_in(asked, work)
    assert 1000 < asked.work.left <= BUDGET and not asked.interrupted
    connection.close()


def test_a_child_is_not_held_to_the_request_that_forked_it_forever(make_sensor: MakeSensor) -> None:
    """A pool of processes is often started by the first request that needs it."""
    asked = Request(make_sensor(), lambda: Head("GET", "/", "", {}, ""))

    def is_closed_in_child() -> bool:
        child = os.fork()
        if not child:
            os._exit(0 if not asked.replaceable else 1)
        return os.waitpid(child, 0)[1] == 0

    assert context.run_in(asked, is_closed_in_child) and asked.replaceable


def test_a_body_that_is_read_as_text_is_recorded(make_sensor: MakeSensor) -> None:
    seen: list[int] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        text = "".join(io.TextIOWrapper(environ["wsgi.input"]))
        request = context.current.get()
        seen.append(request.body.size if request is not None else -1)
        return [text.encode()]

    stream = io.BufferedReader(io.BytesIO(b"a=1"))  # type: ignore[arg-type, unused-ignore]
    environ: dict[str, Any] = {"wsgi.input": stream, "CONTENT_LENGTH": "3"}
    answer = DivertorWSGI(app, make_sensor())(environ, lambda status, headers, exc_info=None: None)
    assert (list(answer), seen) == ([b"a=1"], [3])


def test_a_recorded_body_can_be_asked_for_its_next_line(make_sensor: MakeSensor) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [next(environ["wsgi.input"])]

    environ: dict[str, Any] = {"wsgi.input": io.BytesIO(b"a\nb\n"), "CONTENT_LENGTH": "4"}
    answer = DivertorWSGI(app, make_sensor())(environ, lambda status, headers, exc_info=None: None)
    assert list(answer) == [b"a\n"]


def test_an_attack_at_the_end_of_the_stack_does_not_run(make_sensor: MakeSensor) -> None:
    """Who chooses how deep an app recurses could leave the sensor no room to judge."""
    value = "x' or 1=1 --"
    connection = sqlite3.connect(":memory:")
    ran: list[str] = []

    def recurse(levels: int) -> None:
        if levels:
            recurse(levels - 1)
        else:
            connection.execute(f"select 1 where 'a' = '{value}'")
            ran.append("attack")

    sensor = make_sensor(strict=False)
    ends: set[type[BaseException]] = set()
    for levels in range(sys.getrecursionlimit() - 200, sys.getrecursionlimit()):
        asked = Request(sensor, lambda: Head("GET", "/", f"q={value}", {}, ""))
        with pytest.raises((AttackInterrupted, RecursionError)) as caught:
            context.run_in(asked, recurse, levels)
        ends.add(caught.type)
    connection.close()
    assert (ran, ends) == ([], {AttackInterrupted, RecursionError})


def test_a_recursion_of_its_own_is_a_fault_like_any_other(make_sensor: MakeSensor) -> None:
    sensor = make_sensor(strict=False)
    sensor.faults.contain("place", RecursionError())
    assert sensor.faults.count == 1
