"""How the SQL detector reads PostgreSQL and MySQL, checked by a second tokenizer that was written apart."""

from __future__ import annotations

import re
import time

import pytest
from bench.detection import structure
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor_sensor.detectors import Candidate, sql
from divertor_sensor.detectors.sql_lexing import MYSQL, POSTGRESQL, SQLITE, Dialect
from divertor_sensor.sources.inputs import Input
from divertor_sensor.work import Spent, Work

PIECES = st.sampled_from(
    [
        *(
            "'",
            "''",
            '"',
            "`",
            "[",
            "]",
            "--",
            "-- ",
            "#",
            "/*",
            "*/",
            "/*!",
            "\\",
            "\\'",
            '\\"',
            "\n",
            "\r",
            " ",
        ),
        *("$$", "$a$", "$A$", "e'", "E'", "a", "or", "1", "=", "(", ")", "||", ",", ";", "é"),
    ]
)
PAYLOADS = st.lists(PIECES, min_size=1, max_size=12).map("".join)
DIALECTS = {"sqlite": SQLITE, "postgresql": POSTGRESQL, "mysql": MYSQL}
ESCAPES: dict[str, dict[str, str | int | None]] = {
    "sqlite": {"'": "''"},
    "postgresql": {"'": "''"},
    "mysql": {"\\": "\\\\", "'": "\\'", '"': '\\"', "\n": "\\n", "\r": "\\r"},
}


def verdict(dialect: str, statement: str, *values: str) -> bool | None:
    """True for an attack, False for a vulnerability reached."""
    detector = sql.dialect(dialect)
    found = [
        Candidate(text, Input("query", "q", value)) for value in values for text in detector.select(value)
    ]
    finding = detector.judge(statement, found, Work()).finding
    return None if finding is None else finding.hostile


@pytest.mark.parametrize("dialect", DIALECTS)
@given(payload=PAYLOADS)
@settings(max_examples=300, deadline=None)
def test_what_the_patterns_shield_is_what_a_plain_tokenizer_takes_for_quoted_or_comment(
    dialect: str, payload: str
) -> None:
    # After a number, and right after another one, PostgreSQL begins a literal where the patterns go on with
    # code: nobody writes that.
    payload = re.sub(r"(?<=\d)\$|(?<=\$)\$(?=\$)|(?<=\$)\$(?=[aA]\$)", "", payload)
    shields = [payload[one.start : one.end] for one in DIALECTS[dialect].lex(payload).shields]
    kinds = ("literal", "name", "comment")
    plain = [token.text for token in structure.tokens(dialect, payload) if token.kind.rstrip("!") in kinds]
    assert shields == plain


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "template", ["SELECT '{}'", "SELECT * FROM t WHERE a LIKE '%{}%'", "SELECT 'x', '{}', 'y'"]
)
@given(payload=PAYLOADS)
@settings(max_examples=200, deadline=None)
def test_an_input_that_changes_the_structure_is_told(dialect: str, template: str, payload: str) -> None:
    """Unless it is only signs, and so few that a server refuses what they leave."""
    if len(payload.strip("'\"`[]()\\ \n\r$=,;|")) and structure.is_broken(dialect, template, payload):
        assert verdict(dialect, template.replace("{}", payload), payload) is not None


@pytest.mark.parametrize("dialect", DIALECTS)
@given(payload=PAYLOADS)
@settings(max_examples=200, deadline=None)
def test_what_is_escaped_as_the_manual_says_is_no_finding(dialect: str, payload: str) -> None:
    escaped = payload.translate(str.maketrans(ESCAPES[dialect]))
    assert verdict(dialect, f"VALUES (5,'{escaped}')", f"prefix {payload} suffix") is None


def shields(dialect: Dialect, text: str) -> list[str]:
    return [text[one.start : one.end] for one in dialect.lex(text).shields]


def test_postgresql_comments_nest() -> None:
    assert shields(POSTGRESQL, "a /* b /* ' */ c */ d") == ["/* b /* ' */ c */"]


def test_mysql_comments_do_not_nest() -> None:
    assert shields(MYSQL, "a /* b /* ' */ c") == ["/* b /* ' */"]


def test_the_tag_of_a_dollar_quote_ends_it_in_the_same_case_only() -> None:
    assert shields(POSTGRESQL, "$Tag$ ' $tag$ $Tag$ $1") == ["$Tag$ ' $tag$ $Tag$"]


def test_a_dollar_within_a_name_quotes_nothing() -> None:
    assert shields(POSTGRESQL, "a$$b$$ 'c'") == ["'c'"]


def test_an_escape_string_goes_on_over_lines() -> None:
    assert shields(POSTGRESQL, "E'a' -- x\n  'b\\'c' 'd'") == ["'a' -- x\n  'b\\'c'", "'d'"]


def test_only_an_escape_string_of_postgresql_knows_backslashes() -> None:
    assert shields(POSTGRESQL, "'\\' , name'\\' , e'\\''") == ["'\\'", "'\\'", "'\\''"]


def test_two_dashes_before_a_sign_are_no_comment_to_mysql() -> None:
    assert shields(MYSQL, "5--1 -- '\n--'x'") == ["-- '", "'x'"]


def test_comments_that_mysql_executes_are_code() -> None:
    assert shields(MYSQL, "/*!50000 'a' */ /*M! 'b' */ /* 'c' */") == ["'a'", "'b'", "/* 'c' */"]


@pytest.mark.parametrize(
    ("dialect", "statement", "value"),
    [
        ("mysql", "SELECT '\\\\' or 1=1 -- '", "\\' or 1=1 -- "),
        ("mysql", "SELECT '\\'' or 1=1 -- '", "\\' or 1=1 -- "),
        ("mysql_no_backslash", "SELECT '\\' or 1=1 -- '", "\\' or 1=1 -- "),
        ("postgresql_escapes", "SELECT '\\'' or 1=1 --'", "\\' or 1=1 --"),
    ],
    ids=["escaped twice", "doubled where backslashes escape", "backslashes do not escape", "old literals"],
)
def test_escaping_for_another_setting_protects_nothing(dialect: str, statement: str, value: str) -> None:
    assert verdict(dialect, statement, value) is True


@pytest.mark.parametrize("dialect", ["mysql", "postgresql"])
def test_an_input_is_judged_by_the_reading_in_which_it_breaks_out(dialect: str) -> None:
    assert verdict(dialect, "SELECT '\\'' or 1=1 -- '", "\\'' or 1=1 -- ") is True


def test_the_second_of_two_inputs_that_break_out_together_is_told() -> None:
    assert verdict("mysql", "SELECT * FROM t WHERE a = '\\' AND b = ' or 1=1 #'", "\\", " or 1=1 #") is True


def test_a_backslash_that_takes_the_quote_with_it_is_a_vulnerability() -> None:
    assert verdict("mysql", "SELECT * FROM t WHERE a = 'C:\\' AND b = 'x'", "C:\\") is False


def test_a_piece_of_a_harmless_list_is_no_attack() -> None:
    assert verdict("sqlite", "SELECT * FROM t WHERE a IN ('x-y', 'z')", "'x-y', 'z'") is None


@pytest.mark.parametrize(
    "fragment", ["u.name AS n, id", "distinct name", "users.*", "asc nulls last", ", id", "offset 5"]
)
def test_a_fragment_that_programs_pass_through_is_no_attack(fragment: str) -> None:
    assert verdict("postgresql", f"SELECT * FROM users ORDER BY {fragment}", fragment) is None


def test_a_long_list_of_keys_is_no_attack() -> None:
    keys = ", ".join(f"'{number:032x}'" for number in range(500))
    assert verdict("mysql", f"SELECT * FROM users WHERE id IN ({keys})", keys) is None


@pytest.mark.parametrize(
    "statement",
    ["SELECT a FROM t WHERE a = a", "SELECT a FROM t WHERE (b = ? or a)", "SELECT pg_sleep(a) FROM t"],
)
def test_what_needs_no_value_to_do_harm_is_not_innocent(statement: str) -> None:
    assert not sql.is_innocent(statement)


def test_names_are_written_in_backticks_for_mysql() -> None:
    assert sql.MYSQL.is_innocent("SELECT `u`.`a` FROM `u` WHERE `u`.`a` = %s")
    assert not sql.MYSQL.is_innocent('SELECT a FROM u WHERE a = "x"')


HOSTILE = {
    "openings": "/*'\"[`$a$e'",
    "nested comments": "/*",
    "backslashes": "\\'",
    "tags": "$a$b",
    "dollars": "$",
    "lines of a literal": "e'a'\n",
    "names": "a.b,",
    "literals": "'a',",
    "prose": "it's a ",
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE)
def test_a_long_hostile_statement_takes_linear_time(dialect: str, unit: str) -> None:
    payload = unit * (100_000 // len(unit))
    started = time.process_time()
    try:
        verdict(dialect, f"SELECT '{payload}', {payload}", payload, payload[: len(payload) // 2], "'" + unit)
    except Spent:
        pass  # as good: the guard refuses such a statement
    assert time.process_time() - started < 3
