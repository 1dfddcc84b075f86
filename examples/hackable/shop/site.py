"""The pages and the frame around them that every version has: layout, sign-in state, comments, errors.

`create_site` returns a Flask application without login, search, download and ping; the functions below it are
what a version writes those with. Everything in here binds its parameters and escapes its output.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flask import Flask, Response, current_app, g, make_response, redirect, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from shop.database import StatementLog, open_database, set_up
from shop.sessions import SessionStore, is_id, new_id
from shop.settings import Places, places_of

SESSION_COOKIE = "session"
MAX_BODY = 64 * 1024
MAX_COMMENT = 500
#: Comments shown, and comments kept.
SHOWN_COMMENTS, KEPT_COMMENTS = 50, 200

_EXTENSION = "hackable"


@dataclass(frozen=True, slots=True)
class _Site:
    database: Path
    log: StatementLog
    sessions: SessionStore


def create_site(
    version: str, level: str, hash_password: Callable[[str], str], environ: Mapping[str, str] = os.environ
) -> Flask:
    """The application of one version: its files are made if need be, `level` is shown on every page.

    :raises OSError: a directory or the log cannot be made.
    :raises sqlite3.Error: a database cannot be made.
    """
    app = Flask("hackable", root_path=str(Path(__file__).resolve().parent), static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=MAX_BODY, MAX_FORM_MEMORY_SIZE=MAX_BODY)
    app.extensions[_EXTENSION] = _prepare(places_of(environ, version), hash_password)
    app.context_processor(lambda: {"version": version, "level": level, "visitor": visitor})
    app.add_template_filter(_price, "price")
    app.before_request(_recognise)
    app.after_request(_remember)
    app.teardown_appcontext(_close_database)
    app.register_error_handler(HTTPException, _show_error)
    app.register_error_handler(sqlite3.Error, _show_database_error)
    app.add_url_rule("/", view_func=home)
    app.add_url_rule("/login", view_func=login_form, methods=["GET"])
    app.add_url_rule("/logout", view_func=logout, methods=["GET", "POST"])
    app.add_url_rule("/comments", view_func=comments, methods=["GET"])
    app.add_url_rule("/comments", view_func=add_comment, methods=["POST"])
    app.add_url_rule("/health", view_func=health)
    return app


def _prepare(places: Places, hash_password: Callable[[str], str]) -> _Site:
    places.data.mkdir(parents=True, exist_ok=True)
    places.sessions.parent.mkdir(parents=True, exist_ok=True)
    path = places.data / "shop.sqlite"
    set_up(path, hash_password)
    return _Site(path, StatementLog(places.data / "statements.log"), SessionStore(places.sessions))


def database() -> sqlite3.Connection:
    """This request's connection to the version's database."""
    if "database" not in g:
        site = _site()
        g.database = open_database(site.database, site.log)
    connection: sqlite3.Connection = g.database
    return connection


def visitor() -> str | None:
    """The name of whoever is signed in; None for a guest."""
    if "visitor" not in g:
        user = _site().sessions.user_of(g.session)
        g.visitor = None if user is None else _name_of(user)
    name: str | None = g.visitor
    return name


def log_in(user: int) -> ResponseReturnValue:
    """Sign the user with this id in and go to the front page; `refuse_login` when there is no such user."""
    if _name_of(user) is None:
        return refuse_login()
    g.session = _site().sessions.start(user, instead_of=g.session)
    return redirect("/", 303)


def refuse_login() -> ResponseReturnValue:
    """The login form again, saying that it did not work but not why."""
    return render_template("login.html", failed=True)


def show_search(query: str, products: Sequence[sqlite3.Row]) -> ResponseReturnValue:
    """The search page. `query` is escaped, unless it is already markup."""
    return render_template("search.html", query=query, products=products)


def show_ping(host: str = "", output: str = "", problem: str = "") -> ResponseReturnValue:
    """The ping form, with what ping printed or what is wrong with the host."""
    return render_template("ping.html", host=host, output=output, problem=problem)


def send_brochure(content: bytes) -> ResponseReturnValue:
    """A brochure as plain text."""
    return Response(content, mimetype="text/plain")


def home() -> ResponseReturnValue:
    products = database().execute("SELECT symbol, name, price, blurb, brochure FROM products ORDER BY id")
    return render_template("home.html", products=products.fetchall())


def login_form() -> ResponseReturnValue:
    return render_template("login.html", failed=False)


def logout() -> ResponseReturnValue:
    _site().sessions.end(g.session)
    return redirect("/", 303)


def comments() -> ResponseReturnValue:
    return _show_comments("")


def add_comment() -> ResponseReturnValue:
    text = request.form.get("text", "").strip()
    if not text:
        return _show_comments("There is nothing in that comment yet.")
    if len(text) > MAX_COMMENT:
        return _show_comments(f"That is more than {MAX_COMMENT} characters.")
    added = database().execute(
        "INSERT INTO comments (author, text) VALUES (?, ?)", (visitor() or "a guest", text)
    )
    database().execute("DELETE FROM comments WHERE id <= ?", ((added.lastrowid or 0) - KEPT_COMMENTS,))
    return redirect("/comments", 303)


def health() -> ResponseReturnValue:
    """Whether the version can serve: it is asked by machines, so it is no page and starts no session."""
    database().execute("SELECT count(*) FROM products").fetchone()
    return Response("ok\n", mimetype="text/plain")


def _show_comments(problem: str) -> ResponseReturnValue:
    newest = database().execute(
        "SELECT author, text FROM comments ORDER BY id DESC LIMIT ?", (SHOWN_COMMENTS,)
    )
    return render_template("comments.html", comments=newest.fetchall(), problem=problem, limit=MAX_COMMENT)


def _site() -> _Site:
    site: _Site = current_app.extensions[_EXTENSION]
    return site


def _name_of(user: int) -> str | None:
    row = database().execute("SELECT name FROM users WHERE id = ?", (user,)).fetchone()
    return None if row is None else str(row["name"])


def _price(cents: object) -> str:
    return f"€ {cents / 100:,.2f}" if isinstance(cents, int) else str(cents)


def _recognise() -> None:
    given = request.cookies.get(SESSION_COOKIE, "")
    g.session = given if is_id(given) else new_id()


def _remember(response: Response) -> Response:
    session = g.get("session")
    if session and request.path != "/health" and request.cookies.get(SESSION_COOKIE) != session:
        response.set_cookie(SESSION_COOKIE, session, httponly=True, samesite="Lax")
    return response


def _close_database(_problem: BaseException | None) -> None:
    connection = g.pop("database", None)
    if connection is not None:
        connection.close()


def _show_error(problem: HTTPException) -> ResponseReturnValue:
    if problem.response is not None:
        return problem.response
    page = make_response(render_template("error.html", name=problem.name, text=problem.description))
    page.status_code = problem.code or 500
    return page


def _show_database_error(problem: sqlite3.Error) -> ResponseReturnValue:
    current_app.logger.error("the database refused a statement: %s", type(problem).__name__)
    text = "Our database did not understand that. Please try it in other words."
    return render_template("error.html", name="Something went wrong", text=text), 500
