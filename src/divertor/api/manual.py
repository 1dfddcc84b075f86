"""`/docs`: the API's description, readable in a browser, without the internet.

The page's script and style come from the `fastapi-offline` package, which carries a current Swagger UI; only
its files are used. Nothing else is loaded, nothing runs that is not a file of this server, and a token typed
into the page is forgotten when it is closed.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Divertor API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" href="data:,">
<div id="ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
"""
_START = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#ui",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
  validatorUrl: null,
  persistAuthorization: false,
});
"""
_ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}


def routes() -> list[Route]:
    """The page and its files."""
    return [
        Route("/docs", _page, methods=["GET"]),
        Route("/docs/start.js", _start, methods=["GET"]),
        Route("/docs/{name}", _asset, methods=["GET"]),
    ]


async def _page(request: Request) -> Response:
    headers = {"content-security-policy": _POLICY}
    return Response(_PAGE, headers=headers, media_type="text/html")


async def _start(request: Request) -> Response:
    return Response(_START, media_type="text/javascript")


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _ASSETS:
        raise HTTPException(404, "no such file")
    return FileResponse(
        _folder() / name, media_type=_ASSETS[name], headers={"cache-control": "max-age=86400"}
    )


def _folder() -> Path:
    """Where the package's files are; it is found, not imported: its code is not needed."""
    spec = find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        raise HTTPException(404, "the fastapi-offline package is not installed")
    return Path(spec.origin).parent / "static"
