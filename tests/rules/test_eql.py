"""EQL: conditions on one event, sequences as steps, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.errors import InputError, Position
from divertor.model.events import Event
from divertor.rules import Engine, Rule
from divertor.rules.document import Document
from divertor.rules.filters.eql import compile_eql, is_sequence, parse_sequence
from divertor.rules.filters.filter import Filter

HERE = Position("q")

DOCUMENT: dict[str, Any] = {
    "type": "log",
    "event": {"category": "process"},
    "process": {"name": "Cmd.exe", "pid": 4, "args": ["/c", "whoami"], "args_count": 2, "ok": True},
    "user": {"name": "svc-build", "id": "svc-build"},
    "source": {"ip": "10.1.2.3"},
    "odd name": "x",
    "pids": [1, 9],
}

MATCHING = [
    "any where true",
    "* where process.pid == 4",
    "process where true",
    '"process" where true',
    "log where true",
    'any where process.name == "Cmd.exe"',
    'any where process.name : "cmd.exe"',
    'any where process.name : "c*.exe"',
    'any where process.name : ("x", "cmd.???")',
    'any where process.name in ("a", "Cmd.exe")',
    'any where process.name in~ ("a", "CMD.EXE")',
    'any where process.name not in ("a")',
    'any where process.name like "C*"',
    'any where process.name like~ ("x*", "c*")',
    'any where process.name regex "Cmd[.]e.e"',
    'any where process.name regex~ ("x", "cmd.*")',
    'any where process.name != "x"',
    "any where process.pid >= 4 and process.pid < 5",
    "any where 3 < process.pid",
    "any where process.pid + 1 == 5",
    "any where (process.pid + 1) * 2 == 10",
    "any where process.pid % 3 == 1 and process.pid / 2 == 2",
    "any where -process.pid == -4",
    "any where process.ok",
    "any where process.ok == true",
    "any where not process.gone == 1",
    "any where process.gone == null and process.name != null",
    "any where ?process.gone == null",
    "any where process.pid == 5 or process.pid == 4",
    "any where (process.pid == 5 or process.pid == 4) and true",
    'any where startsWith(process.name, "Cmd")',
    'any where endsWith~(process.name, ".EXE")',
    'any where stringContains(process.name, "md")',
    'any where cidrMatch(source.ip, "192.168.0.0/16", "10.0.0.0/8")',
    'any where wildcard(process.name, "x", "C*")',
    'any where match(process.name, "C.*")',
    "any where length(process.name) == 7",
    'any where string(process.pid) == "4"',
    'any where number("0x10", 16) == 16 or true',
    'any where concat(process.name, "!") == "Cmd.exe!"',
    'any where substring(process.name, 0, 3) == "Cmd"',
    'any where substring(process.name, -4) == ".exe"',
    'any where indexOf(process.name, ".") == 3',
    'any where between(process.name, "C", ".") == "md"',
    "any where add(process.pid, 1) == 5",
    'any where process.args == "whoami"',
    "any where user.name == user.id",
    "any where process.pid < pids",
    "any where process.pid > pids",
    'any where `odd name` == "x"',
    'any where process.name == """Cmd.exe"""',
    "any where true // a remark",
]

NOT_MATCHING = [
    "any where false",
    "file where true",
    'any where process.name == "cmd.exe"',
    'any where process.name : "cmd"',
    'any where process.gone != "x"',
    'any where process.name not in ("Cmd.exe")',
    'any where process.name like "c*"',
    "any where process.pid > 4",
    'any where process.pid > "3"',
    "any where process.gone",
    "any where process.gone != null",
    "any where not process.pid == 4",
    'any where cidrMatch(source.ip, "192.168.0.0/16")',
    "any where user.name != user.id",
    "any where process.pid / 0 == 1",
    "any where process.name + 1 == 1",
    "any where process.name == user.name",
]

REFUSED = [
    ("", "unexpected 'the end'"),
    ("any", "unexpected 'the end'"),
    ("any where", "unexpected 'the end'"),
    ("any where a ==", "unexpected 'the end'"),
    ("any where a == 1 b", "unexpected 'b'"),
    ("any where a == 1 | head 3", "pipes"),
    ("sequence [a where true] [b where true]", "more than one event"),
    ("sample by a [a where true] [b where true]", "sample is not supported"),
    ("any where a > null", "comparison with null"),
    ("any where a regex 5", "no text"),
    ('any where a == "x', "unexpected"),
    ("any where arraySearch(a, 1)", "'arraySearch' is not supported"),
    ("any where startsWith(a)", "without texts"),
    ("any where startsWith(a, b)", "a field where a literal"),
    ('any where cidrMatch(a, "x")', "no network"),
    ('any where a regex "("', "without an end"),
    ("any where " + "(" * 50 + "true" + ")" * 50, "nested too deeply"),
    ("any where " + "not " * 50 + "true", "nested too deeply"),
    ("any where 1 + a", "condition is needed"),
    ("any where 1 / 0 == 1", "without a result"),
    ("a" * 70_000, "too long"),
]


def compiled(text: str) -> Filter:
    return compile_eql(text, HERE)


@pytest.mark.parametrize("text", MATCHING)
def test_condition_holds(text: str) -> None:
    assert compiled(text).test(Document(DOCUMENT))


@pytest.mark.parametrize("text", NOT_MATCHING)
def test_condition_does_not_hold(text: str) -> None:
    assert not compiled(text).test(Document(DOCUMENT))


@pytest.mark.parametrize(("text", "why"), REFUSED)
def test_what_is_not_understood_is_refused(text: str, why: str) -> None:
    with pytest.raises(InputError) as caught:
        compiled(text)
    assert why in str(caught.value)


def test_cases_are_all_there() -> None:
    assert (len(MATCHING), len(NOT_MATCHING), len(REFUSED)) == (52, 17, 21)


def test_a_sequence_is_read_as_its_steps() -> None:
    text = """
    sequence by user.name with maxspan=5m
      [authentication where event.outcome == "failure"] by source.ip with runs=3
      [process where process.name == "x"] by host.ip
    until [any where event.action == "logout"] by source.ip
    """
    assert is_sequence(text)
    found = parse_sequence(text, HERE)
    assert [step.by for step in found.steps] == [("user.name", "source.ip"), ("user.name", "host.ip")]
    assert (found.steps[0].runs, found.maxspan) == (3, timedelta(minutes=5))
    assert found.until is not None and found.until.filter.test(Document({"event": {"action": "logout"}}))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sequence [a where true]", "one event"),
        ("sequence [a where true] ![b where true]", "unexpected '!'"),
        ("sequence [a where true] by x [b where true]", "different numbers"),
        ("sequence with maxspan=5 [a where true] [b where true]", "length of time"),
        ("sequence [a where true] [b where true] | tail 1", "pipes"),
    ],
)
def test_a_sequence_that_makes_no_sense_is_refused(text: str, why: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_sequence(text, HERE)
    assert why in str(caught.value)


PIECES = st.sampled_from(
    ["any", "where", "sequence", "by", "[", "]", "(", ")", "a", "b.c", "`x y`", '"t"', "1", "2.5", "5m", "==",
     ":", "!=", "<", "in", "like", "regex~", "and", "or", "not", "null", "true", "+", "-", "*", "/", "%", "?",
     "length", "startsWith", ",", "|", "with", "maxspan", "=", "until", "é", "\\"]
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.lists(PIECES, max_size=14))
def test_any_text_is_read_or_refused(pieces: list[str]) -> None:
    text = " ".join(pieces)
    for read in (lambda: compiled(f"any where {text}").test(Document(DOCUMENT)), lambda: compiled(text)):
        try:
            read()
        except InputError as problem:
            assert problem.position == HERE
    try:
        parse_sequence(text, HERE)
    except InputError:
        pass


SEQUENCE = """sequence by user with maxspan=1m
  [login where outcome == "failure"] with runs=2
  [process where name == "x"]
until [logout where true]"""

STREAMS: list[tuple[str, list[tuple[float, str]], int]] = [
    ("in order", [(1, "login"), (2, "login"), (3, "process")], 1),
    ("one too few", [(1, "login"), (3, "process")], 0),
    ("out of order", [(1, "process"), (2, "login"), (3, "login")], 0),
    ("too slow", [(1, "login"), (2, "login"), (90, "process")], 0),
    ("ended", [(1, "login"), (2, "login"), (3, "logout"), (4, "process")], 0),
]


@pytest.mark.parametrize(("_claim", "stream", "times"), STREAMS, ids=[one[0] for one in STREAMS])
def test_a_sequence_as_a_filter_makes_a_correlation(
    _claim: str,
    stream: list[tuple[float, str]],
    times: int,
    rule: Callable[..., Rule],
    event: Callable[..., Event],
) -> None:
    engine = Engine([rule(filter=[{"eql": SEQUENCE}])])
    found = 0
    for seconds, category in stream:
        one = event(seconds, event={"category": category}, outcome="failure", name="x", user="u")
        found += len(engine.push(one, one.timestamp))
    assert found == times


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"type": "frequency", "num_events": 2, "timeframe": {"minutes": 1}}, "type any"),
        ({"filter": [{"eql": SEQUENCE}, {"term": {"a": 1}}]}, "the whole filter"),
        ({"filter": [{"eql": "sequence [a where true] [b where true]"}]}, "without a bound"),
    ],
)
def test_a_sequence_that_no_rule_can_be_is_refused(
    options: dict[str, Any], why: str, rule: Callable[..., Rule]
) -> None:
    with pytest.raises(InputError, match=why):
        rule(**{"filter": [{"eql": SEQUENCE}], **options})
