"""What every app here does with a name it is given: look it up, in SQL that was put together carelessly."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

pool = ThreadPoolExecutor(2)


def find(name: str) -> str:
    with closing(sqlite3.connect("shop.db")) as database:
        return str(database.execute(f"select city from customers where name = '{name}'").fetchall())


def find_in_pool(name: str) -> str:
    return pool.submit(find, name).result()


def pieces(name: str) -> Iterator[bytes]:
    yield b"first "
    yield find(name).encode()
