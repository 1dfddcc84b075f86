"""SQLAlchemy and Django on the drivers: SQL put together by hand is judged, bound values are free."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sensor.tests.drivers.conftest import Trial, driver
from sensor.tests.drivers.servers import Server
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


SYNC = ("postgresql+psycopg", "postgresql+psycopg2", "mysql+pymysql", "mysql+mysqldb")
ASYNC = ("postgresql+psycopg", "postgresql+asyncpg", "mysql+aiomysql")
#: Whether through asyncio, and SQLAlchemy's name of the dialect and driver.
ENGINES = [(False, name) for name in SYNC] + [(True, name) for name in ASYNC]


def url(name: str, server: Server) -> sa.URL:
    if name.startswith("mysql"):
        return sa.URL.create(name, "root", database="tests", query={"unix_socket": str(server.socket)})
    where = {"host": str(server.directory), "port": str(server.port)}
    return sa.URL.create(name, "tests", database="postgres", query=where)


@pytest.fixture(params=ENGINES, ids=lambda each: f"{each[1]}{'-async' if each[0] else ''}")
def engine(request: pytest.FixtureRequest) -> tuple[bool, str]:
    if request.param[0]:
        driver("greenlet")
    if request.param[1] == "mysql+mysqldb":
        driver("MySQLdb")
    found: tuple[bool, str] = request.param
    return found


@pytest.fixture
def trial(engine: tuple[bool, str], request: pytest.FixtureRequest) -> Trial:
    found: Trial = request.getfixturevalue(
        f"on_{'mariadb' if engine[1].startswith('mysql') else 'postgresql'}"
    )
    return found


def in_session(engine: tuple[bool, str], trial: Trial, *steps: Callable[[Session], Any]) -> Any:
    """What the last of `steps` gives, each in a transaction of its own on one engine."""
    is_async, name = engine
    if is_async:
        return asyncio.run(_in_async_session(url(name, trial.server), steps))
    made = sa.create_engine(url(name, trial.server))
    try:
        for step in steps:
            with Session(made) as session:
                result = step(session)
        return result
    finally:
        made.dispose()


async def _in_async_session(where: sa.URL, steps: Any) -> Any:
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    made = create_async_engine(where)
    try:
        for step in steps:
            async with AsyncSession(made) as session:
                result = await session.run_sync(step)
        return result
    finally:
        await made.dispose()


def test_the_number_of_engines_is_what_it_was() -> None:
    assert len(ENGINES) == 7


def test_text_that_is_put_together_is_judged(engine: tuple[bool, str], trial: Trial) -> None:
    trial.stops(lambda statement: in_session(engine, trial, lambda s: s.execute(sa.text(statement)).all()))


def test_honest_text_passes(engine: tuple[bool, str], trial: Trial) -> None:
    trial.lets_pass(
        lambda statement: in_session(engine, trial, lambda s: s.execute(sa.text(statement)).all())
    )


def test_bound_text_and_the_orm_are_free(engine: tuple[bool, str], trial: Trial) -> None:
    def app(value: str) -> Any:
        def by_text(session: Session) -> Any:
            return session.execute(
                sa.text("select name from users where name = :name"), {"name": value}
            ).all()

        def insert(session: Session) -> None:
            session.execute(sa.insert(User), [{"id": 3, "name": value}, {"id": 4, "name": "x"}])
            session.add(User(id=5, name=value))
            session.commit()

        def by_orm(session: Session) -> Any:
            return session.scalars(sa.select(User).where(User.name.in_([value, "x"]))).all()

        return in_session(engine, trial, by_text, insert, by_orm)

    assert len(trial.run(app, trial.attack)) == 3 and trial.kept == []


def test_an_order_the_orm_is_given_as_text_is_judged(engine: tuple[bool, str], trial: Trial) -> None:
    def app(value: str) -> Any:
        return in_session(engine, trial, lambda s: s.scalars(sa.select(User).order_by(sa.text(value))).all())

    assert len(trial.run(app, "name desc")) == 2 and trial.kept == []
    trial.stops(lambda _: app(f"(select name from users where name = '{trial.attack}' limit 1)"))


DJANGO = ("postgresql+psycopg", "postgresql+psycopg2", "mysql+mysqldb", "mysql+pymysql")


@pytest.mark.parametrize("name", DJANGO)
def test_django_raw_and_extra_are_judged_and_filters_are_free(
    name: str, request: pytest.FixtureRequest
) -> None:
    """In a process of its own: Django is configured once for all."""
    trial: Trial = request.getfixturevalue(f"on_{'mariadb' if name.startswith('mysql') else 'postgresql'}")
    if name == "mysql+mysqldb":
        driver("MySQLdb")
    task = {
        "driver": name.partition("+")[2],
        "directory": str(trial.server.directory),
        "socket": str(trial.server.socket),
        "port": trial.server.port,
        "attack": trial.attack,
        "honest": trial.honest,
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("django_app.py")), json.dumps(task)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "filter": [],
        "bound raw": [],
        "raw": "interrupted",
        "extra": "interrupted",
        "cursor": "interrupted",
        "in a transaction": "interrupted",
        "afterwards": 2,
        "honest raw": [],
        "outside": 2,
    }
