"""The app of the 41 cases: one Flask app with a vulnerable route for each.

`done` holds what really ran: a statement with input in it, a file's secret, a gadget's work. What a library
does is real: SQLite, the shell, files, pickle, HTTP.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import sqlite3
import sqlite3.dbapi2
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import flask
import httpx
import sqlalchemy


class Inside:
    """A server that only the app's own network should reach; `paths` are those asked for."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.paths: list[str] = []
        paths = self.paths

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                paths.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"inside")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Gadget:
    """Something that, once pickled, touches a file when it is loaded."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self._path}",)


class ProbeApp:
    """The app over a folder with a database, a folder of files and a secret beside it."""

    def __init__(self, folder: Path) -> None:
        self.done: list[str] = []
        self._database = folder / "probe.sqlite"
        self._files = folder / "files"
        self._files.mkdir()
        (self._files / "a.txt").write_text("text")
        (folder / "secret.txt").write_text("secret")
        with sqlite3.connect(self._database) as database:
            database.executescript("create table users (id, name); insert into users values (1, 'alice')")
        database.close()
        self._engine = sqlalchemy.create_engine(f"sqlite:///{self._database}")
        sqlalchemy.event.listen(self._engine, "after_cursor_execute", self._note_engine)
        self._pool = ThreadPoolExecutor(1)
        self._app = flask.Flask("probe")
        self._add_routes()
        self.wsgi = self._app.wsgi_app

    def close(self) -> None:
        """Release what the app holds."""
        self._engine.dispose()
        self._pool.shutdown()

    def _add_routes(self) -> None:
        query = self._query

        def value() -> str:
            return flask.request.args["q"]

        routes: dict[str, Callable[..., Any]] = {
            "/sql/query": lambda: query(value()),
            "/sql/json": lambda: query(flask.request.get_json()["q"]),
            "/sql/path/<name>": query,
            "/sql/header": lambda: query(flask.request.headers["x-name"]),
            "/sql/raw": lambda: query(flask.request.get_data(as_text=True)),
            "/sql/upload": lambda: query(str(flask.request.files["f"].filename)),
            "/sql/stream": lambda: flask.Response(self._stream(value())),
            "/sql/caught": lambda: self._caught(value()),
            "/sql/pool": lambda: self._pool.submit(query, value()).result(),
            "/sql/thread": lambda: self._in_thread(value()),
            "/sql/dbapi2": lambda: query(value(), sqlite3.dbapi2.connect),
            "/sql/sqlalchemy": lambda: self._by_engine(value()),
            "/sql/base64": lambda: query(base64.b64decode(value()).decode()),
            "/sql/unquote": lambda: query(unquote(value())),
            "/sql/tab": lambda: query(value().replace("\t", " ")),
            "/sql/collapse": lambda: query(" ".join(value().split())),
            "/sql/cut": lambda: query(value()[:32]),
            "/sql/inner": lambda: query(json.loads(value())["name"]),
            "/sql/split": lambda: query(value().split("|")[1]),
            "/sql/order": lambda: self._run(f"SELECT id FROM users ORDER BY {value()}"),
            "/sql/bound": lambda: self._run("SELECT id FROM users WHERE name = ?", value()),
            "/shell/run": lambda: self._shell(lambda line: subprocess.run(line, shell=True), value()),
            "/shell/popen": lambda: self._shell(lambda line: os.popen(line).close(), value()),  # noqa: TID251
            "/shell/list": lambda: self._shell(lambda line: subprocess.run(["sh", "-c", line]), value()),
            "/file/open": lambda: self._opened(self._in_files(value())),
            "/file/pathlib": lambda: self._took((self._files / value()).read_text()),
            "/file/send": lambda: self._sent(self._in_files(value())),
            "/file/os": lambda: self._read_descriptor(self._in_files(value())),
            "/file/stat": lambda: self._took(str(os.stat(self._in_files(value())).st_size)),
            "/eval": lambda: self._took(str(eval(value()))),
            "/template": lambda: self._took(flask.render_template_string(f"Hello {value()}")),
            "/pickle": lambda: self._took(str(pickle.loads(base64.b64decode(value())))),
            "/redirect": lambda: flask.redirect(value()),
            "/page": lambda: f"<html><body><p>{value()}</p></body></html>",
            "/fetch/urllib": lambda: self._fetched(value()),
            "/fetch/httpx": lambda: httpx.get(value(), trust_env=False).text,
        }
        for rule, view in routes.items():
            self._app.add_url_rule(rule, rule, view, methods=["GET", "POST"])

    def _query(self, name: str, connect: Callable[..., sqlite3.Connection] | None = None) -> str:
        database = (connect or sqlite3.connect)(self._database)
        database.set_trace_callback(self.done.append)
        try:
            return str(database.execute(f"SELECT id FROM users WHERE name = '{name}'").fetchall())
        finally:
            database.close()

    def _run(self, statement: str, *values: str) -> str:
        database = sqlite3.connect(self._database)
        database.set_trace_callback(self.done.append)
        try:
            return str(database.execute(statement, values).fetchall())
        finally:
            database.close()

    def _stream(self, name: str) -> Iterator[str]:
        yield self._query(name)

    def _caught(self, name: str) -> str:
        try:
            return self._query(name)
        except Exception:
            return "fallback"

    def _in_thread(self, name: str) -> str:
        answers: list[str] = []
        thread = threading.Thread(target=lambda: answers.append(self._query(name)))
        thread.start()
        thread.join()
        return str(answers)

    def _by_engine(self, name: str) -> str:
        with self._engine.connect() as connection:
            statement = sqlalchemy.text(f"SELECT id FROM users WHERE name = '{name}'")
            return str(connection.execute(statement).all())

    def _note_engine(self, *event: Any) -> None:
        self.done.append(event[2])

    def _shell(self, run: Callable[[str], object], name: str) -> str:
        run(f"echo {name} > /dev/null")
        return "ok"

    def _in_files(self, name: str) -> str:
        return f"{self._files}/{name}"

    def _took(self, text: str) -> str:
        """Something was read or computed from input: the harm is done."""
        self.done.append(text)
        return text

    def _opened(self, path: str) -> str:
        with open(path) as file:
            return self._took(file.read())

    def _sent(self, path: str) -> flask.Response:
        response = flask.send_file(path)
        self.done.append(path)
        return response

    def _read_descriptor(self, path: str) -> str:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return self._took(os.read(descriptor, 100).decode())
        finally:
            os.close(descriptor)

    def _fetched(self, url: str) -> str:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
