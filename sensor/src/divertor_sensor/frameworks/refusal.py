"""The response that takes the place of an interrupted request's: the gateway's signal to replay it, or a
refusal.
"""

from __future__ import annotations

from dataclasses import dataclass

from divertor_sensor.request import Request
from divertor_sensor.sensor import TOKEN_HEADER

_PAGE = b"This request was refused.\n"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A complete response; it tells nothing about the app or the reason."""

    status: int
    phrase: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def refusal_for(request: Request) -> Refusal:
    """`307` to the original URL with the divert token when a gateway can replay the request, else `403`."""
    target = request.sensor.divert_target(request)
    if target:
        replay = (
            ("location", target),
            (TOKEN_HEADER, request.sensor.settings.divert_token),
            ("cache-control", "no-store"),
            ("content-length", "0"),
        )
        return Refusal(307, "Temporary Redirect", replay, b"")
    headers = (
        ("content-type", "text/plain; charset=utf-8"),
        ("cache-control", "no-store"),
        ("content-length", str(len(_PAGE))),
    )
    return Refusal(403, "Forbidden", headers, _PAGE)
