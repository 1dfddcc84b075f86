"""Starts the plain WSGI app in a server of the standard library or of Werkzeug: `… SERVER PORT`."""

from __future__ import annotations

import sys
from wsgiref.simple_server import make_server

from .plain_wsgi import app

if __name__ == "__main__":
    server, port = sys.argv[1], int(sys.argv[2])
    if server == "wsgiref":
        make_server("127.0.0.1", port, app).serve_forever()
    else:
        from werkzeug.serving import run_simple

        run_simple("127.0.0.1", port, app)
