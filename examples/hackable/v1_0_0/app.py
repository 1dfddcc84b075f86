"""hackable 1.0.0, "Level: impossible": the audited version. The same site as 1.1.0, written safely.

Statements bind their parameters, the templates escape, brochures come from a list, and ping gets a validated
host as one argument of its own, without a shell.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import subprocess

from flask import Response, abort, request
from flask.typing import ResponseReturnValue
from werkzeug.security import check_password_hash, generate_password_hash

from shop import (
    BROCHURE_NAMES,
    BROCHURES,
    create_site,
    database,
    log_in,
    refuse_login,
    send_brochure,
    show_ping,
    show_search,
)

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
# Checked when there is no such user, so that the answer takes as long as for a wrong password.
_NOBODY = generate_password_hash(secrets.token_hex(16))

app = create_site("1.0.0", "impossible", generate_password_hash)


@app.post("/login")
def login() -> ResponseReturnValue:
    name, password = request.form.get("username", ""), request.form.get("password", "")
    user = database().execute("SELECT id, password FROM users WHERE name = ?", (name,)).fetchone()
    right = check_password_hash(user["password"] if user else _NOBODY, password)
    return log_in(user["id"]) if user and right else refuse_login()


@app.get("/search")
def search() -> ResponseReturnValue:
    query = request.args.get("q", "")
    found = database().execute(
        "SELECT symbol, name, price, blurb, brochure FROM products"
        " WHERE instr(lower(name), lower(?)) ORDER BY name",
        (query,),
    )
    return show_search(query, found.fetchall())


@app.get("/download")
def download() -> ResponseReturnValue:
    name = request.args.get("file", "")
    if name not in BROCHURE_NAMES:
        abort(404, "There is no such brochure.")
    return send_brochure((BROCHURES / name).read_bytes())


@app.get("/tools/ping")
def ping_form() -> ResponseReturnValue:
    return show_ping()


@app.post("/tools/ping")
def ping() -> ResponseReturnValue:
    host = request.form.get("host", "").strip()
    if not host:
        return show_ping(problem="Which host?")
    if not is_host(host):
        return show_ping(host, problem="That is neither a host name nor an address.")
    command = ["ping", "-c", "1", "-W", "2", "--", host]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=10)
    except FileNotFoundError:
        return show_ping(host, problem="There is no ping on this machine.")
    except (OSError, subprocess.TimeoutExpired):
        return show_ping(host, problem="That took too long, or could not be run.")
    return show_ping(host, done.stdout.decode(errors="replace")[:4000])


@app.after_request
def harden(response: Response) -> Response:
    """Nothing but our own inline style may be loaded, run or framed."""
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:;"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def is_host(text: str) -> bool:
    """Whether `text` is an IP address, or a host name as RFC 1123 (2.1) writes it."""
    if len(text) > 253:
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return all(_LABEL.fullmatch(label) for label in text.split("."))
    # A zone (fe80::1%eth0) may hold anything.
    return "%" not in text
