"""The gate every request passes: who asks, from where, and what if answering fails.

An ASGI middleware around the whole application. It refuses names that are not ours (DNS rebinding), changes
asked for by other sites' pages (cross-site requests), and callers without a good token; it adds the security
headers; and it is the boundary where a fault of ours becomes a 500 with an id, and a line in the log. What a
route does is none of its business.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from divertor.api.answers import json_response
from divertor.api.auth import Auth, may
from divertor.api.problems import problem, refusal

log = logging.getLogger("divertor.api")

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_PUBLIC = frozenset({"/api/v1/health", "/openapi.json", "/docs"})
_PUBLIC_PREFIX = "/docs/"
_SAFE = frozenset({"GET", "HEAD"})
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    """Around `app`. `hosts` are the names, beside loopback's, under which the API may be asked."""

    def __init__(self, app: ASGIApp, auth: Auth, hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._auth = auth
        self._hosts = frozenset(name.lower() for name in (*LOOPBACK, *hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        secured = _Secured(send)
        refused = self._refused(scope)
        if refused is not None:
            await refused(scope, receive, secured)
        else:
            await self._answered(scope, receive, secured)

    def _refused(self, scope: Scope) -> Response | None:
        """Why not, or None. The host is checked even for what is public."""
        headers = Headers(scope=scope)
        method, path = str(scope["method"]), str(scope["path"])
        names = headers.getlist("host")
        if len(names) != 1 or _without_port(names[0]) not in self._hosts:
            return refusal(421, "this is not a name of the API", ", ".join(sorted(self._hosts)))
        if method not in _SAFE and _is_cross_site(headers, str(scope["scheme"]), names[0]):
            return refusal(403, "the request comes from a page of another site")
        if method in _SAFE and (path in _PUBLIC or path.startswith(_PUBLIC_PREFIX)):
            return None
        return self._unauthorized(scope, headers, method, path)

    def _unauthorized(self, scope: Scope, headers: Headers, method: str, path: str) -> Response | None:
        given = headers.getlist("authorization")
        principal = self._auth.identify(given[0].encode("latin-1")) if len(given) == 1 else None
        if principal is None:
            log.warning("a request without a good token: %s %r", method[:16], path[:200])
            challenge = 'Bearer realm="divertor"' + (', error="invalid_token"' if given else "")
            return refusal(
                401,
                "no good token",
                "the header Authorization: Bearer TOKEN",
                {"www-authenticate": challenge},
            )
        if not may(principal.role, method, path):
            return refusal(403, f"an {principal.role} token may only write events", "an admin token")
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["by"] = principal.name
        return None

    async def _answered(self, scope: Scope, receive: Receive, send: _Secured) -> None:
        try:
            await self._app(scope, receive, send)
        except ClientDisconnect:
            return  # nobody is left to be told
        except Exception:
            id = secrets.token_hex(6)
            log.exception("fault %s: %s %r", id, scope["method"], str(scope["path"])[:200])
            if send.started:
                raise  # half an answer: only closing the connection can say so
            body = problem(f"Divertor made a mistake; its log says more under {id}", id=id)
            await json_response(body, 500)(scope, receive, send)


class _Secured:
    """`send` with the security headers; a header that a route has set itself stays."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)


def _without_port(host: str) -> str:
    """`localhost:9090` → `localhost`, `[::1]:9090` → `[::1]`."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() and port.isascii() else host.lower()


def _is_cross_site(headers: Headers, scheme: str, host: str) -> bool:
    """A browser always says where a change comes from; other clients say nothing."""
    site = headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    return origin is not None and origin.lower() != f"{scheme}://{host.lower()}"
