"""Which part of the requests isolated clients make."""

from __future__ import annotations

from datetime import UTC, datetime

from divertor.control.shares import Shares
from divertor.gateway.access import Seen


def seen(kind: str = "isolated", scope: str = "a/web") -> Seen:
    return Seen("i", kind, datetime(2026, 1, 1, tzinfo=UTC), scope, (), None, {})


class Here:
    """A scope that got `requests` in the last minute, at `now`."""

    def __init__(self, requests: int = 200) -> None:
        self.now = 0.0
        self.requests = requests
        self.shares = Shares(lambda _scope: self.requests, lambda: self.now)


def test_isolated_and_diverted_requests_are_a_part_of_all() -> None:
    here = Here()
    here.shares.take([seen()] * 10 + [seen("diverted")] * 10 + [seen("refused")] * 5)
    assert here.shares.of("a/web") == 0.1


def test_scopes_are_apart() -> None:
    here = Here()
    here.shares.take([seen(scope="b/web")] * 10)
    assert (here.shares.of("a/web"), here.shares.of("b/web")) == (0.0, 0.05)


def test_what_was_a_minute_ago_does_not_count() -> None:
    here = Here()
    for here.now in (0.5, 30.0):
        here.shares.take([seen()] * 10)
    here.now = 59.9
    assert here.shares.of("a/web") == 0.1
    here.now = 60.5
    assert here.shares.of("a/web") == 0.05
    here.now = 90.0
    assert here.shares.of("a/web") == 0.0


def test_of_a_few_requests_nothing_is_said() -> None:
    here = Here(requests=99)
    here.shares.take([seen()] * 50)
    assert here.shares.of("a/web") is None


def test_a_flood_is_counted_whole_in_the_room_of_a_minute() -> None:
    here = Here(requests=600_000)
    for second in range(120):
        here.now = float(second)
        here.shares.take([seen()] * 2500)
    assert here.shares.of("a/web") == 0.25
    assert len(here.shares._seen["a/web"]) == 60
