"""Errors as answers: one JSON shape for all of them, and which error has which status.

The caller's errors say what was wrong and where; ours say only an id, which the log has as well.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from divertor.api.answers import json_response
from divertor.errors import (
    ConflictError,
    DivertorError,
    InputError,
    NotFoundError,
    Position,
    UnavailableError,
)
from divertor.ingest import TooLargeError

#: Seconds after which a caller may try again when something Divertor needs does not answer.
RETRY_AFTER = "1"

_STATUS: dict[type[DivertorError], int] = {
    InputError: 400,
    NotFoundError: 404,
    ConflictError: 409,
    TooLargeError: 413,
    UnavailableError: 503,
}


class RefusedError(DivertorError):
    """A request that HTTP itself has a status for (415, 408)."""

    def __init__(self, status: int, message: str, expected: str = "") -> None:
        self.status = status
        self.message = message
        self.expected = expected
        super().__init__(message)


def problem(message: str, where: Position | None = None, expected: str = "", **more: str) -> dict[str, Any]:
    """The one shape of an error. `line` and `column` count from 1; 0 means unknown."""
    place = where or Position("")
    return {
        "message": message,
        "source": place.source,
        "line": place.line,
        "column": place.column,
        "expected": expected,
        **more,
    }


def refusal(status: int, message: str, expected: str = "", headers: dict[str, str] | None = None) -> Response:
    """An error as an answer."""
    return json_response(problem(message, expected=expected), status, headers)


def response_to(error: DivertorError) -> Response:
    """The answer to one of the errors of `divertor.errors`, or `RefusedError`."""
    if isinstance(error, InputError):
        return json_response(problem(error.message, error.position, error.expected), 400)
    if isinstance(error, RefusedError):
        return refusal(error.status, error.message, error.expected)
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 400)
    headers = {"retry-after": RETRY_AFTER} if status == 503 else None
    return refusal(status, str(error), headers=headers)


def install(app: FastAPI) -> None:
    """Answers of this shape for everything that a route may raise."""

    async def divertor_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, DivertorError)
        return response_to(error)

    app.add_exception_handler(DivertorError, divertor_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _parameter_error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    return refusal(error.status_code, str(error.detail), headers.get("allow", ""), headers)


async def _parameter_error(request: Request, error: Exception) -> Response:
    """A query or path parameter out of its bounds."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place, *path = first["loc"]
    name = f"{place} parameter {'.'.join(str(part) for part in path)}"
    return json_response(problem(str(first["msg"]), Position(name)), 400)
