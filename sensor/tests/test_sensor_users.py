"""Whom the app says it serves: in detections, and once in a while by itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import divertor_sensor
from divertor_sensor import Sensor, context
from divertor_sensor.reports.detection import Report, Session, Subject, export_request
from divertor_sensor.request import Head, Request
from divertor_sensor.settings import Mode, Settings, read_settings
from divertor_sensor.users import AGAIN, MAX_SESSIONS, MAX_USER, Sessions


@dataclass
class Kept:
    reports: list[Report] = field(default_factory=list)

    def submit(self, report: Report) -> None:
        self.reports.append(report)


def serve(user: object, sensor: Sensor, **headers: str) -> Request:
    """A request with these headers, during which the app says whom it serves."""
    request = Request(sensor, lambda: Head("GET", "/", "", headers, "192.0.2.1"))
    context.run_in(request, divertor_sensor.set_user, user)
    return request


def sensor(**settings: Any) -> tuple[Sensor, Kept]:
    kept = Kept()
    return Sensor(Settings(strict=True, **settings), kept), kept


def test_a_session_is_reported_with_its_user_when_it_is_first_seen() -> None:
    made, kept = sensor()
    serve("alice", made, cookie="session=s1")
    serve("alice", made, cookie="session=s1")
    serve("alice", made, cookie="session=s2")
    (one, two) = (each.subject for each in kept.reports)
    assert (one.user, one.session, one.session_cookie, two.session) == ("alice", "s1", "session", "s2")


def test_a_request_without_a_session_is_not_reported() -> None:
    made, kept = sensor()
    assert serve("alice", made).user == "alice" and kept.reports == []


def test_nobody_is_not_reported() -> None:
    made, kept = sensor()
    serve("", made, cookie="session=s1")
    assert kept.reports == []


def test_headers_that_name_a_client_are_reported_too() -> None:
    made, kept = sensor(session_headers=("authorization",))
    serve(7, made, authorization="Bearer abc", accept="*/*")
    assert [(each.subject.user, each.subject.headers) for each in kept.reports] == [
        ("7", (("authorization", "Bearer abc"),))
    ]


def test_a_long_id_is_cut_and_a_strange_one_is_our_fault_alone() -> None:
    made, _ = sensor()
    assert len(serve("x" * 1000, made).user) == MAX_USER

    class Strange:
        def __str__(self) -> str:
            raise ValueError

    lenient = Sensor(Settings(), Kept())
    assert serve(Strange(), lenient).user == ""


def test_outside_a_request_nothing_happens() -> None:
    divertor_sensor.set_user("alice")


SUBJECT = Subject("GET", "/", "", "", "s1", "session", "", (), "alice")


def test_a_pair_is_reported_again_after_a_minute() -> None:
    sessions = Sessions()
    times = [0.0, AGAIN - 1, AGAIN, AGAIN + 1]
    assert [sessions.is_due(SUBJECT, now) for now in times] == [True, False, True, False]


def test_what_is_remembered_is_bounded() -> None:
    sessions = Sessions()
    for number in range(MAX_SESSIONS + 10):
        sessions.is_due(Subject("", "", "", "", str(number), "session", "", (), "alice"), 0.0)
    assert len(sessions._reported) == MAX_SESSIONS


def test_a_report_says_whose_session_it_is_and_no_more() -> None:
    document = export_request({}, [Session(5, SUBJECT)], "1")
    (record,) = document["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    told = {each["key"]: each["value"]["stringValue"] for each in record["attributes"]}
    assert told == {"session.id": "s1", "divertor.session.cookie": "session", "user.id": "alice"}
    assert record["eventName"] == "divertor.session" and json.dumps(document)


def test_the_settings_name_headers_and_a_file() -> None:
    found, warnings = read_settings({"DIVERTOR_SESSION_HEADER": "X-Api-Key, ", "DIVERTOR_MODE_FILE": "/x"})
    assert (found.session_headers, found.mode_file, warnings) == (("x-api-key",), "/x", ())


@pytest.mark.parametrize(
    ("word", "mode"),
    [("report", Mode.REPORT), ("divert", Mode.DIVERT), ("", Mode.DIVERT), (None, Mode.DIVERT)],
)
def test_what_the_file_says_counts_at_once(word: str | None, mode: Mode, tmp_path: Path) -> None:
    path = tmp_path / "mode"
    made, _ = sensor(mode=Mode.DIVERT, divert_token="t", mode_file=str(path))
    assert made.mode is Mode.DIVERT
    if word is not None:
        path.write_text(word)
    assert made.mode is mode


def test_a_file_cannot_make_a_sensor_divert_that_was_told_to_report(tmp_path: Path) -> None:
    (tmp_path / "mode").write_text("divert")
    made, _ = sensor(mode=Mode.REPORT, mode_file=str(tmp_path / "mode"))
    assert made.mode is Mode.REPORT
