"""The errors a user of Divertor can cause, and how they are told: what, where, what was expected.

Nothing here knows how an error is shown; the CLI and the API do that.
"""

from __future__ import annotations

from dataclasses import dataclass


class DivertorError(Exception):
    """Base of every error that is the caller's or the world's, never a bug of ours."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a text the user wrote. `line` and `column` count from 1; 0 means unknown."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.source
        return f"{self.source}:{self.line}:{self.column}"


class InputError(DivertorError):
    """A document, condition, rule or request that cannot be understood exactly.

    It is refused as a whole; what was running before stays as it was.
    """

    def __init__(self, message: str, position: Position, expected: str = "") -> None:
        self.message = message
        self.position = position
        self.expected = expected
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.position}: {self.message}"
        return f"{text}; expected {self.expected}" if self.expected else text


class NotFoundError(DivertorError):
    """Something named by the caller does not exist."""


class ConflictError(DivertorError):
    """The request is well formed but does not fit what is running (a port taken, a weight sum)."""


class LimitError(DivertorError):
    """A bound that protects customers from a rule gone wrong has been reached; people have to look."""


class UnavailableError(DivertorError):
    """A part of the world Divertor needs does not answer (NATS down, disk full, a binary missing)."""
