"""`python -m divertor.plane.rules STATE [NAME] [FOLDER]`: a worker that judges events and delivers alerts.

It runs beside the control plane's own worker or instead of it (`judges: false` in the settings), and there
may be several: one leads, the others follow the same stream and take over when it dies. What only the control
plane can do (isolate, release) it finds in the outbox. The worker's NAME stands for its checkpoint; without
one the first free name is taken. FOLDER holds rule files, instead of those of the settings.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

from divertor.alerts import Deeds, new_client, standard_alerters
from divertor.bus import Bus, State
from divertor.collecting import collect_rarely
from divertor.control.rules import Rules
from divertor.errors import ConflictError, InputError, Position, UnavailableError
from divertor.layout import Layout
from divertor.model.events import Event
from divertor.plane import ending
from divertor.rules import IsolateOptions, Match
from divertor.rules.reading.actions import ReleaseOptions

log = logging.getLogger("divertor.rules")

#: Alerts that only the control plane can carry out.
ELSEWHERE = frozenset({"isolate", "release"})
BUS_TIMEOUT = 30.0
MAX_WORKERS = 100


def main() -> int:
    if not 2 <= len(sys.argv) <= 4:
        print("usage: python -m divertor.plane.rules STATE [NAME] [FOLDER]", file=sys.stderr)
        return 2
    name, folder = (*sys.argv[2:], "", "")[:2]
    return run(Layout(Path(sys.argv[1])), name, folder)


def run(layout: Layout, name: str = "", folder: str = "") -> int:
    """A worker of this installation until SIGTERM or SIGINT; the exit status, as `ending` gives it."""
    os.umask(0o077)
    collect_rarely()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return ending.run(lambda: serve(layout, name, folder))


async def serve(layout: Layout, name: str = "", folder: str = "") -> None:
    """Judges and delivers until cancelled.

    :raises UnavailableError: the broker does not answer, or the disk refuses.
    :raises InputError: a rule is not understood.
    :raises ConflictError: another process is the worker of that name.
    """
    settings, secrets = layout.read_settings(), layout.read_secrets()
    where = folder or settings.rules
    with named(layout.checkpoints, name) as me:
        async with connected(settings.nats_port, secrets.nats_password, me) as bus, new_client() as client:
            world = _World(bus)
            deeds = Deeds(_isolate_elsewhere, _release_elsewhere, world.publish, _wall)
            alerters = {
                known: alerter
                for known, alerter in standard_alerters(
                    client, deeds, logging.getLogger("divertor.alerts"), settings.links
                ).items()
                if known not in ELSEWHERE
            }
            rules = Rules(
                State(bus),
                bus,
                None,
                alerters,
                world.publish,
                _isolate_elsewhere,
                _wall,
                folder=layout.checkpoints,
                name=me,
                elsewhere=ELSEWHERE,
                trouble=world.trouble,
            )
            await rules.load(Path(where) if where else None)
            log.info("%s judges %d rules", me, len(rules.list()))
            await rules.run()


class _World:
    """What the worker says of itself, on the bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._telling: set[asyncio.Task[None]] = set()

    async def publish(self, events: list[Event]) -> None:
        """:raises UnavailableError: the broker does not answer."""
        await self._bus.publish(events)

    def trouble(self, message: str) -> None:
        """Something a person should know."""
        log.error("%s", message)
        now = _wall()
        identity = blake2b(f"{now.timestamp()}{message}".encode(), digest_size=16).hexdigest()
        body = {"message": message}
        event = Event(identity, "trouble", now, now, ("divertor-trouble",), ("trouble",), None, body)
        task = asyncio.ensure_future(self._tell(event))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, event: Event) -> None:
        with contextlib.suppress(UnavailableError):
            await self._bus.publish([event])


@asynccontextmanager
async def connected(port: int, password: str, name: str) -> AsyncIterator[Bus]:
    """:raises UnavailableError: the broker does not answer."""
    bus = await Bus.connect(f"nats://127.0.0.1:{port}", password, f"rules {name}", timeout=BUS_TIMEOUT)
    try:
        yield bus
    finally:
        await bus.close()


@contextmanager
def named(folder: Path, name: str) -> Iterator[str]:
    """The name of a worker, which nobody else has while the block runs; the first free one if none is given.

    :raises ConflictError: another process has it.
    :raises InputError: it is no name for a file.
    :raises UnavailableError: the disk refuses.
    """
    if name and (
        not name.replace("-", "").isalnum() or not name.isascii() or len(name) > 60 or name == "plane"
    ):
        raise InputError(f"the worker's name {name[:80]!r}", Position("name"), "letters, digits and -")
    names = [name] if name else [f"worker-{number}" for number in range(1, MAX_WORKERS + 1)]
    for candidate in names:
        descriptor = _locked(folder, candidate)
        if descriptor is None:
            continue
        try:
            yield candidate
        finally:
            os.close(descriptor)
        return
    raise ConflictError(
        f"another process is the worker {name!r}" if name else f"{MAX_WORKERS} workers run already"
    )


def _locked(folder: Path, name: str) -> int | None:
    """The lock of a name, which ends with the process; None when it is taken."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise UnavailableError(f"{problem.filename}: {problem.strerror}") from problem
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


async def _isolate_elsewhere(_match: Match, _options: IsolateOptions) -> None:
    raise UnavailableError("only the control plane isolates")


async def _release_elsewhere(_match: Match, _options: ReleaseOptions) -> None:
    raise UnavailableError("only the control plane releases")


def _wall() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    ending.leave(main())
