"""Deliveries that wait as values: which are asked for, and what is told of one. Pure; looking them up is
`divertor.control.deliveries`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal, TypeAlias

#: Deliveries that one request drops, and that one tries now.
MOST_DROPPED, MOST_TRIED = 5_000, 1_000

State: TypeAlias = Literal["waiting", "sending", "failing"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which deliveries: those that are of all that is given."""

    rule: str = ""
    alerter: str = ""
    alarm: str = ""
    state: State | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing is given."""
        return self == Wanted()

    def __str__(self) -> str:
        given = {name: value for name, value in asdict(self).items() if value}
        return ", ".join(f"{name} {value}" for name, value in given.items()) or "all"


@dataclass(frozen=True, slots=True)
class Shown:
    """A delivery that waits. `next_try` None: not before an earlier one about its alarm arrived; `until` is
    when it is given up, None when the rule is gone and does not say; `target` is "" when nothing tells.
    """

    id: str
    rule: str
    is_gone: bool
    alerter: str
    target: str
    alarm: str
    state: State
    attempts: int
    error: str
    created: datetime
    next_try: datetime | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Done:
    """How many deliveries a request was about, and how many more of the same kind wait."""

    count: int
    left: int
