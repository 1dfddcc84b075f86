"""What the memory of statements takes for the program's own."""

from __future__ import annotations

import sys

from divertor_sensor.frames import is_constant
from divertor_sensor.memory import Site, StatementMemory

SITE: Site = ("app.py", 1, 2)
STATEMENT = " ".join(["select", "1"])


def proposed(*requests: tuple[set[int], bool]) -> bool:
    """Whether the statement is known after clean requests, each with its values and whether it is apart."""
    memory = StatementMemory()
    for values, is_apart in requests:
        memory.propose(SITE, STATEMENT, lambda found=values: frozenset(found), lambda told=is_apart: told)  # type: ignore[misc]
    return memory.knows(SITE, STATEMENT)


FIRST_SIGHT: tuple[set[int], bool] = (set(), True)


def test_a_statement_seen_in_requests_without_a_common_value_is_learned() -> None:
    assert proposed(FIRST_SIGHT, ({1}, True), ({2}, True))


def test_a_statement_seen_in_the_same_request_again_and_again_is_not() -> None:
    assert not proposed(FIRST_SIGHT, *[({1, 2}, True)] * 10)


def test_a_statement_that_shares_text_with_its_requests_is_not() -> None:
    assert not proposed(FIRST_SIGHT, ({1}, False), ({2}, False), ({3}, True))


def test_examining_a_statement_ends_after_a_few_attempts() -> None:
    assert not proposed(FIRST_SIGHT, *[({1}, False)] * 6, ({2}, True), ({3}, True))


def test_a_constant_of_a_function_on_the_stack_is_the_programs_own() -> None:
    held = "select 2 from t"
    assert is_constant("".join(["select 2", " from t"]), sys._getframe()) and held


def test_a_text_put_together_is_no_constant() -> None:
    assert not is_constant(f"{STATEMENT} from u", sys._getframe())
