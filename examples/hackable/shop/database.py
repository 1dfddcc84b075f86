"""The shop's SQLite database: made and filled at the first start, every statement it executes written down.

The statement log is the proof of what ran: SQLite itself reports each statement as it begins to execute, so
one that was stopped before is not in it. What opening a connection takes (`ATTACH`) is not logged.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

#: A longer statement is cut in the log.
MAX_LOGGED = 8_000

_USERS = (("alice", "wonderland"), ("bob", "builder"))
_PRODUCTS = (
    (
        "W",
        "Divertor tile, tungsten",
        4_800,
        "Takes the heat, so that the wall need not.",
        "divertor-tile.txt",
    ),
    ("Be", "First-wall panel, beryllium", 129_000, "Faces a small sun all day long.", "first-wall.txt"),
    ("Nb", "Magnet strand, niobium-tin", 64_500, "A thousand amperes, once it is cold.", "magnet-strand.txt"),
    ("Cu", "Heat-sink plate, copper alloy", 7_900, "Warm on one side, water on the other.", ""),
    ("Li", "Breeder pebbles, lithium titanate", 21_000, "Makes tomorrow's fuel from today's neutrons.", ""),
    ("D", "Deuterium, 10 litre bottle", 3_250, "Heavy hydrogen, light reading.", ""),
    ("Mo", "Mirror, molybdenum", 15_600, "For looking at what cannot be looked at.", ""),
    ("C", "Limiter, graphite, refurbished", 990, "One careful owner, several disruptions.", ""),
)
_COMMENTS = (
    ("alice", "The tungsten tile still looks new after a hundred shots."),
    ("bob", "Can you fix the gloves? Yes, you can."),
)
_TABLES = (
    "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE, password TEXT)",
    "CREATE TABLE products"
    " (id INTEGER PRIMARY KEY, symbol TEXT, name TEXT, price INTEGER, blurb TEXT, brochure TEXT)",
    "CREATE TABLE comments (id INTEGER PRIMARY KEY, author TEXT, text TEXT)",
    # SQLite has no catalogue of this name. Attacks written for other databases ask for it, and shall find it.
    "CREATE TABLE information_schema.tables (table_schema TEXT, table_name TEXT)",
)


class StatementLog:
    """A file that gets one line per statement, its control characters escaped. Safe for threads and forks."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __call__(self, statement: str) -> None:
        os.write(self._file, statement[:MAX_LOGGED].encode("unicode_escape") + b"\n")


def set_up(path: Path, hash_password: Callable[[str], str]) -> None:
    """Make and fill the database unless that was done before; several processes may do it at once.

    :raises sqlite3.Error: the file cannot be written, or is no database.
    """
    with closing(_connect(path)) as database:
        # Taking the write lock first makes the others wait here until the tables are complete.
        database.execute("BEGIN IMMEDIATE")
        if database.execute("PRAGMA user_version").fetchone()[0] == 0:
            _fill(database, hash_password)
        database.execute("COMMIT")


def open_database(path: Path, log: StatementLog) -> sqlite3.Connection:
    """A connection whose statements are logged. It commits each statement, and waits 5 s for a lock."""
    database = _connect(path)
    database.set_trace_callback(log)
    return database


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=5.0, isolation_level=None)
    database.row_factory = sqlite3.Row
    database.execute("ATTACH DATABASE ? AS information_schema", (str(path.with_suffix(".schema.sqlite")),))
    return database


def _fill(database: sqlite3.Connection, hash_password: Callable[[str], str]) -> None:
    for statement in _TABLES:
        database.execute(statement)
    users = [(name, hash_password(password)) for name, password in _USERS]
    database.executemany("INSERT INTO users (name, password) VALUES (?, ?)", users)
    database.executemany(
        "INSERT INTO products (symbol, name, price, blurb, brochure) VALUES (?, ?, ?, ?, ?)", _PRODUCTS
    )
    database.executemany("INSERT INTO comments (author, text) VALUES (?, ?)", _COMMENTS)
    database.execute(
        "INSERT INTO information_schema.tables"
        " SELECT 'main', name FROM main.sqlite_master WHERE type = 'table'"
    )
    database.execute("PRAGMA user_version = 1")
