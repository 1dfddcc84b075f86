"""Source that is compiled to run: an input may fill in a value in it, and nothing more."""

from __future__ import annotations

import ast
import collections
import dataclasses
import time
import typing
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor_sensor import AttackInterrupted, context
from divertor_sensor.detectors import Candidate, Finding, code
from divertor_sensor.reports.detection import Detection
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor
from divertor_sensor.sources.inputs import Input
from divertor_sensor.work import Spent, Work

MakeSensor = Callable[..., Sensor]
ATTACK = "__import__('os').mkdir('/nonexistent/proof')"
early_eval = eval


def request(sensor: Sensor, value: str) -> Request:
    made = Request(sensor, lambda: Head("POST", "/", "", {"content-type": "text/plain"}, ""))
    made.body.record(value.encode())
    return made


CALLS: dict[str, Callable[[str], Any]] = {
    "eval": lambda text: eval(text),
    "eval, padded": lambda text: eval(f"  {text} "),
    "eval of bytes": lambda text: eval(text.encode()),
    "eval imported early": lambda text: early_eval(text),
    "exec": lambda text: exec(text),
    "exec in a function": lambda text: exec(f"def rule(x):\n    return {text}\n"),
    "compile": lambda text: compile(text, "rule", "eval"),
    "compile by name": lambda text: compile(source=f"x = {text}", filename="rule", mode="exec"),
    "in an expression": lambda text: eval(f"max(1, {text})"),
}


@pytest.mark.parametrize("name", CALLS)
def test_code_from_an_input_is_stopped(name: str, make_sensor: MakeSensor, kept: list[Detection]) -> None:
    with pytest.raises(AttackInterrupted):
        context.run_in(request(make_sensor(), ATTACK), CALLS[name], ATTACK)
    assert [(found.type, found.signal) for found in kept] == [("code_injection", "attack")]
    assert kept[0].frames[0].file == __file__


@pytest.mark.parametrize("name", CALLS)
def test_a_number_is_left_alone_and_a_sum_is_reported(
    name: str, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    context.run_in(request(make_sensor(), "42"), CALLS[name], "42")
    assert kept == []
    total = " + ".join(["17", "4"])  # as a constant of this function it would be the program's own
    context.run_in(request(make_sensor(), total), CALLS[name], total)
    assert [found.signal for found in kept] == ["vulnerability"]


def test_what_only_builds_a_tree_is_left_alone(make_sensor: MakeSensor, kept: list[Detection]) -> None:
    context.run_in(request(make_sensor(), ATTACK), ast.parse, ATTACK)
    listed = "[1, {'a': (None,)}]"
    assert context.run_in(request(make_sensor(), listed), ast.literal_eval, listed) == [1, {"a": (None,)}]
    assert kept == []


def test_code_that_libraries_generate_is_left_alone(make_sensor: MakeSensor, kept: list[Detection]) -> None:
    def generate() -> None:
        collections.namedtuple("Point", "x y", defaults=[0])
        dataclasses.make_dataclass("Line", ["a, b".partition(",")[0]])
        typing.get_type_hints(generate)

    context.run_in(request(make_sensor(), "lambda _cls, x, y: _tuple_new(_cls, (x, y))"), generate)
    assert kept == []


def test_a_constant_that_equals_an_input_is_left_alone(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    assert context.run_in(request(make_sensor(), "len('abc')"), lambda: eval("len('abc')")) == 3
    assert kept == []


def test_outside_a_request_nothing_is_judged(kept: list[Detection]) -> None:
    assert eval("len('a' + 'b')") == 2 and kept == []


def finding(source: str, value: str) -> Finding | None:
    origin = Input("query", "q", value)
    return code.judge(source, [Candidate(text, origin) for text in code.select(value)], Work()).finding


TEXT = st.text(alphabet="ab1'\"\\{}()#+ \n.=", min_size=3, max_size=16)


@given(TEXT)
@settings(max_examples=300, deadline=None)
def test_what_repr_writes_is_never_an_attack(value: str) -> None:
    found = finding(f"greet({value!r})", value)
    assert found is None or not found.hostile


@given(TEXT)
@settings(max_examples=300, deadline=None)
def test_whatever_is_no_attack_holds_neither_a_call_nor_an_attribute(value: str) -> None:
    """Where the source is valid at all, by Python's own parser."""
    found = finding(f"f('{value}', 1)", value)
    if found is None or not found.hostile:
        with suppress(SyntaxError, ValueError):
            tree = ast.parse(f"f('{value}', 1)")
            assert sum(isinstance(node, (ast.Call, ast.Attribute)) for node in ast.walk(tree)) <= 1


def test_a_run_of_backslashes_takes_linear_time() -> None:
    value, started = "\\" * 150_001 + "+", time.process_time()
    with suppress(Spent):
        finding(f"x('{value}')", value)
    assert time.process_time() - started < 3


@pytest.mark.parametrize("piece", ["'", "''' ", '"\\', "a", "a ", "#", "f'{", "(", "1+", "ab'", "\n"])
def test_long_source_takes_linear_time(piece: str) -> None:
    source, started = piece * 50_000, time.process_time()
    with suppress(Spent):
        finding(f"x({source})", source[: len(source) // 2] + "+ ")
        finding(f"x({source})", source[: len(source) // 2])
    assert time.process_time() - started < 3
