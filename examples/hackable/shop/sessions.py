"""Who is signed in, by session id: one small file that all versions share.

So a customer who is moved from one version to another stays signed in. A visitor who never signs in leaves no
row behind: the id in the cookie is enough to recognise them.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The oldest sign-ins beyond this number are forgotten.
MAX_SESSIONS = 10_000

_ID = re.compile(r"[0-9a-f]{32}")


def new_id() -> str:
    """A session id nobody can guess: 128 random bits in hexadecimal."""
    return secrets.token_hex(16)


def is_id(text: str) -> bool:
    """Whether `text` could be an id of ours."""
    return _ID.fullmatch(text) is not None


class SessionStore:
    """Session id → user id, in the SQLite file at `path`, which is made when it is not there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as store:
            store.execute(
                "CREATE TABLE IF NOT EXISTS sessions"
                " (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, user INTEGER)"
            )

    def user_of(self, session: str) -> int | None:
        """The id of the user who signed in with `session`; None when nobody did."""
        with self._open() as store:
            row = store.execute("SELECT user FROM sessions WHERE id = ?", (session,)).fetchone()
        return None if row is None else int(row[0])

    def start(self, user: int, instead_of: str) -> str:
        """Sign `user` in under a new id, so that an id known to others before the login is worth nothing."""
        session = new_id()
        with self._open() as store:
            store.execute("DELETE FROM sessions WHERE id = ?", (instead_of,))
            cursor = store.execute("INSERT INTO sessions (id, user) VALUES (?, ?)", (session, user))
            oldest = (cursor.lastrowid or 0) - MAX_SESSIONS
            store.execute("DELETE FROM sessions WHERE number <= ?", (oldest,))
        return session

    def end(self, session: str) -> None:
        """Sign out whoever uses `session`."""
        with self._open() as store:
            store.execute("DELETE FROM sessions WHERE id = ?", (session,))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        store = sqlite3.connect(self._path, timeout=5.0)
        try:
            with store:
                yield store
        finally:
            store.close()
