"""The socket and its client: what is asked, what is refused, and what happens when the other side goes."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from divertor.errors import ConflictError, NotFoundError, UnavailableError
from divertor.runtime import control
from divertor.runtime.client import SupervisorClient
from divertor.runtime.control import SOCKET
from divertor.runtime.process import ProcessState
from divertor.runtime.supervisor import Supervisor

if TYPE_CHECKING:
    from .conftest import Eventually, Program


async def _say(run_dir: Path, line: bytes) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(str(run_dir / SOCKET))
    writer.write(line + b"\n")
    answer: dict[str, Any] = json.loads(await reader.readline())
    writer.close()
    return answer


def test_a_group_is_applied_and_seen(tmp_path: Path, program: Program, eventually: Eventually) -> None:
    async def scenario() -> list[tuple[str, str, tuple[int, ...]]]:
        async with Supervisor(tmp_path / "run"):
            client = SupervisorClient(tmp_path / "run")
            await client.apply("apps", [program("a")])

            async def running() -> bool:
                return [status.state for status in await client.status()] == [ProcessState.RUNNING]

            await eventually(running)
            seen = [(status.name, status.group, status.listens) for status in await client.status()]
            await client.close()
            return seen

    assert asyncio.run(scenario()) == [("a", "apps", ())]


def test_changes_begin_with_what_is_there_and_go_on(tmp_path: Path, program: Program) -> None:
    async def scenario() -> list[tuple[str, ProcessState]]:
        async with Supervisor(tmp_path / "run") as owner:
            await owner.start(program("member"))
            client = SupervisorClient(tmp_path / "run")
            seen = []
            async for status in client.changes():
                seen.append((status.name, status.state))
                if len(seen) == 1:
                    await client.apply("apps", [program("a")])
                if len(seen) == 2:
                    break
            await client.close()
            return seen

    assert asyncio.run(scenario()) == [("member", ProcessState.RUNNING), ("a", ProcessState.RUNNING)]


def test_changes_go_on_with_the_next_supervisor(
    tmp_path: Path, program: Program, eventually: Eventually
) -> None:
    async def scenario() -> None:
        client = SupervisorClient(tmp_path / "run")
        seen: set[str] = set()

        async def follow() -> None:
            async for status in client.changes():
                seen.add(status.name)

        following = asyncio.create_task(follow())
        for name in ("first", "second"):
            async with Supervisor(tmp_path / "run") as owner:
                await owner.start(program(name))
                await eventually(partial(seen.__contains__, name))
        following.cancel()
        await asyncio.wait([following])

    asyncio.run(scenario())


def test_a_request_is_repeated_over_a_new_connection(tmp_path: Path, program: Program) -> None:
    async def scenario() -> list[str]:
        client = SupervisorClient(tmp_path / "run")
        async with Supervisor(tmp_path / "run"):
            await client.status()
        async with Supervisor(tmp_path / "run") as owner:
            await owner.start(program("member"))
            names = [status.name for status in await client.status()]
            await client.close()
            return names

    assert asyncio.run(scenario()) == ["member"]


def test_errors_arrive_as_what_they_are(tmp_path: Path, program: Program) -> None:
    async def scenario() -> None:
        async with Supervisor(tmp_path / "run") as owner:
            await owner.start(program("member"))
            client = SupervisorClient(tmp_path / "run")
            with pytest.raises(NotFoundError):
                await client.restart("ghost")
            with pytest.raises(ConflictError):
                await client.apply("apps", [program("member")])
            with pytest.raises(ConflictError, match="999 is no signal"):
                await client.signal("member", 999)
            await client.close()

    asyncio.run(scenario())


def test_no_supervisor_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no supervisor answers in"):
        asyncio.run(SupervisorClient(tmp_path).status())


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"hello", "Expecting value: line 1 column 1 (char 0)"),
        (b"[1]", "a request must be a JSON object"),
        (b"{}", "unknown operation; expected one of apply, restart, signal, status, subscribe"),
        (b'{"op": "apply", "group": "g"}', "`processes` must be a list"),
        (b'{"op": "apply", "group": "g", "processes": [1]}', "a process must be a JSON object"),
        (b'{"op": "restart", "name": 1}', "`name` must be a text"),
        (b'{"op": "signal", "name": "a", "signal": "9"}', "`signal` must be a signal's number"),
        (b"[" * 100_000, ""),
    ],
)
def test_a_request_that_is_not_understood_is_refused(tmp_path: Path, line: bytes, error: str) -> None:
    async def scenario() -> dict[str, Any]:
        async with Supervisor(tmp_path / "run"):
            return await _say(tmp_path / "run", line)

    answer = asyncio.run(scenario())
    assert (answer["ok"], answer["kind"]) == (False, "input")
    assert answer["error"].startswith(error)


def test_an_endless_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_LINE", 1000)

    async def scenario() -> dict[str, Any]:
        async with Supervisor(tmp_path / "run"):
            return await _say(tmp_path / "run", b"x" * 5000)

    assert asyncio.run(scenario())["error"] == "a request is longer than 1000 bytes"


def test_a_deep_directory_is_no_obstacle(tmp_path: Path) -> None:
    """A Unix socket's own name holds 107 bytes at most."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)

    async def scenario() -> int:
        async with Supervisor(deep):
            client = SupervisorClient(deep)
            count = len(await client.status())
            await client.close()
            return count

    assert asyncio.run(scenario()) == 0


def test_only_the_owner_may_enter_the_directory(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o755)

    async def scenario() -> int:
        async with Supervisor(tmp_path / "run"):
            return (tmp_path / "run").stat().st_mode & 0o777

    assert asyncio.run(scenario()) == 0o700


def test_another_users_connection_is_closed_unanswered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_peer_user", lambda _writer: 12345)

    async def scenario() -> bytes:
        async with Supervisor(tmp_path / "run"):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "run" / SOCKET))
            writer.write(b'{"op": "status"}\n')
            try:
                return await reader.read()
            except ConnectionResetError:
                return b""
            finally:
                writer.close()

    assert asyncio.run(scenario()) == b""
