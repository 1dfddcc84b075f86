"""What attackers can make the sensor cost its host: memory that stays, reports that wait, bodies that take
long.
"""

from __future__ import annotations

import gc
import json
import linecache
import logging
import random
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from queue import Queue
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor_sensor.detectors import Candidate, Detector, path, shell, sql, ssrf, template, xss
from divertor_sensor.detectors.skeleton import skeleton
from divertor_sensor.faults import LOG
from divertor_sensor.memory import StatementMemory
from divertor_sensor.reports.detection import (
    MAX_TEXT,
    Detection,
    Failure,
    Outcome,
    Report,
    Session,
    Slow,
    Subject,
    export_request,
)
from divertor_sensor.reports.encoding import body_of, encoded
from divertor_sensor.reports.frames import Frame, with_source
from divertor_sensor.reports.redaction import without_secrets
from divertor_sensor.reports.reporter import MAX_BODY, MAX_HELD, OtlpReporter
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor
from divertor_sensor.settings import Settings
from divertor_sensor.sources.derived import readings
from divertor_sensor.sources.escapes import PORTION, unquoted
from divertor_sensor.sources.inputs import Input
from divertor_sensor.sources.parts import Keep, Part, cookie_part, header_parts, path_part, query_part
from divertor_sensor.sources.raw import raw_text
from divertor_sensor.work import BUDGET, Spent, Work

MakeSensor = Callable[..., Sensor]
MIB = 1 << 20
SUBJECT = Subject("POST", "/login", "10.0.0.9", "curl/8", "s-1", "session", "r-1", (("x-key", "k"),), "jane")
FRAMES = (Frame(__file__, 1, "find"), Frame("/nowhere.py", 3, "outer"))
FOUND = Detection(
    id="1",
    time=7,
    type="sql_injection",
    cwe="CWE-89",
    signal="attack",
    outcome="reported",
    source="query",
    parameter="name",
    payload="x",
    sink="execute",
    statement="x",
    subject=SUBJECT,
    frames=FRAMES,
)
REPORTS: list[Report] = [
    FOUND,
    replace(FOUND, frames=()),
    replace(FOUND, owasp="A03:2021", simulated="blocked", payload="\udcff\u2028\U0001f600\"\\'"),
    Failure(1, "ValueError", "bad \x00", "0123", 3, SUBJECT, FRAMES),
    Outcome(1, 500, 1.5, SUBJECT),
    Slow(1, "execute", "select ?", 1200.0, 2, SUBJECT, FRAMES),
    Session(1, SUBJECT),
]
RESOURCE: dict[str, str | int] = {"service.name": '"logRecords":[', "process.pid": 7}


def plainly(reports: list[Report]) -> Any:
    """What a post carries, made in one piece."""
    full = [
        replace(each, frames=with_source(each.frames)) if isinstance(each, Detection) else each
        for each in reports
    ]
    return json.loads(json.dumps(export_request(RESOURCE, full, "1")))


def test_a_batch_that_is_encoded_record_by_record_is_the_same_batch() -> None:
    assert json.loads(body_of(RESOURCE, list(map(encoded, REPORTS)), "1")) == plainly(REPORTS)


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(exclude_categories=[])), st.text(), st.text())
def test_any_text_is_encoded_as_in_one_piece(payload: str, name: str, path: str) -> None:
    found = replace(FOUND, payload=payload, parameter=name, subject=replace(SUBJECT, path=path))
    assert json.loads(body_of(RESOURCE, [encoded(found)], "1")) == plainly([found])


def test_the_source_lines_of_a_report_do_not_fill_the_interpreters_cache() -> None:
    linecache.cache.pop(json.decoder.__file__, None)
    (frame,) = with_source((Frame(json.decoder.__file__, 1, "decode"),))
    assert frame.source.startswith('"""') and json.decoder.__file__ not in linecache.cache


@pytest.mark.parametrize(("file", "line"), [("/nowhere", 1), (__file__, 100_000), (__file__, 0), ("\0", 1)])
def test_a_line_that_is_not_there_is_empty(file: str, line: int) -> None:
    assert with_source((Frame(file, line, "f"),))[0].source == ""


def test_a_secret_is_found_among_few_words_and_among_many() -> None:
    many = frozenset(["hunter", *map(str, range(100, 200))])
    for words in (frozenset(["hunter"]), many):
        assert without_secrets("a hunter' or hunters", words) == "a ***' or hunters"


@pytest.fixture
def unreachable(port: int) -> OtlpReporter:
    return OtlpReporter(Settings(endpoint=f"http://127.0.0.1:{port}"), first_pause=30)


def test_reports_that_wait_take_bounded_memory(unreachable: OtlpReporter) -> None:
    """Each as long as a report can be, of characters that take four bytes."""
    tracemalloc.start()
    for number in range(400):
        wide = chr(0x1F600 + number % 50) * MAX_TEXT
        unreachable.submit(replace(FOUND, statement=wide, parameter=wide + "", payload=wide[:1024]))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2 * MAX_HELD and unreachable.dropped > 200


def test_what_is_reported_of_a_request_is_cut_before_it_waits(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    long = "a" * MIB
    headers = {"user-agent": long, "cookie": f"session={long}", "x-request-id": long, "x-key": long}
    sensor = make_sensor(session_headers=("x-key",), trusted_hops=1)
    head = Head("P" * MIB, long, "", headers | {"x-envoy-external-address": long}, "")
    subject = Request(sensor, lambda: head).subject()
    texts = [subject.method, subject.path, subject.address, subject.user_agent, subject.session]
    texts += [subject.request_id, subject.headers[0][1]]
    assert [len(text) for text in texts] == [MAX_TEXT] * 7


def test_a_report_that_cannot_be_encoded_takes_no_other_with_it(collector: Any) -> None:
    reporter = OtlpReporter(Settings(endpoint=collector.url))
    for each in (FOUND, replace(FOUND, payload=5), FOUND):  # type: ignore[arg-type]
        reporter.submit(each)
    assert reporter.flush(10) and (reporter.sent, reporter.dropped) == (2, 1)


def test_a_flood_of_reports_takes_few_posts(collector: Any) -> None:
    reporter = OtlpReporter(Settings(endpoint=collector.url), linger=0.5)
    for _ in range(100):
        reporter.submit(Outcome(1, 500, 1.0, SUBJECT))
    assert reporter.flush(10) and reporter.sent == 100
    assert collector.requests.qsize() <= 5


def test_a_post_is_of_moderate_length(collector: Any) -> None:
    reporter = OtlpReporter(Settings(endpoint=collector.url))
    for _ in range(60):
        reporter.submit(replace(FOUND, statement="\U0001f600" * MAX_TEXT))
    assert reporter.flush(20) and reporter.sent == 60
    lengths = [len(json.dumps(collector.requests.get()[2])) for _ in range(collector.requests.qsize())]
    assert max(lengths) < 2 * MAX_BODY


@pytest.fixture
def lines() -> Iterator[Queue[str]]:
    """What is logged."""
    written: Queue[str] = Queue()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.put(record.getMessage())

    handler = Handler()
    LOG.addHandler(handler)
    yield written
    LOG.removeHandler(handler)


def test_lost_reports_are_told_of_once_a_minute(collector: Any, lines: Queue[str]) -> None:
    now = [0.0]
    collector.statuses += [400] * 4
    reporter = OtlpReporter(Settings(endpoint=collector.url), linger=0, clock=lambda: now[0])
    for now[0] in (0.0, 1.0, 59.0, 60.0):
        reporter.submit(FOUND)
        assert reporter.flush(10)
    assert [lines.get(timeout=5) for _ in range(lines.qsize())] == [
        "1 reports are lost, 1 so far: the collector refuses them with status 400",
        "3 reports are lost, 4 so far: the collector refuses them with status 400",
    ]


def test_reports_that_found_no_room_are_told_of(port: int, lines: Queue[str]) -> None:
    reporter = OtlpReporter(Settings(endpoint=f"http://127.0.0.1:{port}"), first_pause=0.01)
    for _ in range(1300):
        reporter.submit(FOUND)
    assert "reports are lost" in (told := lines.get(timeout=10)) and "the collector is away" in told


def test_what_is_neither_sent_nor_given_up_is_counted(unreachable: OtlpReporter) -> None:
    for _ in range(3):
        unreachable.submit(FOUND)
    assert (unreachable.unsent(), unreachable.flush(0.01)) == (3, False)


def signs(number: int) -> str:
    """A text that has many forms, and is another one each time."""
    return (f'{number}"a;b|c<x>\\n,e:f{{g}}h--$z ' * 40)[:900]


def test_a_flood_of_texts_full_of_signs_leaves_little_in_memory() -> None:
    def ask(number: int) -> None:
        text = signs(number)
        headers = {"user-agent": text, "referer": text}
        parts = [query_part(f"q={text}"), cookie_part(f"a={text.replace(';', ',')}")]
        for part in (*parts, path_part("GET", f"/{text}", ""), *header_parts(headers)):
            for detector in (sql.DETECTOR, xss.DETECTOR):
                part.searched(detector, Work())

    for number in range(20):
        ask(number)
    tracemalloc.start()
    for number in range(20, 150):
        ask(number)
    gc.collect()
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 4 * MIB


def test_what_is_kept_is_forgotten_when_it_takes_too_much() -> None:
    forgotten: list[int] = []
    keep = Keep(100, lambda: forgotten.append(1))
    for size in (60, 40, 1, 100, 1):
        keep.take(size)
    assert forgotten == [1, 1]


def test_a_part_that_was_forgotten_is_the_same_when_it_comes_again() -> None:
    before = cookie_part("a=x' or 1").searched(sql.DETECTOR, Work())
    for number in range(200):
        cookie_part(f"a={signs(number).replace(';', ',')}").searched(xss.DETECTOR, Work())
    again = cookie_part("a=x' or 1").searched(sql.DETECTOR, Work())
    assert again == before and again is not before


def test_statements_of_any_length_are_learned_up_to_a_bound() -> None:
    memory = StatementMemory()
    statements = [f"select {number} {'x' * 16_000}" for number in range(300)]
    for number, statement in enumerate(statements):
        memory.learn(("app.py", number, 0), statement)
    known = sum(memory.knows(("app.py", number, 0), each) for number, each in enumerate(statements))
    assert known < 80 and memory.knows(("app.py", 299, 0), statements[-1])


def test_a_request_with_more_values_than_any_form_teaches_nothing() -> None:
    memory = StatementMemory()
    for first in (0, 1000):
        memory.propose(("app.py", 1, 2), "select 1", frozenset(range(first, first + 300)))
    assert not memory.knows(("app.py", 1, 2), "select 1")


def test_values_that_are_too_much_as_a_whole_are_not_begun_to_be_judged() -> None:
    asked: list[str] = []

    def select(value: str) -> list[str]:
        asked.append(value)
        return []

    detector = replace(sql.DETECTOR, select=select)
    part = Part(inputs_of(["a", "b" * (BUDGET // 2), "c" * (BUDGET // 2)]))
    with pytest.raises(Spent):
        part.searched(detector, Work())
    assert isinstance(detector, Detector) and asked == []


@pytest.mark.parametrize("unit", ["é'", "%2e%2e%2f", "&lt;", "\ufdfa"])
def test_many_short_values_that_stand_for_much_are_not_begun_to_be_judged(unit: str) -> None:
    part = Part(inputs_of([f"{number}{unit * 200}"[:255] for number in range(2000)]))
    with pytest.raises(Spent):
        part.searched(replace(sql.DETECTOR, select=None), Work())  # type: ignore[arg-type]


def test_many_names_of_people_are_judged_by_every_detector() -> None:
    part = Part(inputs_of([f"Zoë O'Brien-Müller the {number}th" for number in range(2000)]))
    work = Work()
    for detector in (sql.DETECTOR, xss.DETECTOR, path.DETECTOR, shell.DETECTOR, template.DETECTOR):
        part.searched(detector, work)
    assert work.left > 0


def inputs_of(values: list[str]) -> Any:
    from divertor_sensor.sources.inputs import Inputs

    return Inputs([Input("form", "", value) for value in values])


@pytest.mark.parametrize(("length", "made"), [(300_000, 3), (360_000, 2), (800_000, 1)])
def test_no_more_readings_of_a_long_text_are_made_than_a_budget_pays_for(length: int, made: int) -> None:
    found = readings(random.Random(3).randbytes(length))
    assert len(found) == made
    with pytest.raises(Spent):
        Part(inputs_of(found)).searched(sql.DETECTOR, Work())


def test_all_readings_of_a_text_that_can_be_judged_are_made() -> None:
    assert len(readings(random.Random(3).randbytes(100_000))) > 4


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([b"%", b"2", b"7", b"%27", b"%%", b"a", b"%z", b"\xff"]), max_size=12))
def test_escapes_are_undone_as_in_one_piece_wherever_a_portion_ends(around: list[bytes]) -> None:
    middle = b"".join(around)
    for before in range(PORTION - len(middle) - 2, PORTION + 2, 3):
        raw = b"x" * before + middle + b"y" * 10
        assert unquoted(raw) == unquote_to_bytes(raw)


@pytest.mark.parametrize("often", [b"%27+or+", b"%", b"%%4", b"%zz%2", b"abc"])
def test_what_stands_often_in_a_long_text_is_undone_as_what_stands_once(often: bytes) -> None:
    raw = often * (3 * PORTION // len(often))
    assert unquoted(raw) == unquote_to_bytes(raw)


def test_a_long_body_reads_in_lower_case_as_a_short_one_does() -> None:
    body = "ÀB%41\\u0041\0 É".encode()
    short, long = raw_text("", "", {}, body), raw_text("", "", {}, body * 20_000)
    for line, repeated in zip(short.split("\n"), long.split("\n"), strict=True):
        assert repeated == line * 20_000


@pytest.mark.parametrize("body", [random.Random(5).randbytes(MIB), b"a=" + b"%27+or+" * 140_000])
def test_a_mebibyte_of_anything_takes_bounded_memory(make_sensor: MakeSensor, body: bytes) -> None:
    asked = Request(make_sensor(), lambda: Head("POST", "/", "", {}, ""))
    asked.body.record(body)
    tracemalloc.start()
    with pytest.raises(Spent):
        asked.candidates(sql.DETECTOR)
    asked.is_unrelated(["nothing of the kind"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 48 * MIB


def test_an_input_that_is_taken_for_a_host_is_not_kept() -> None:
    """An app that connects to `redis` in each request, and a client that sends `redis` among controls."""
    tracemalloc.start()
    for number in range(1, 20):
        origin = Input("json", "q", "redis" + "\x01" * 200_000 + "\x02" * number)
        candidates = [Candidate(text, origin) for text in ssrf.DETECTOR.select(origin.value)]
        ssrf.is_named("redis", 6379, candidates)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2 * MIB


def test_long_statements_are_not_kept_by_the_hundred() -> None:
    tracemalloc.start()
    for number in range(600):
        assert skeleton(f"select {number} from t where a in ({', '.join(['1'] * 4000)})")
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < MIB
