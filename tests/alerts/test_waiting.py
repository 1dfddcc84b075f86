"""What waits, over a real broker: where it goes, giving it up, trying it now, with several senders."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.alerts.desk import DOWN, Desk, Scripted, desk, several

from divertor.alerts.destinations import shown
from divertor.alerts.dispatcher import _together
from divertor.alerts.lanes import Lane, Lanes, Waiting
from divertor.alerts.outbox import AT_ONCE
from divertor.errors import UnavailableError
from divertor.rules import Match, load_rule

pytestmark = pytest.mark.anyio
Matches = Callable[..., Match]


async def failed(here: Desk, match: Match, count: int = 1, alarm: str | None = None) -> list[Waiting]:
    """So many deliveries that wait because their destination is down, in their order."""
    await here.dispatch(several(match, count, alarm=alarm))
    await here.until(lambda: here.outcomes and not here.dispatcher.is_sending, step=0)
    return sorted(here.dispatcher.waiting(), key=lambda each: each.order)


async def test_what_is_dropped_is_never_sent(broker: Any, match: Matches) -> None:
    alerter = Scripted(DOWN)
    async with desk(broker, {"debug": alerter}) as here:
        (waiting,) = await failed(here, match())
        assert await here.dispatcher.drop([waiting]) == 1
        await here.drain()
        here.clock.advance(1000)
        assert alerter.attempts == 1 and await here.dispatcher.drop([waiting]) == 0


async def test_what_is_dropped_while_it_is_sent_ends_well(broker: Any, match: Matches) -> None:
    gate = asyncio.Event()
    alerter = Scripted(DOWN, gate=gate)
    async with desk(broker, {"debug": alerter}) as here:
        await here.dispatch(several(match(), 2, alarm="one"))
        await here.until(lambda: alerter.attempts, step=0)
        first = min(here.dispatcher.waiting(), key=lambda each: each.order)
        assert here.dispatcher.progress(first)[0]
        assert await here.dispatcher.drop([first]) == 1
        gate.set()
        await here.drain()
        assert [told.first.id[-1] for told in alerter.told] == ["1"]


async def test_what_was_dropped_is_not_put_there_again(broker: Any, match: Matches) -> None:
    async with desk(broker, {"debug": Scripted(DOWN)}) as here:
        await here.dispatcher.drop(await failed(here, match()))
        await here.dispatch(several(match(), 1), again=True)
        assert here.dispatcher.waiting() == []


async def test_when_one_cannot_be_dropped_the_others_are_not_dropped_afterwards() -> None:
    lane, asked = Lane("r", 0, "post", 0), list[str]()

    async def refused(waiting: Waiting) -> bool:
        asked.append(waiting.key)
        await asyncio.sleep(0)
        raise UnavailableError("no broker")

    with pytest.raises(UnavailableError):
        await _together(refused, [Waiting(f"k{n}", 1, lane, "a", (n, 0), 0.0, 0.0) for n in range(1000)])
    for _ in range(1000):
        await asyncio.sleep(0)
    assert len(asked) == AT_ONCE


async def test_what_another_process_holds_is_dropped_there(broker: Any, match: Matches) -> None:
    theirs = Scripted(DOWN)
    async with desk(broker, {"debug": theirs}, me="worker") as worker:
        async with desk(broker, {"debug": Scripted()}, me="plane", clock=worker.clock) as plane:
            await failed(worker, match())
            await plane.until(lambda: plane.dispatcher.waiting(), step=0)
            await plane.dispatcher.drop(plane.dispatcher.waiting())
            await worker.until(lambda: not worker.dispatcher.waiting(), step=0)
            assert theirs.attempts == 1


async def test_what_is_tried_now_does_not_wait_for_its_pause(broker: Any, match: Matches) -> None:
    async with desk(broker, {"debug": Scripted(DOWN)}) as here:
        (waiting,) = await failed(here, match())
        assert await here.dispatcher.hurry([waiting]) == 1
        await here.until(lambda: not here.dispatcher.waiting(), step=0)
        assert here.clock.seconds == 0 and here.ends() == [("debug", True, 2)]


async def test_what_has_to_arrive_before_it_is_tried_first(broker: Any, match: Matches) -> None:
    alerter = Scripted(DOWN)
    async with desk(broker, {"debug": alerter}) as here:
        *_, last = await failed(here, match(), 3, alarm="one")
        await here.dispatcher.hurry([last])
        await here.until(lambda: not here.dispatcher.waiting(), step=0)
        assert [told.first.id[-1] for told in alerter.told] == ["0", "1", "2"]


async def test_the_process_that_holds_it_tries_it_now_and_only_that_one(broker: Any, match: Matches) -> None:
    theirs, ours = Scripted(DOWN), Scripted()
    async with desk(broker, {"debug": theirs}, me="worker") as worker:
        async with desk(broker, {"debug": ours}, me="plane", clock=worker.clock) as plane:
            await failed(worker, match())
            await plane.until(lambda: any(one.attempts for one in plane.dispatcher.waiting()), step=0)
            await plane.dispatcher.hurry(plane.dispatcher.waiting())
            await worker.until(lambda: theirs.delivered, step=0)
            assert worker.clock.seconds == 0 and ours.attempts == 0


async def test_a_delivery_says_whether_it_is_tried_and_when(broker: Any, match: Matches) -> None:
    async with desk(broker, {"debug": Scripted(DOWN)}) as here:
        first, second = await failed(here, match(), 2, alarm="one")
        sending, when = here.dispatcher.progress(first)
        assert not sending and when is not None and when > here.clock.wall().timestamp()
        assert here.dispatcher.progress(second) == (False, None)


async def test_where_the_messages_of_a_removed_rule_go_is_still_told(broker: Any, match: Matches) -> None:
    def targets(options: Any) -> list[Any]:
        return [{**options, "http_post_url": each} for each in options["http_post_url"]]

    post = Scripted(DOWN, DOWN)
    post.targets = targets  # type: ignore[method-assign]
    async with desk(broker, {"post": post}) as here:
        (waiting,) = await failed(here, match(alert="post", http_post_url="http://hooks.example/secret"))
        here.rules.clear()
        assert await here.dispatcher.destination(waiting) == "http://hooks.example/…"


def test_a_destination_that_rests_is_asked_at_once_when_somebody_wants_it() -> None:
    lanes, lane = Lanes("me"), Lane("r", 0, "post", 0)
    lanes.take(Waiting("k", 1, lane, "a", (1, 0), 0.0, 0.0))
    (waiting,) = lanes.start(0.0, 1)
    lanes.failed(lane)
    lanes.rest(lane, 100.0)
    waiting.due = 50.0
    lanes.end(waiting)
    lanes.take(Waiting("k", 2, lane, "a", (1, 0), 0.0, 10.0, asked=10.0))
    assert lanes.start(9.0, 1) == [] and lanes.start(10.0, 1) == [waiting]


@pytest.mark.parametrize(
    "options, expected",
    [
        (
            {"alert": "slack", "slack_webhook_url": "https://hooks.slack.com/T1/s3cret"},
            "https://hooks.slack.com/…",
        ),
        (
            {
                "alert": "slack",
                "slack_webhook_url": "https://u:s3cret@h:8443/x",
                "slack_channel_override": "#ops",
            },
            "https://h:8443/… #ops",
        ),
        ({"alert": "email", "email": ["a@x", "b@x", "c@x", "d@x"]}, "localhost a@x, b@x, c@x and 1 more"),
        ({"alert": "command", "command": ["/bin/page", "--token", "s3cret"]}, "/bin/page"),
        ({"alert": "command", "command": "page s3cret"}, "page"),
        ({"alert": {"webhook": {"url": "https://h/s3cret"}}}, "https://h/…"),
        ({"alert": "opsgenie", "opsgenie_key": "s3cret"}, "https://api.opsgenie.com/…"),
        ({"alert": "debug"}, ""),
        ({"alert": "my.own.Class"}, ""),
    ],
)
def test_a_destination_is_shown_without_its_secret(options: dict[str, Any], expected: str) -> None:
    rule = load_rule(json.dumps({"name": "r", "type": "any", "index": "i", **options}), "r.yaml")
    (alert,) = rule.alerts
    assert shown(alert.name, alert.options) == expected
