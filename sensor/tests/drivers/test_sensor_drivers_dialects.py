"""What the two servers read differently from SQLite, tried on them: each attack gives every row when it runs,
each honest statement is let through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pymysql  # type: ignore[import-untyped, unused-ignore]
import pytest
from sensor.tests.drivers.conftest import MARIADB, POSTGRESQL, Trial
from sensor.tests.drivers.servers import Server

from divertor_sensor import AttackInterrupted


def ask_postgresql(server: Server, statement: str) -> Any:
    with psycopg.connect(host=str(server.directory), port=server.port, **POSTGRESQL) as db:
        cursor = db.execute(statement.encode())
        while cursor.nextset():
            pass
        return cursor.fetchall()


def ask_mariadb(server: Server, statement: str) -> Any:
    db = pymysql.connect(unix_socket=str(server.socket), **MARIADB)
    try:
        with db.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()
    finally:
        db.close()


#: Name: the statement (`{0}` is the first input), and its inputs. Each gives both rows when it runs.
POSTGRESQL_ATTACKS: dict[str, tuple[str, list[str]]] = {
    "quoted": ("select * from users where name = '{0}'", ["x' or 'a' = 'a"]),
    "comment": ("select * from users where name = '{0}' and id = 7", ["x' or true --"]),
    "nested comment": (
        "select * from users where name = '{0}' and id = 7 -- */",
        ["x' or true /* /* */ */ --"],
    ),
    "unquoted": ("select * from users where id = {0}", ["0 or 1=1"]),
    "dollar quotes left": ("select * from users where name = $${0}$$", ["x$$ or $$a$$ = $$a"]),
    "tagged dollar quotes left": (
        "select * from users where name = $a${0}$a$",
        ["x$a$ or true or name = $a$"],
    ),
    "dollar quotes brought": ("select * from users where id = {0}", ["0 or $$a$$ = $$a$$"]),
    "escape string, two inputs": (
        "select * from users where name = E'{0}' and name <> E'{1}'",
        ["\\", " or true or name = E'"],
    ),
    "identifier": ('select * from users order by "{0}"', ['id" desc, "name']),
    "cast": ("select * from users where id > {0}", ["0::text::integer - 1"]),
    "second query": ("select name from users where id = {0}", ["0 union select name from users"]),
    "several statements": ("select {0}", ["1; select * from users"]),
    "function": ("select * from users where id > {0}", ["length(current_user) - 99"]),
    "unicode escapes": ("select * from users where name = U&'{0}'", ["x' or U&'\\0061' = U&'a"]),
    "newline joins literals": ("select * from users where name <> '{0}'", ["x'\n'y"]),
}
POSTGRESQL_HONEST: dict[str, tuple[str, list[str]]] = {
    "apostrophe in dollar quotes": ("select * from users where name <> $${0}$$", ["it's -- fine; or 1=1"]),
    "dollar in a literal": ("select * from users where name <> '{0}'", ["costs $$5$$ or so"]),
    "backslash in a plain literal": ("select * from users where name <> '{0}'", ["C:\\new\\table"]),
    "column": ("select * from users order by {0}", ["name desc"]),
    "list": ("select * from users where id in ({0})", ["1, 2, 3"]),
    "json operator of the app": ("select * from users where '{{}}'::jsonb ? 'a' = ({0} = 2)", ["1"]),
}
MARIADB_ATTACKS: dict[str, tuple[str, list[str]]] = {
    "quoted": ("select * from users where name = '{0}'", ["x' or 'a' = 'a"]),
    "double quotes": ('select * from users where name = "{0}"', ['x" or "a" = "a']),
    "number sign comment": ("select * from users where name = '{0}' and id = 7", ["x' or 1 #"]),
    "dash comment": ("select * from users where name = '{0}' and id = 7", ["x' or 1 -- "]),
    "unquoted": ("select * from users where id = {0}", ["0 or 1=1"]),
    "backslash, two inputs": (
        "select * from users where name = '{0}' and name <> '{1}'",
        ["\\", " or 1 #"],
    ),
    "version comment": ("select * from users where id = {0}", ["0 /*!or*/ 1"]),
    "version comment with number": ("select * from users where id = {0}", ["0/*!50000or*/1"]),
    "version comment of MariaDB": ("select * from users where id = {0}", ["0 /*M!or*/ 1"]),
    "logical signs": ("select * from users where name = '{0}'", ["x'||'1"]),
    "no sign at all": ("select * from users where name = '{0}'", ["x'='"]),
    "subtraction": ("select * from users where name = '{0}'", ["'-'"]),
    "hexadecimal": ("select * from users where id = {0}", ["0 or 0x31"]),
    "identifier": ("select * from users order by `{0}`", ["id` desc, `name"]),
    "second query": ("select name from users where id = {0}", ["0 union select name from users"]),
}
MARIADB_HONEST: dict[str, tuple[str, list[str]]] = {
    "number sign in a literal": ("select * from users where name <> '{0}'", ["#1 -- of /*! all */"]),
    "apostrophe in double quotes": ('select * from users where name <> "{0}"', ["it's or 1"]),
    "double dash that is no comment": ("select * from users where id <> {0}--1", ["7"]),
    "column": ("select * from users order by {0}", ["name desc"]),
    "paging": ("select * from users limit {0}", ["0, 10"]),
}


#: What an app makes of an input to put it between apostrophes.
ESCAPES: dict[str, Callable[[str], str]] = {
    "doubled": lambda value: value.replace("'", "''"),
    "backslash": lambda value: value.replace("'", "\\'"),
    "both": lambda value: value.replace("\\", "\\\\").replace("'", "\\'"),
}
#: The server, the opening of the literal, the escape that does not protect there, and the attack.
IN_VAIN = [
    ("mariadb", "'", "doubled", "\\' or 1 #"),
    ("mariadb", "'", "backslash", "\\' or 1 #"),
    ("postgresql", "E'", "doubled", "\\' or true --"),
    ("postgresql", "'", "backslash", "' or true --"),
]
#: The same for an escape that protects, and an input that holds all signs.
ENOUGH = [
    ("mariadb", "'", "both", "x\\' or 1 #"),
    ("mariadb", "'", "doubled", "x' or 1 #"),
    ("postgresql", "'", "doubled", "x\\' or true --"),
    ("postgresql", "E'", "both", "x\\' or true --"),
]


def written(case: tuple[str, list[str]]) -> str:
    return case[0].format(*case[1])


def stopped(trial: Trial, ask: Callable[[Server, str], Any], case: tuple[str, list[str]]) -> None:
    assert len(ask(trial.server, written(case))) == 2
    with pytest.raises(AttackInterrupted):
        trial.run(lambda _: ask(trial.server, written(case)), *case[1])
    assert [found.signal for found in trial.kept] == ["attack"]


def passed(trial: Trial, ask: Callable[[Server, str], Any], case: tuple[str, list[str]]) -> None:
    assert len(trial.run(lambda _: ask(trial.server, written(case)), *case[1])) == 2
    assert trial.kept == []


def test_the_number_of_cases_is_what_it_was() -> None:
    cases = POSTGRESQL_ATTACKS, POSTGRESQL_HONEST, MARIADB_ATTACKS, MARIADB_HONEST, IN_VAIN, ENOUGH
    assert [len(each) for each in cases] == [15, 6, 15, 5, 4, 4]


@pytest.mark.parametrize("name", POSTGRESQL_ATTACKS)
def test_an_attack_on_postgresql_is_stopped(name: str, on_postgresql: Trial) -> None:
    stopped(on_postgresql, ask_postgresql, POSTGRESQL_ATTACKS[name])


@pytest.mark.parametrize("name", POSTGRESQL_HONEST)
def test_an_honest_input_passes_to_postgresql(name: str, on_postgresql: Trial) -> None:
    passed(on_postgresql, ask_postgresql, POSTGRESQL_HONEST[name])


@pytest.mark.parametrize("name", MARIADB_ATTACKS)
def test_an_attack_on_mariadb_is_stopped(name: str, on_mariadb: Trial) -> None:
    stopped(on_mariadb, ask_mariadb, MARIADB_ATTACKS[name])


@pytest.mark.parametrize("name", MARIADB_HONEST)
def test_an_honest_input_passes_to_mariadb(name: str, on_mariadb: Trial) -> None:
    passed(on_mariadb, ask_mariadb, MARIADB_HONEST[name])


def asked(trial: Trial, server: str, statement: str) -> Any:
    return (ask_mariadb if server == "mariadb" else ask_postgresql)(trial.server, statement)


@pytest.mark.parametrize(("server", "opening", "escape", "attack"), IN_VAIN)
def test_an_escape_of_another_server_is_seen_to_be_in_vain(
    server: str, opening: str, escape: str, attack: str, request: pytest.FixtureRequest
) -> None:
    trial: Trial = request.getfixturevalue(f"on_{server}")
    statement = f"select * from users where name = {opening}{ESCAPES[escape](attack)}'"
    assert len(asked(trial, server, statement)) == 2
    with pytest.raises(AttackInterrupted):
        trial.run(lambda _: asked(trial, server, statement), attack)


@pytest.mark.parametrize(("server", "opening", "escape", "text"), ENOUGH)
def test_an_escape_that_protects_is_left_alone(
    server: str, opening: str, escape: str, text: str, request: pytest.FixtureRequest
) -> None:
    trial: Trial = request.getfixturevalue(f"on_{server}")
    statement = f"select * from users where name <> {opening}{ESCAPES[escape](text)}'"
    assert len(trial.run(lambda _: asked(trial, server, statement), text)) == 2
    assert trial.kept == []
