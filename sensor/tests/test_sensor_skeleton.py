"""Skeletons: what is quick about the guard must say the same as what is slow."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor_sensor import AttackInterrupted, context
from divertor_sensor.detectors import Detector
from divertor_sensor.detectors.skeleton import literals, skeleton
from divertor_sensor.detectors.sql import DETECTOR, MYSQL, POSTGRESQL
from divertor_sensor.guard import check
from divertor_sensor.reports.detection import Detection
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor
from divertor_sensor.sources.inputs import Input, Inputs, read_pairs
from divertor_sensor.sources.parts import Part, Searched, is_clear
from divertor_sensor.work import Work

MakeSensor = Callable[..., Sensor]
DIALECTS = {"sqlite": DETECTOR, "postgresql": POSTGRESQL, "mysql": MYSQL}


def test_what_literals_hold_is_left_out() -> None:
    assert skeleton("SELECT 1 WHERE a = 'x' AND b = 'y'") == "select 1 where a = ' and b = '"
    assert literals("SELECT 1 WHERE a = 'X' AND b = 'y'") == ["x", "y"]


IN_DOUBT = (
    *("select 'a", "select 1 -- it's\n where a = 'b'", "select 1 /* it's */ where a = 'b'", "select 'a\\'"),
    *(
        "select $$it's$$ || 'a'",
        "select $a$'$a$, 'b'",
        "select 1 # it's\n where a = 'b'",
        "select \"it's\", 'a'",
    ),
    *(
        "select `it's`, 'a'",
        "select [it's], 'a'",
        "select e'\\'', 'a'",
        "select \"a\\\", 'b'",
        "select 'a' \"b",
    ),
    *("select [a, 'b'", "select `a, 'b'", "select a --", "select a /* 'b'"),
)


@pytest.mark.parametrize("statement", IN_DOUBT)
def test_in_doubt_there_is_no_skeleton(statement: str) -> None:
    assert skeleton(statement) is None


#: Statements and values that are likely to go wrong: everything that quotes or comments in some dialect.
_PIECES = st.sampled_from(
    "' '' \" \\ ` [ ] -- # /* */ $$ $a$ e' n' x' u&' a b or and 1 = ( ) , ; \n * / - union select".split(" ")
)
_TEXTS = st.lists(_PIECES, max_size=8).map(" ".join) | st.lists(_PIECES, max_size=8).map("".join)
_PLAIN = st.text(alphabet='ab or1=-/*"`[];,.\n', min_size=1, max_size=24).filter(str.strip)


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=300, deadline=None)
@given(before=_TEXTS, value=_TEXTS | _PLAIN, middle=_TEXTS, after=_TEXTS)
def test_what_is_clear_would_not_have_been_found(
    dialect: str, before: str, value: str, middle: str, after: str
) -> None:
    detector = DIALECTS[dialect]
    for statement in (
        f"{before}'{value}'{after}",
        f"{before}{value}{middle}'{value}'{after}",
        before + value,
    ):
        searched = _searched(detector, value)
        left = skeleton(statement)
        if left is not None and is_clear(searched, left):
            assert detector.judge(statement, searched.candidates, Work()).finding is None


def _searched(detector: Detector, value: str) -> Searched:
    inputs = Inputs()
    inputs.values.append(Input("query", "q", value))
    return Part(inputs).searched(detector, Work())


@settings(max_examples=300, deadline=None)
@given(
    pieces=st.lists(_TEXTS, min_size=2, max_size=4),
    values=st.lists(st.tuples(_PLAIN, _PLAIN), min_size=3, max_size=3),
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_statements_with_one_skeleton_have_one_structure(
    dialect: str, pieces: list[str], values: list[tuple[str, str]]
) -> None:
    """What shields text in the one shields as much in the other, piece for piece."""
    one = _joined(pieces, [value for value, _ in values])
    other = _joined(pieces, [value for _, value in values])
    left = skeleton(one)
    if left is None or skeleton(other) != left:
        return
    assert _structure(dialect, one) == _structure(dialect, other)


def _joined(pieces: list[str], values: list[str]) -> str:
    told = pieces[0]
    for piece, value in zip(pieces[1:], values, strict=False):
        told += f"'{value}'{piece}"
    return told


def _structure(dialect: str, statement: str) -> list[str]:
    """The statement outside of literals, and the kinds of its shields."""
    from divertor_sensor.detectors import sql_lexing

    rules = {"sqlite": sql_lexing.SQLITE, "postgresql": sql_lexing.POSTGRESQL, "mysql": sql_lexing.MYSQL}
    lexed = rules[dialect].lex(statement.lower())
    told, at = [], 0
    for shield in lexed.shields:
        told += [lexed.text[at : shield.start], shield.kind]
        at = shield.end
    return [*told, lexed.text[at:]]


def request(sensor: Sensor, query: str) -> Request:
    head = Head("GET", "/", query, {"user-agent": "test"}, "")
    return Request(sensor, lambda: head)


def ask(sensor: Sensor, query: str, condition: str) -> None:
    """The one place in the app where statements run, whatever they are; none is a constant of its code."""
    statement = f"select * from t where {condition}"
    made = request(sensor, query)
    context.run_in(made, lambda: check(made, DETECTOR, "test", statement, 1))


def find(sensor: Sensor, value: str, query: str | None = None) -> None:
    ask(
        sensor,
        f"q={value}" if query is None else query,
        f"name = '{value}' limit 5",
    )


def _warm(sensor: Sensor) -> None:
    for number in range(40):
        find(sensor, f"jane doe {number}", f"q=jane+doe+{number}")


def test_a_skeleton_that_a_place_has_shown_needs_no_input(make_sensor: MakeSensor) -> None:
    sensor = make_sensor()
    _warm(sensor)
    made = request(sensor, "q=john+smith")
    known = [skeleton for found in sensor.memory._skeletons.values() for skeleton in found]
    assert known == ["select * from t where name = ' limit 5"] and made.is_plain()


@pytest.mark.parametrize(
    "query", ["q=x'+or+'1'='1", "q=x%27+or+%271%27=%271", "q=x%2527", "q=%EF%BC%87", "q=\\"]
)
def test_a_request_that_could_end_a_literal_is_not_plain(make_sensor: MakeSensor, query: str) -> None:
    assert not request(make_sensor(), query).is_plain()


def test_an_attack_is_stopped_where_the_skeleton_is_known(make_sensor: MakeSensor) -> None:
    sensor = make_sensor()
    _warm(sensor)
    with pytest.raises(AttackInterrupted):
        find(sensor, "x' or '1'='1", "q=x'+or+'1'='1")


def test_an_attack_does_not_pass_as_another_statement_of_the_same_helper(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    sensor = make_sensor()
    for number in range(40):
        ask(sensor, f"q=ann{number}&r=bob", f"a = 'ann{number}' or b = 'bob'")
    with pytest.raises(AttackInterrupted):
        ask(sensor, "q=x'+or+b+=+'bob", "a = 'x' or b = 'bob'")
    assert len(kept) == 1


def test_an_unquoted_attack_is_stopped_where_its_like_is_known(make_sensor: MakeSensor) -> None:
    sensor = make_sensor()
    for number in range(40):
        ask(sensor, f"q={number}&r=bob{number}", f"a = 7 and b = 'bob{number}'")
    with pytest.raises(AttackInterrupted):
        ask(sensor, "q=7+or+1=1&r=bob", "a = 7 or 1=1 and b = 'bob'")


def test_an_unseen_attack_does_not_teach_its_skeleton(make_sensor: MakeSensor) -> None:
    """The app undoes an encoding that is not followed: nothing of what the client sent shows."""
    sensor = make_sensor()
    for _ in range(40):
        ask(sensor, f"q={b'7 or 1=1'.hex()[::-1]}", "a = 7 or 1=1 and b = ''")
    with pytest.raises(AttackInterrupted):
        ask(sensor, "q=7+or+1=1", "a = 7 or 1=1 and b = ''")


def test_a_part_has_the_same_price_when_it_is_kept() -> None:
    inputs = Inputs()
    read_pairs(inputs, "query", "q=x'+or+'1'='1&r=" + "a b" * 200)
    part, first, again = Part(inputs), Work(), Work()
    assert part.searched(DETECTOR, first) is part.searched(DETECTOR, again)
    assert first.left == again.left


def test_a_coincidence_is_known_after_two_honest_requests_of_one_client(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    sensor = make_sensor()
    bound = "users.name = ? order by users.id"
    for name in ("jane", "john"):
        ask(sensor, f"q={name}&session=0123456789abcdef", bound)
    ask(sensor, "q=where+users.name+=&session=0123456789abcdef", bound)
    assert kept == []


def test_before_it_is_known_a_coincidence_counts(make_sensor: MakeSensor) -> None:
    with pytest.raises(AttackInterrupted):
        ask(make_sensor(), "q=where+users.name+=", "users.name = ? order by users.id")
