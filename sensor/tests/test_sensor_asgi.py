"""The ASGI side over plain apps, driven message by message."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from divertor_sensor import ConnectionCut, context
from divertor_sensor.frameworks.asgi import DivertorASGI
from divertor_sensor.reports.detection import Detection
from divertor_sensor.sensor import Sensor

ATTACK = "x' or '1'='1"
MakeSensor = Callable[..., Sensor]
Message = dict[str, Any]
ORIGIN = [(b"x-divertor-origin", b"https://shop.example/s?q=1")]
START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"set-cookie", b"a=b")]}


def part(body: bytes, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


def lookup(name: str = ATTACK) -> bytes:
    with sqlite3.connect(":memory:") as database:
        return repr(database.execute(f"select 1 where 'x' = '{name}'").fetchall()).encode()


def talk(app: Any, *incoming: Message, sent: list[Message] | None = None, **scope: Any) -> list[Message]:
    """Run one connection; returns what the server was given (also in `sent`, should it end badly)."""
    answers: list[Message] = [] if sent is None else sent
    queue = list(incoming) or [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        return queue.pop(0)

    async def send(message: Any) -> None:
        answers.append(dict(message))

    head = {
        "type": "http",
        "method": "GET",
        "path": "/s",
        "query_string": b"",
        "headers": [],
        "client": ("9.9.9.9", 1),
    }
    asyncio.run(app({**head, **scope}, receive, send))
    return answers


def attacked(make_sensor: MakeSensor, app: Any, **scope: Any) -> list[Message]:
    return talk(DivertorASGI(app, make_sensor()), query_string=b"q=x'+or+'1'%3D'1", **scope)


async def careless(scope: Any, receive: Any, send: Callable[[Message], Awaitable[None]]) -> None:
    body = lookup()
    await send(START)
    await send(part(body))


def test_an_honest_request_passes_message_by_message(make_sensor: MakeSensor) -> None:
    assert talk(DivertorASGI(careless, make_sensor())) == [START, part(b"[(1,)]")]


def test_an_attack_becomes_a_redirect_for_the_gateway(make_sensor: MakeSensor) -> None:
    start, end = attacked(make_sensor, careless, headers=ORIGIN)
    assert (start["status"], end) == (307, part(b""))
    assert dict(start["headers"]) == {
        b"location": b"https://shop.example/s?q=1",
        b"x-divertor-token": b"secret-token",
        b"cache-control": b"no-store",
        b"content-length": b"0",
    }


def test_without_a_gateway_an_attack_is_refused(make_sensor: MakeSensor) -> None:
    start, end = attacked(make_sensor, careless)
    assert (start["status"], end["body"]) == (403, b"This request was refused.\n")


def test_an_app_that_swallows_the_interruption_is_overruled_once(make_sensor: MakeSensor) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            lookup()
        except BaseException:
            await send(START)
            await send(part(b"all is well"))

    assert [message.get("status") for message in attacked(make_sensor, app)] == [403, None]


def test_an_interruption_inside_a_task_group_is_recognised(make_sensor: MakeSensor) -> None:
    async def work() -> None:
        lookup()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(work())

    assert attacked(make_sensor, app)[0]["status"] == 403


def test_an_attack_between_head_and_body_can_still_be_diverted(make_sensor: MakeSensor) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(part(lookup()))

    assert attacked(make_sensor, app, headers=ORIGIN)[0]["status"] == 307


def test_an_attack_in_the_middle_of_a_response_cuts_it(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    sent: list[Message] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(part(b"first", more=True))
        await send(part(lookup()))

    with pytest.raises(ConnectionCut):
        attacked(make_sensor, app, headers=ORIGIN, sent=sent)
    assert sent == [START, part(b"first", more=True)] and kept[0].outcome == "blocked"


def test_an_attack_after_the_response_is_stopped_and_changes_nothing(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(part(b"done"))
        lookup()

    assert attacked(make_sensor, app, headers=ORIGIN) == [START, part(b"done")]
    assert kept[0].outcome == "blocked"


def test_the_head_of_an_event_stream_is_sent_at_once(make_sensor: MakeSensor) -> None:
    head = {**START, "headers": [(b"content-type", b"text/event-stream")]}
    seen: list[list[Message]] = []
    sent: list[Message] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(head)
        seen.append(list(sent))
        await send(part(b"data: 1\n\n"))

    talk(DivertorASGI(app, make_sensor()), sent=sent)
    assert seen == [[head]]


def test_the_body_is_recorded_as_the_app_receives_it(make_sensor: MakeSensor, kept: list[Detection]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"] + (await receive())["body"]
        lookup(body.decode().removeprefix('{"name": "').removesuffix('"}'))

    pieces = [b'{"name": "x\' or ', b"'1'='1\"}"]
    incoming = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    headers = [(b"content-type", b"application/json")]
    assert talk(DivertorASGI(app, make_sensor()), *incoming, headers=headers)[0]["status"] == 403
    assert (kept[0].source, kept[0].parameter, kept[0].payload) == ("json", "name", ATTACK)


def test_an_exception_of_the_app_passes_unchanged(make_sensor: MakeSensor) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("own")

    with pytest.raises(LookupError, match="own"):
        talk(DivertorASGI(app, make_sensor()))


def test_a_cancellation_is_never_swallowed(make_sensor: MakeSensor) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            lookup()
        except BaseException:
            raise asyncio.CancelledError from None

    with pytest.raises(asyncio.CancelledError):
        attacked(make_sensor, app)


def test_an_attack_in_a_web_socket_handshake_closes_it(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    answers = attacked(make_sensor, careless, type="websocket", headers=ORIGIN)
    assert answers == [{"type": "websocket.close", "code": 1008}] and kept[0].outcome == "blocked"


def test_the_lifespan_protocol_is_left_alone(make_sensor: MakeSensor) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": str(context.current.get())})

    assert talk(DivertorASGI(app, make_sensor()), type="lifespan") == [{"type": "None"}]


def test_the_report_names_the_client(make_sensor: MakeSensor, kept: list[Detection]) -> None:
    headers = [(b"Cookie", b"session=s-1"), (b"cookie", b"x=y"), (b"user-agent", b"curl/8")]
    attacked(make_sensor, careless, headers=headers)
    subject = kept[0].subject
    assert (subject.address, subject.session, subject.user_agent, subject.path) == (
        "9.9.9.9",
        "s-1",
        "curl/8",
        "/s",
    )
    assert kept[0].frames[0].function == "lookup"
