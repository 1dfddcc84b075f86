"""What the SQL detector promises for every input, with SQLite itself as the judge."""

from __future__ import annotations

import itertools
import sqlite3
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor_sensor.detectors import Candidate, Judgement, sql
from divertor_sensor.detectors.sql_grammar import is_prose, takes_no_name
from divertor_sensor.sources.inputs import Input
from divertor_sensor.work import Work

PIECES = st.sampled_from(
    [
        "'",
        "''",
        '"',
        "`",
        "[",
        "]",
        "--",
        "/*",
        "*/",
        ";",
        "\\",
        "\n",
        " ",
        "a",
        "or",
        "1",
        "=",
        "(",
        ")",
        "||",
        ",",
        "x'",
    ]
)
PAYLOADS = st.lists(PIECES, min_size=1, max_size=12).map("".join)


def judge(statement: str, *values: str) -> Judgement:
    found = [Candidate(text, Input("query", "q", value)) for value in values for text in sql.select(value)]
    return sql.judge(statement, found, Work())


@given(PAYLOADS)
@settings(max_examples=300, deadline=None)
def test_what_passes_in_a_literal_is_one_literal_to_sqlite(payload: str) -> None:
    if judge(f"SELECT '{payload}'", payload).finding is None:
        row = sqlite3.connect(":memory:").execute(f"SELECT '{payload}'").fetchone()
        assert row == (payload.replace("''", "'"),)


@given(PAYLOADS)
@settings(max_examples=300, deadline=None)
def test_an_escaped_literal_is_never_a_finding(payload: str) -> None:
    escaped = payload.replace("'", "''")
    assert judge(f"VALUES (5,'{escaped}')", f"prefix {payload} suffix").finding is None


@given(st.text(max_size=40), st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_text_is_judged_without_a_fault(statement: str, value: str) -> None:
    finding = judge(statement + value, value).finding
    assert finding is None or finding.origin.value == value


def test_a_bound_parameter_is_not_even_touched() -> None:
    assert judge("SELECT * FROM t WHERE a = ?", "' or 1=1 --").touched is False


def test_case_is_ignored() -> None:
    assert judge("SELECT '' OR 1=1 --'", "' or 1=1 --").finding is not None


def test_an_input_decoded_once_more_is_recognised() -> None:
    assert judge("SELECT '' or 1=1 --'", "%27 or 1=1 --").finding is not None


def test_an_input_hidden_in_base64_is_recognised() -> None:
    assert judge("SELECT 'x' or 1=1'", "eCcgb3IgMT0x").finding is not None


def test_an_input_whose_white_space_was_collapsed_is_recognised() -> None:
    assert judge("SELECT '' or 1=1 --'", "'\t or \n 1=1   --").finding is not None


def test_an_input_that_was_cut_is_recognised() -> None:
    assert (
        judge("SELECT '' or 1=1 union select'", "' or 1=1 union select password from users").finding
        is not None
    )


def test_a_backslash_does_not_save_a_sqlite_literal() -> None:
    assert judge("SELECT '\\' or 1=1 --'", "' or 1=1 --").finding is not None


def test_one_of_several_pieces_of_a_list_is_recognised() -> None:
    assert judge("SELECT '' or 1=1 --'", "a|' or 1=1 --|b").finding is not None


def test_the_worst_of_several_findings_is_told() -> None:
    finding = judge("SELECT 'O'Brien's' AND '' or 1=1 --'", "O'Brien's", "' or 1=1 --").finding
    assert finding is not None and finding.hostile


@given(PAYLOADS)
@settings(max_examples=100, deadline=None)
def test_an_escaped_literal_is_no_cut_input_either(payload: str) -> None:
    """The escaped form begins as the input does: what is common to both must not count as a break."""
    value = f"a long enough beginning {payload}"
    escaped = value.replace("'", "''")
    assert judge(f"VALUES (5,'{escaped}')", value).finding is None


LONG = {
    "openings": "'" + "/*'\"[`" * 20_000,
    "brackets": "'" + "[" * 100_000,
    "comments": "' union" + "/**/" * 30_000 + "x",
    "spaces": "1" + " " * 100_000 + "!",
    "names": "a.b," * 30_000 + "!",
    "prose": "it's a " * 20_000,
}


@pytest.mark.parametrize("name", LONG)
def test_a_long_hostile_statement_takes_linear_time(name: str) -> None:
    """Each is the worst case of some pattern: openings that never close, repetitions within repetitions."""
    payload = LONG[name]
    started = time.process_time()
    judge(f"SELECT '{payload}', {payload}", payload, payload[: len(payload) // 2])
    assert time.process_time() - started < 3


def test_an_escaped_value_whose_end_meets_the_program_as_its_beginning_does_is_no_cut_one() -> None:
    value = "9999' or benchmark(15000000,md5(0x4e446b6e)) or '0'='9999"
    escaped = value.replace("'", "''")
    assert judge(f"SELECT * FROM users WHERE name = '{escaped}' ORDER BY id", value).finding is None
    assert judge(f"SELECT * FROM users WHERE name = '{value[:8]}' ORDER BY id", value).finding is not None


@pytest.mark.parametrize(
    "text",
    [
        "I'd like two of them, please",
        "that's all, folks!",
        "The customer's order wasn't delivered",
        "It's 5 or 6 (or so) o'clock",
        "they're better than others, aren't they",
        "Can't update my address - help",
        "we're open 9-5; it's fine = good",
    ],
)
def test_prose_that_no_database_reads_is_no_attack(text: str) -> None:
    finding = judge(f"INSERT INTO reviews (body) VALUES ('{text}')", text).finding
    assert finding is not None and not finding.hostile


@pytest.mark.parametrize(
    "text",
    [
        "x' t from users -- ",
        "x' t, password from users -- ",
        "x' s order by 1 -- ",
        "x' s order/**/by 1 -- ",
        "x' s/**/worry",
        "x' s\u00a0all, password from users -- ",
        "x' or worry about",
        "x\\' aa bb ' or 1=1 -- ",
        "don't worry\\' or 1=1 -- ",
        "x' day worry",
    ],
)
def test_what_may_be_more_than_prose_is_an_attack(text: str) -> None:
    for statement in ("SELECT id FROM users WHERE name = '%s'", "SELECT '%s' FROM users"):
        finding = judge(statement % text, text).finding
        assert finding is not None and finding.hostile


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("CREATE TABLE t ('%s')", "a' double precision, b int"),
        ("ALTER TABLE t ADD '%s'", "a' double precision, b int"),
        ("select a from t for system_time as of '%s' where id = 1", "2030' a use index () where 1=1 -- "),
        ("select a from t for system_time between '2000' and '%s'", "2030' a use index () where 1=1 -- "),
        (
            "select a into outfile '/x' fields terminated by '%s'",
            ",' escaped by '!' lines starting by 'x' -- ",
        ),
        (
            "select * from xmltable('/r' passing d columns a text default '%s')",
            "0' path lower('a')) x union -- ",
        ),
        ("select '%s' from users", "x' t minus select password from users -- "),
        ("select a from t where b = '%s'", "x' minus all select password from users -- "),
        ("select a from t where weight_string(b = '%s')", "x' level 1) or 1=1 union select c from d -- "),
        ("select a from t where b = '%s'", "x' qualify ascii(password) > 1 -- "),
        ("delete from stage; copy stage from '%s'", "/x' freeze force not null a csv; drop table users; -- "),
        ("delete from t where a = 'b'; insert into t values ('%s')", "don't worry = x' or 1 or '"),
        ("insert into t values (f('%s'))", "don't worry, it's"),
        ("select f(a => '%s') from t where 1", "don't worry, it's"),
        ("insert into t values ('\\', '%s')", "don't worry, it's"),
    ],
)
def test_elsewhere_two_words_may_be_more_than_prose(statement: str, text: str) -> None:
    finding = judge(statement % text, text).finding
    assert finding is not None and finding.hostile


def test_in_a_comment_that_some_servers_execute_prose_is_an_attack() -> None:
    text = "don't worry, it's"
    candidates = [Candidate(form, Input("query", "q", text)) for form in sql.select(text)]
    statement = f"select * from t where /*! a = '{text}' and */ b = 1"
    finding = sql.dialect("mysql").judge(statement, candidates, Work()).finding
    assert finding is not None and finding.hostile


def test_a_piece_of_prose_in_an_earlier_statement_is_an_attack() -> None:
    text = "don't worry =~x' or 1 or '"
    piece = text.split("~")[-1]
    finding = judge(f"delete from t where a='{piece}'; insert into t values ('{text}')", text).finding
    assert finding is not None and finding.hostile


@pytest.mark.parametrize(
    "statement",
    [
        "select * from t where a = '%s'",
        "select * from t join u on t.a like '%s'",
        "update t set a = 'it', b = '%s' where c = 1",
        "insert into t (a, b) values (1, 'x'), (now(), '%s')",
        "/* page */ select * from t where a in ('b', '%s')",
    ],
)
def test_prose_is_known_where_nothing_is_given_a_name(statement: str) -> None:
    text = "I don't worry, it's fine"
    finding = judge(statement % text, text).finding
    assert finding is not None and not finding.hostile


def test_sqlite_reads_nothing_that_is_taken_for_prose() -> None:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE users (id, name)")
    words = "s t worry 5 abort all and any as asc by do else end from group if in indexed is key like limit"
    words += " match no not null of on or order over rowid set then to update using values when where window"
    tried = 0
    for first, second, tail in itertools.product(
        words.split(), words.split(), (" -- ", ") -- ", " by 1 -- ")
    ):
        for before in (
            "select id from users where name=",
            "insert into users values (",
            "update users set id=",
        ):
            rest = f" {first} {second}{tail}"
            assert takes_no_name(before)
            if is_prose(rest):
                tried += 1
                with pytest.raises(sqlite3.OperationalError, match="syntax error|unrecognized token"):
                    database.execute(f"explain {before}'x'{rest}'")
    assert tried > 400


def test_a_statement_broken_in_many_places_is_asked_about_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask(before: str) -> bool:
        asked.append(before)
        return takes_no_name(before)

    monkeypatch.setattr(sql, "takes_no_name", ask)
    text = "don't worry, it's"
    finding = judge("select * from t where a in (" + ", ".join([f"'{text}'"] * 100) + ")", text).finding
    assert finding is not None and not finding.hostile and len(asked) == 1
