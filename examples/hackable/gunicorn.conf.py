"""How a version is served: loopback only, one process with four threads, no access log."""

import os

bind = f"127.0.0.1:{os.environ.get('PORT', '8080')}"
worker_class = "gthread"
workers = 1
threads = 4
accesslog = None
control_socket_disable = True
loglevel = "info"
graceful_timeout = 5
# Longer than a gateway keeps an idle connection, so that it is not closed under a request on its way.
keepalive = 75
