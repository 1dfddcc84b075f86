"""SQL that two object mappers write, as a program's own statements: what inputs may meet by chance.

SQLAlchemy compiles the same queries for each of the three dialects, Django those of a model for SQLite and
PostgreSQL. No database is connected; values are bound, as they always are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

_TABLES = sa.MetaData()
_USERS = sa.Table(
    "users",
    _TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(80)),
    sa.Column("email", sa.String(200)),
    sa.Column("active", sa.Boolean),
    sa.Column("created_at", sa.DateTime),
)
_ORDERS = sa.Table(
    "orders",
    _TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("user_id", sa.ForeignKey("users.id")),
    sa.Column("status", sa.String(20)),
    sa.Column("total", sa.Numeric(10, 2)),
    sa.Column("placed_on", sa.Date),
)
_DIALECTS: dict[str, Callable[[], Any]] = {
    "sqlite": sqlite.dialect,
    "postgresql": postgresql.dialect,
    "mysql": mysql.dialect,
}


def statements(dialect: str) -> list[str]:
    """Each statement once, on one line or several as the mapper has it."""
    found = [str(query.compile(dialect=_DIALECTS[dialect]())) for query in _queries()]
    return list(dict.fromkeys([*found, *_django(dialect)]))


def _queries() -> Iterator[Any]:
    users, orders = _USERS.c, _ORDERS.c
    joined = _USERS.join(_ORDERS)
    spent = sa.func.sum(orders.total)
    recent = sa.select(orders.user_id).where(orders.placed_on > sa.bindparam("since"))
    yield sa.select(_USERS).where(users.id == 5)
    yield sa.select(_USERS).where(users.name == "x").order_by(users.created_at.desc(), users.id).limit(10)
    yield sa.select(users.id, users.name).where(users.name.like("x")).limit(10).offset(20)
    yield sa.select(_USERS).where(users.id.in_([1, 2])).where(users.active.is_(True))
    yield sa.select(_USERS).where(sa.or_(users.email == "x", users.name == "x"), users.active.is_not(None))
    yield sa.select(users.name, orders.total).select_from(joined).where(orders.status != "x")
    yield sa.select(users.name, sa.func.count(orders.id)).select_from(joined).group_by(users.name)
    yield sa.select(users.name, spent).select_from(joined).group_by(users.name).having(spent > 5)
    yield sa.select(_USERS).outerjoin(_ORDERS).where(orders.id.is_(None)).order_by(users.name)
    yield sa.select(_USERS).where(users.id.in_(recent)).distinct()
    yield sa.select(_USERS).where(sa.exists(recent)).order_by(sa.func.lower(users.name).desc())
    yield sa.select(sa.func.count()).select_from(_USERS).where(users.active.is_(False))
    yield sa.select(sa.case((users.active, "x"), else_="y")).where(users.created_at.between("a", "b"))
    yield sa.union_all(sa.select(users.id), sa.select(orders.user_id)).limit(3)
    yield sa.insert(_USERS).values(name="x", email="x", active=True)
    yield sa.update(_ORDERS).where(orders.id == 5).values(status="x")
    yield sa.update(_USERS).where(users.email == "x", users.active.is_(True)).values(active=False)
    yield sa.delete(_ORDERS).where(orders.user_id == 5, orders.status.in_(["x", "y"]))


def _django(dialect: str) -> list[str]:
    engines = {"sqlite": "sqlite3", "postgresql": "postgresql"}
    if dialect not in engines:
        return []  # its back end for MySQL needs a driver that is compiled
    _configured()
    from django.db import connections  # type: ignore[import-untyped, unused-ignore]

    connection = connections[engines[dialect]]
    return [query.query.get_compiler(connection=connection).as_sql()[0] for query in _django_queries()]


def _configured() -> None:
    from django.conf import settings  # type: ignore[import-untyped, unused-ignore]

    if not settings.configured:
        names = ("sqlite3", "postgresql")
        settings.configure(
            DATABASES={
                "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
                **{name: {"ENGINE": f"django.db.backends.{name}", "NAME": ":memory:"} for name in names},
            },
            INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
        )
        import django  # type: ignore[import-untyped, unused-ignore]

        django.setup()


def _django_queries() -> Iterator[Any]:
    from django.contrib.auth.models import Group, User  # type: ignore[import-untyped, unused-ignore]
    from django.contrib.sessions.models import Session  # type: ignore[import-untyped, unused-ignore]
    from django.db.models import Count, F, Q  # type: ignore[import-untyped, unused-ignore]

    yield User.objects.filter(username="x")
    yield User.objects.filter(Q(username__icontains="x") | Q(email__iexact="x")).order_by("-date_joined")[:20]
    yield User.objects.filter(groups__name__in=["x", "y"]).distinct()
    yield User.objects.annotate(count=Count("groups")).filter(count__gt=2).values("username", "count")
    yield User.objects.exclude(is_active=False).exclude(last_login__isnull=True)[40:60]
    yield User.objects.filter(first_name=F("last_name")).only("id", "username")
    yield Group.objects.filter(user__is_staff=True).select_related().order_by("name")
    yield Session.objects.filter(session_key="x", expire_date__gt="2026-01-01")
