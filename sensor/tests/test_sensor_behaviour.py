"""Errors that nobody handled and how requests end: grouped, sampled, bounded."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from divertor_sensor import behaviour
from divertor_sensor.behaviour import (
    ERRORS_A_SECOND,
    Behaviour,
    fingerprint_of,
    traceback_frames,
    without_values,
)
from divertor_sensor.frameworks.asgi import DivertorASGI
from divertor_sensor.frameworks.wsgi import DivertorWSGI
from divertor_sensor.reports.detection import Failure, Outcome, Report, Slow, export_request
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor

MakeSensor = Callable[..., Sensor]


class PaymentError(Exception):
    pass


class SilentError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def charge(number: str) -> None:
    raise PaymentError(f"card {number} was refused for the password hunter2")


def broken(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    charge("4111 1111 1111 1111")
    return []


def ask(app: Any, sensor: Sensor, **extra: Any) -> None:
    environ: dict[str, Any] = {"REMOTE_ADDR": "10.0.0.9", "QUERY_STRING": "password=hunter2", **extra}
    setup_testing_defaults(environ)
    result = DivertorWSGI(app, sensor)(environ, lambda *_: lambda _: None)
    list(result)
    getattr(result, "close", lambda: None)()


def failures(reported: list[Report]) -> list[Failure]:
    return [each for each in reported if isinstance(each, Failure)]


def outcomes(reported: list[Report]) -> list[int]:
    return [each.status for each in reported if isinstance(each, Outcome)]


def test_an_exception_that_leaves_a_wsgi_app_is_told_and_goes_its_way(
    make_sensor: MakeSensor, reported: list[Report]
) -> None:
    with pytest.raises(PaymentError):
        ask(broken, make_sensor())
    (failure,) = failures(reported)
    assert failure.type == f"{__name__}.PaymentError" and failure.frames[0].function == "charge"
    assert failure.message == "card *** was refused for the password ***"
    assert outcomes(reported) == [500]


def test_an_exception_out_of_a_streamed_body_is_told(make_sensor: MakeSensor, reported: list[Report]) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"a"
        charge("1")

    with pytest.raises(PaymentError):
        ask(app, make_sensor())
    assert [each.frames[0].function for each in failures(reported)] == ["charge"]


def test_an_exception_that_leaves_an_asgi_app_is_told(
    make_sensor: MakeSensor, reported: list[Report]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        charge("1")

    async def nothing(*_: Any) -> Any:
        return {}

    scope = {"type": "http", "path": "/", "headers": [], "method": "GET", "query_string": b""}
    with pytest.raises(PaymentError):
        asyncio.run(DivertorASGI(app, make_sensor())(scope, nothing, nothing))
    assert len(failures(reported)) == 1 and outcomes(reported) == [500]


def test_an_exception_that_the_framework_answered_is_told_once(
    make_sensor: MakeSensor, reported: list[Report]
) -> None:
    request = Request(make_sensor(), lambda: Head("GET", "/", "", {}, "10.0.0.9"))
    problem = PaymentError("no")
    for _ in range(3):
        behaviour.failed(request, problem)
    assert [each.message for each in failures(reported)] == ["no"] and not request.has_findings()


def test_an_exception_without_words_is_told_by_its_type(
    make_sensor: MakeSensor, reported: list[Report]
) -> None:
    behaviour.failed(Request(make_sensor(), lambda: Head("GET", "/", "", {}, "")), SilentError())
    assert [(each.type, each.message) for each in failures(reported)] == [(f"{__name__}.SilentError", "")]


def test_errors_are_grouped_by_type_and_functions_and_nothing_else() -> None:
    def caught(call: Callable[[], Any]) -> str:
        try:
            call()
        except Exception as problem:
            return fingerprint_of(type(problem).__name__, traceback_frames(problem.__traceback__))
        raise AssertionError

    same = [caught(lambda: charge("1")), caught(lambda: charge("2"))]
    assert same[0] == same[1] != caught(lambda: int("x")) and len(same[0]) == 16


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def raised(kind: type[Exception]) -> Exception:
    try:
        raise kind("no")
    except Exception as problem:
        return problem


def test_the_same_error_is_told_once_in_a_while_with_the_number_missed(
    make_sensor: MakeSensor, reported: list[Report]
) -> None:
    clock = Clock()
    told, request = Behaviour(0, clock), Request(make_sensor(), lambda: Head("GET", "/", "", {}, ""))
    for _ in range(25):
        told.note_failure(request, raised(ValueError))
    clock.now += 10
    told.note_failure(request, raised(ValueError))
    assert [each.count for each in failures(reported)] == [1, 25]


def test_many_kinds_of_errors_are_bounded_each_second(
    make_sensor: MakeSensor, reported: list[Report]
) -> None:
    told, request = Behaviour(0, Clock()), Request(make_sensor(), lambda: Head("GET", "/", "", {}, ""))
    for number in range(700):
        told.note_failure(request, raised(type(f"Error{number}", (Exception,), {})))
    assert len(failures(reported)) == ERRORS_A_SECOND and told.dropped == 700 - ERRORS_A_SECOND
    assert len(told._groups) <= 512


def answering(status: str) -> Any:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response(status, [])
        return [b""]

    return app


def test_one_request_in_so_many_is_told_and_every_failed_one(
    make_sensor: MakeSensor, reported: list[Report]
) -> None:
    sensor = make_sensor(sample=5)
    for _ in range(10):
        ask(answering("200 OK"), sensor)
    ask(answering("503 Busy"), sensor)
    assert outcomes(reported) == [200, 200, 503]


def test_without_sampling_only_failed_requests_are_told(
    make_sensor: MakeSensor, reported: list[Report]
) -> None:
    for status in ("200 OK", "404 Not Found", "500 Error"):
        ask(answering(status), make_sensor())
    assert outcomes(reported) == [500]


def exported(report: Report) -> tuple[dict[str, Any], dict[str, Any]]:
    body = export_request({}, [report], "0.0")
    record = body["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    return record, {item["key"]: next(iter(item["value"].values())) for item in record["attributes"]}


def test_an_error_carries_opentelemetrys_names(make_sensor: MakeSensor, reported: list[Report]) -> None:
    with pytest.raises(PaymentError):
        ask(broken, make_sensor(), HTTP_COOKIE="session=s-1")
    record, attributes = exported(failures(reported)[0])
    assert (record["eventName"], record["severityNumber"]) == ("divertor.error", 17)
    assert attributes["exception.type"] == f"{__name__}.PaymentError" and attributes["error.count"] == "1"
    assert attributes["exception.stacktrace"].count("\n  File ") >= 2
    assert attributes["code.function.name"] == "charge" and attributes["session.id"] == "s-1"
    assert len(attributes["error.fingerprint"]) == 16


def test_an_outcome_carries_status_and_duration(make_sensor: MakeSensor, reported: list[Report]) -> None:
    ask(answering("500 Error"), make_sensor())
    record, attributes = exported(reported[0])
    assert (record["eventName"], attributes["http.response.status_code"]) == ("divertor.request", "500")
    assert 0 < attributes["divertor.request.duration_ms"] < 1000


def slow_calls(reported: list[Report]) -> list[Slow]:
    return [each for each in reported if isinstance(each, Slow)]


def counting(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < 30000)"
            " select count(*), 'hunter2' from n"
        ).fetchall()
        database.execute("select 1")
    start_response("200 OK", [])
    return [b"ok"]


def test_a_call_that_took_long_is_told_without_its_values(
    make_sensor: MakeSensor, reported: list[Report]
) -> None:
    ask(counting, make_sensor(slow=1))
    (told,) = slow_calls(reported)
    assert told.sink == "sqlite3.Connection.execute" and told.duration > 1
    assert told.statement.endswith("where i < ?) select count(*), ? from n")
    assert told.frames[0].function == "counting" and told.count == 1


def test_a_place_that_stays_slow_is_told_once_in_a_while(
    reported: list[Report], make_sensor: MakeSensor
) -> None:
    times = iter((0.0, 0.0, 1.0, 2.0, 11.0, 11.0))
    measured = Behaviour(0, lambda: next(times))
    request = Request(make_sensor(), lambda: Head("GET", "/", "", {}, ""))
    for _ in range(4):
        measured.note_slow(request, "x", "select 1", 2.0, ())
    assert [each.count for each in slow_calls(reported)] == [1, 3]


def test_nothing_is_slow_when_nobody_wants_to_know(make_sensor: MakeSensor, reported: list[Report]) -> None:
    ask(counting, make_sensor(slow=0))
    assert not slow_calls(reported)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("SELECT * FROM t2 WHERE a = 'it''s' AND b < 1.5e3", "select * from t2 where a = ? and b < ?"),
        ("select 1 -- 'secret'", ""),
        (r"select '\'secret'", ""),
    ],
)
def test_a_statement_is_told_without_its_values_or_not_at_all(statement: str, told: str) -> None:
    assert without_values(statement) == told


def test_a_slow_call_has_its_names_on_the_wire(make_sensor: MakeSensor, reported: list[Report]) -> None:
    ask(counting, make_sensor(slow=1))
    (record,) = export_request({}, slow_calls(reported), "1")["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    names = {item["key"] for item in record["attributes"]}
    assert record["eventName"] == "divertor.slow"
    assert names >= {
        "divertor.slow.sink",
        "divertor.slow.statement",
        "divertor.slow.duration_ms",
        "code.line.number",
    }
