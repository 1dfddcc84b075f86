"""What the memory of statements takes for the program's own."""

from __future__ import annotations

import sys

from divertor_sensor.memory import Site, StatementMemory
from divertor_sensor.reports.frames import is_constant

SITE: Site = ("app.py", 1, 2)
STATEMENT = " ".join(["select", "1"])


def proposed(*requests: set[int]) -> bool:
    """Whether the statement is known after clean requests with these values."""
    memory = StatementMemory()
    for values in requests:
        memory.propose(SITE, STATEMENT, frozenset(values))
    return memory.knows(SITE, STATEMENT)


def test_a_statement_seen_in_requests_without_a_common_value_is_learned() -> None:
    assert proposed({1}, {2})


def test_a_statement_is_learned_once_no_value_was_in_all_requests() -> None:
    assert proposed({1, 2}, {2, 3}, {1, 3})


def test_a_statement_seen_once_is_not_learned() -> None:
    assert not proposed(set())


def test_a_statement_seen_in_the_same_request_again_and_again_is_not() -> None:
    assert not proposed(*[{1, 2}] * 10)


def test_a_statement_that_comes_again_is_examined_ever_more_rarely() -> None:
    memory = StatementMemory()
    assert [n for n in range(1, 40) if memory.is_due(SITE, STATEMENT)] == [1, 2, 4, 8, 16, 32]


def test_a_site_that_makes_up_ever_new_statements_is_left_alone() -> None:
    memory = StatementMemory()
    assert sum(memory.is_due(SITE, f"{STATEMENT} {n}") for n in range(1000)) == 16
    assert memory.is_due(SITE, f"{STATEMENT} 999")


def test_a_site_that_makes_up_ever_new_statements_makes_no_other_forgotten() -> None:
    memory = StatementMemory()
    memory.learn(SITE, STATEMENT)
    for number in range(4_000):
        memory.learn(("app.py", 2, 2), f"{STATEMENT} {number:0500}")
    assert memory.knows(SITE, STATEMENT)


def test_what_was_forgotten_for_its_length_is_examined_when_it_comes_twice() -> None:
    memory = StatementMemory()
    for _ in range(9):
        memory.is_due(SITE, STATEMENT)
    for number in range(80):
        memory.learn(("app.py", number, 2), f"{STATEMENT} {number:016000}")
    assert any([memory.is_due(SITE, STATEMENT) for _ in range(2)])


def test_a_constant_of_a_function_on_the_stack_is_the_programs_own() -> None:
    held = "select 2 from t"
    assert is_constant("".join(["select 2", " from t"]), sys._getframe()) and held


def test_a_text_put_together_is_no_constant() -> None:
    assert not is_constant(f"{STATEMENT} from u", sys._getframe())
