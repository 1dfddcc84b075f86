"""hackable 1.1.0, "Level: low": the newest version, in a hurry. Its five holes are real; never expose it.

Compare with `v1_0_0/app.py`, which does the same safely.
"""

from __future__ import annotations

import hashlib
import subprocess

from flask import abort, request
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from shop import BROCHURES, create_site, database, log_in, refuse_login, send_brochure, show_ping, show_search


def fingerprint(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


app = create_site("1.1.0", "low", fingerprint)


@app.post("/login")
def login() -> ResponseReturnValue:
    name, password = request.form.get("username", ""), fingerprint(request.form.get("password", ""))
    # CWE-89: SQL injection
    found = database().execute(
        f"SELECT id, name FROM users WHERE name = '{name}' AND password = '{password}'"
    )
    user = found.fetchone()
    return log_in(user["id"]) if user else refuse_login()


@app.get("/search")
def search() -> ResponseReturnValue:
    query = request.args.get("q", "")
    columns = "symbol, name, price, blurb, brochure"
    # CWE-89: SQL injection
    found = database().execute(f"SELECT {columns} FROM products WHERE name LIKE '%{query}%' ORDER BY name")
    # CWE-79: reflected cross-site scripting
    return show_search(Markup(query), found.fetchall())


@app.get("/download")
def download() -> ResponseReturnValue:
    name = request.args.get("file", "")
    try:
        # CWE-22: path traversal
        with open(f"{BROCHURES}/{name}", "rb") as file:
            return send_brochure(file.read(1024 * 1024))
    except (OSError, ValueError):
        abort(404, "There is no such brochure.")


@app.get("/tools/ping")
def ping_form() -> ResponseReturnValue:
    return show_ping()


@app.post("/tools/ping")
def ping() -> ResponseReturnValue:
    host = request.form.get("host", "").strip()
    if not host:
        return show_ping(problem="Which host?")
    try:
        # CWE-78: OS command injection
        done = subprocess.run(f"ping -c 1 -W 2 {host} 2>&1", shell=True, stdout=subprocess.PIPE, timeout=10)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return show_ping(host, problem="That took too long, or could not be run.")
    return show_ping(host, done.stdout.decode(errors="replace")[:4000])
