"""Which sessions a user has, as the sensors report them: so that isolating a user isolates his sessions.

A live session id is as good as a password, so what is reported here is kept in memory only, within bounds,
and goes neither into the event store nor to the rules. After a restart the sensors say it again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from divertor.control.attackers import scope_of, value_of
from divertor.errors import InputError
from divertor.isolation.keys import SESSIONS
from divertor.model.artifacts import IsolationPolicy
from divertor.model.events import Event
from divertor.model.isolation import KeySelector

#: The event name of a log record that only says which session is whose.
SESSION = "divertor.session"
#: Sessions kept of one user, the newest; characters kept of all of them.
SESSIONS_EACH = 32
ROOM = 32 << 20
#: Longest user id, and longest session key.
MAX_USER = 256
MAX_KEY = 4096

Key = tuple[KeySelector, str]


class Users:
    """The sessions by scope and user. `follow` is told of each: it isolates those of isolated users."""

    def __init__(
        self,
        policies: Callable[[], Mapping[str, IsolationPolicy]],
        follow: Callable[[str, str, Iterable[Key]], Awaitable[None]],
    ) -> None:
        self._policies = policies
        self._follow = follow
        self._users: OrderedDict[tuple[str, str], OrderedDict[Key, None]] = OrderedDict()
        self._size = 0

    def sessions(self, scope: str, user: str) -> Sequence[Key]:
        """The session keys that a user was last seen with, oldest first."""
        return list(self._users.get((scope, user), ()))

    async def take(self, events: Sequence[Event]) -> list[Event]:
        """Learns from events; answers with those that are more than a report of a session."""
        policies = self._policies()
        for event in events:
            if event.get("user.id"):
                await self._learn(event, policies)
        return [event for event in events if event.get("event.name") != SESSION]

    async def _learn(self, event: Event, policies: Mapping[str, IsolationPolicy]) -> None:
        user = str(event.get("user.id"))
        try:
            scope = scope_of(event, policies)
        except InputError:
            return
        selectors = (key for key in policies[scope].keys if key.kind in SESSIONS)
        keys = [(key, value) for key in selectors if 0 < len(value := value_of(event, key)) <= MAX_KEY]
        if not keys or len(user) > MAX_USER:
            return
        self._enter((scope, user), keys)
        await self._follow(scope, user, keys)

    def _enter(self, user: tuple[str, str], keys: Iterable[Key]) -> None:
        known = self._users.setdefault(user, OrderedDict())
        self._users.move_to_end(user)
        for key in keys:
            if key not in known:
                self._size += len(key[1])
            known[key] = None
            known.move_to_end(key)
        while len(known) > SESSIONS_EACH:
            (_, value), _ = known.popitem(last=False)
            self._size -= len(value)
        while self._size > ROOM and len(self._users) > 1:
            _, gone = self._users.popitem(last=False)
            self._size -= sum(len(value) for _, value in gone)
