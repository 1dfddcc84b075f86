"""The dispatcher over a real broker: order, independence, retries, senders that die, and nothing twice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.alerts.desk import BROKEN, DOWN, NOON, Clock, Scripted, desk, several

from divertor.alerts import Deeds, DeliveryError, Isolator, Outbox, Retry, new_client, standard_alerters
from divertor.alerts.outbox import KIND, LEASE
from divertor.bus import Bus, State
from divertor.errors import UnavailableError
from divertor.rules import IsolateOptions, Match
from divertor.rules.alerters import ALERTERS
from divertor.rules.rule import Status

pytestmark = pytest.mark.anyio
Matches = Callable[..., Match]


async def test_a_failed_delivery_is_tried_again_with_growing_pauses(broker: Any, match: Matches) -> None:
    async with desk(broker, {"debug": Scripted(DOWN, DOWN, DOWN)}) as here:
        await here.dispatch([match()])
        await here.drain(step=0.1)
        assert here.ends() == [("debug", True, 4)]
        assert 7 * 0.8 <= here.clock.seconds <= 7 * 1.2 + 1  # 1 + 2 + 4 s, each give or take a fifth


def test_pauses_grow_to_a_bound_and_differ() -> None:
    retry = Retry()
    assert [retry.pause_after(attempt) for attempt in (1, 2, 3, 20)] == [1, 2, 4, 120]
    assert retry.pause_after(1, 0.0) == 0.8 and retry.pause_after(1, 1.0) == pytest.approx(1.2)


async def test_a_destination_is_left_alone_for_as_long_as_it_asks(broker: Any, match: Matches) -> None:
    busy = DeliveryError("busy", again=True, after=600.0)
    async with desk(broker, {"debug": Scripted(busy)}) as here:
        await here.dispatch(several(match(), 2))
        await here.drain(step=5)
        assert 600 <= here.clock.seconds < 620


async def test_what_cannot_succeed_is_not_tried_again(broker: Any, match: Matches) -> None:
    async with desk(broker, {"debug": Scripted(BROKEN)}) as here:
        await here.dispatch([match()])
        await here.drain()
        assert here.ends() == [("debug", False, 1)] and here.outcomes[0].error == "broken"


async def test_a_delivery_is_given_up_when_the_rules_time_is_over_and_it_is_told(
    broker: Any, match: Matches
) -> None:
    async with desk(broker, {"debug": Scripted(*[DOWN] * 200)}) as here:
        await here.dispatch([match(alert_time_limit={"minutes": 10})])
        await here.drain(step=10)
        ((_name, ok, attempts),) = here.ends()
        assert not ok and attempts > 10 and here.outcomes[-1].error == "given up: down"
        assert 600 <= here.clock.seconds < 800


async def test_siblings_of_a_delivery_that_fails_are_not_affected(broker: Any, match: Matches) -> None:
    failing, fine = Scripted(*[DOWN] * 3), Scripted()
    async with desk(broker, {"post": failing, "debug": fine}) as here:
        await here.dispatch([match(alert=["post", "debug"], http_post_url="http://h/")])
        await here.until(lambda: fine.delivered, step=0)
        await here.drain()
        assert fine.attempts == 1 and failing.attempts == 4


async def test_an_alerter_that_hangs_does_not_delay_another(broker: Any, match: Matches) -> None:
    gate = asyncio.Event()
    stuck, fine = Scripted(gate=gate), Scripted()
    async with desk(broker, {"post": stuck, "debug": fine}) as here:
        await here.dispatch([match(alert=["post", "debug"], http_post_url="http://h/")])
        await here.until(lambda: here.ends() == [("debug", True, 1)])
        gate.set()
        await here.drain()
        assert stuck.attempts == 1


async def test_deliveries_of_one_alarm_arrive_in_order(broker: Any, match: Matches) -> None:
    debug = Scripted(DOWN, DOWN)
    async with desk(broker, {"debug": debug}) as here:
        matches = several(match(), 5, alarm="one")
        await here.dispatch(matches)
        await here.drain()
        told = [one.notification.id for one in here.outcomes if one.ok]
        assert told == [each.id for each in matches]


async def test_a_message_that_is_never_taken_holds_only_its_own_alarm(broker: Any, match: Matches) -> None:
    class Picky(Scripted):
        async def deliver(self, delivery: Any) -> None:
            if delivery.notification.alarm == "bad":
                raise DOWN
            await super().deliver(delivery)

    picky = Picky()
    async with desk(broker, {"debug": picky}) as here:
        await here.dispatch(several(match(), 2, alarm="bad"))
        await here.dispatch(several(match(), 52)[2:], seq=2)
        await here.until(lambda: here.dispatcher.status().waiting == 2)
        assert len(picky.delivered) == 50


async def test_a_destination_that_is_down_is_asked_with_one_delivery_at_a_time(
    broker: Any, match: Matches
) -> None:
    down = Scripted(*[DOWN] * 12)
    async with desk(broker, {"debug": down}) as here:
        await here.dispatch(several(match(), 100))
        await here.until(lambda: len(down.delivered) == 100)
        assert down.attempts == 112 and here.clock.seconds > 300


async def test_what_was_dispatched_before_is_not_delivered_again(broker: Any, match: Matches) -> None:
    debug = Scripted()
    async with desk(broker, {"debug": debug}) as here:
        for _ in range(3):
            await here.dispatch([match()])
            await here.drain()
        assert debug.attempts == 1


async def test_marks_go_when_nobody_can_judge_their_events_again(broker: Any, match: Matches) -> None:
    async with desk(broker, {"debug": Scripted()}) as here:
        await here.dispatch([match()], seq=7)
        await here.drain()
        await here.until(lambda: here.clock.seconds > 120, step=1)
        assert len(await here.state.list(KIND)) == 1
        here.frontier = 7
        await here.until(lambda: not here.dispatcher.marks)
        assert await here.state.list(KIND) == {}


async def test_what_waits_survives_a_restart(broker: Any, match: Matches) -> None:
    clock = Clock()
    async with desk(broker, {"debug": Scripted(*[DOWN] * 100)}, clock=clock) as here:
        await here.dispatch(several(match(), 3))
        await here.until(lambda: len(here.outcomes) > 4)
    debug = Scripted()
    async with desk(broker, {"debug": debug}, clock=clock) as again:
        again.rules = here.rules
        assert again.dispatcher.status().waiting == 3
        await again.drain()
        assert debug.attempts == 3 and len(set(debug.keys)) == 3


async def test_a_killed_broker_costs_no_delivery(broker: Any, match: Matches) -> None:
    gate = asyncio.Event()
    debug = Scripted(gate=gate)
    async with desk(broker, {"debug": debug}) as here:
        await here.dispatch(several(match(), 20))
        await here.until(lambda: debug.attempts)
        broker.kill()
        gate.set()
        broker.start()
        await here.drain(step=0.1)
        assert len(debug.keys) == len(set(debug.keys)) == 20


async def test_of_two_senders_one_sends(broker: Any, match: Matches) -> None:
    clock, one, two = Clock(), Scripted(DOWN), Scripted(DOWN)
    async with (
        desk(broker, {"debug": one}, me="one", clock=clock) as first,
        desk(broker, {"debug": two}, me="two", clock=clock) as second,
    ):
        matches = several(match(), 30)
        await asyncio.gather(first.dispatch(matches), second.dispatch(matches))
        await first.until(
            lambda: not first.dispatcher.status().waiting and not second.dispatcher.status().waiting
        )
        keys = one.keys + two.keys
        assert len(keys) == len(set(keys)) == 30


async def test_another_takes_over_when_a_sender_died(broker: Any, match: Matches) -> None:
    clock, debug = Clock(), Scripted()
    async with desk(broker, {"debug": Scripted(gate=asyncio.Event())}, me="one", clock=clock) as first:
        await first.dispatch([match()])
        await first.until(lambda: first.dispatcher.is_sending)
    async with desk(broker, {"debug": debug}, me="two", clock=clock) as second:
        second.rules = first.rules
        await second.until(lambda: debug.delivered, step=1)
        assert clock.seconds >= LEASE - 1


async def test_a_delivery_that_takes_long_is_held_on_to(broker: Any, match: Matches) -> None:
    clock, gate, other = Clock(), asyncio.Event(), Scripted()
    slow = Scripted(gate=gate)
    async with (
        desk(broker, {"debug": slow}, me="one", clock=clock) as first,
        desk(broker, {"debug": other}, me="two", clock=clock),
    ):
        await first.dispatch([match()])
        for _ in range(20):
            clock.advance(LEASE / 5)
            await asyncio.sleep(0.02)
        gate.set()
        await first.drain()
        assert slow.attempts == 1 and other.attempts == 0


async def test_a_deleted_rules_last_message_still_arrives(broker: Any, match: Matches) -> None:
    debug = Scripted(DOWN)
    async with desk(broker, {"debug": debug}) as here:
        await here.dispatch([match()])
        here.rules.clear()
        await here.drain()
        assert debug.delivered == ["e1"]


async def test_a_corrected_address_is_used_for_what_waits(broker: Any, match: Matches) -> None:
    class Addressed(Scripted):
        async def deliver(self, delivery: Any) -> None:
            if "http://right/" not in delivery.options["http_post_url"]:
                raise DOWN
            self.delivered.append(delivery.key)

    post = Addressed()
    async with desk(broker, {"post": post}) as here:
        await here.dispatch([match(alert="post", http_post_url="http://wrong/")])
        await here.until(lambda: here.outcomes)
        here.rules["r"] = match(alert="post", http_post_url="http://right/").rule
        await here.drain()
        assert len(post.delivered) == 1


async def test_what_a_destination_answered_is_given_to_later_deliveries_of_the_alarm(
    broker: Any, match: Matches
) -> None:
    debug = Scripted()
    debug.answer = {"thread": "t1"}
    async with desk(broker, {"debug": debug}) as here:
        await here.dispatch(several(match(), 2, alarm="one"))
        await here.drain()
        await here.dispatch(several(match(), 3, alarm="two")[2:], seq=2)
        await here.drain()
        assert debug.receipts == [None, {"thread": "t1"}, None]


async def test_isolations_of_all_matches_are_in_effect_when_dispatch_returns(
    broker: Any, match: Matches
) -> None:
    isolate, stuck = Scripted(), Scripted(gate=asyncio.Event())
    async with desk(broker, {"isolate": isolate, "debug": stuck}) as here:
        await here.dispatch(several(match(alert=["debug", "isolate"]), 2))
        assert len(isolate.delivered) == 2 and here.ends() == [("isolate", True, 1)] * 2


async def test_an_isolation_that_fails_is_kept_and_tried_again(broker: Any, match: Matches) -> None:
    async with desk(broker, {"isolate": Scripted(DOWN, DOWN)}) as here:
        await here.dispatch([match(alert="isolate")])
        assert here.ends() == [] and here.dispatcher.status().waiting == 1
        await here.drain()
        assert here.ends() == [("isolate", True, 3)]


async def test_an_isolation_that_hangs_does_not_hold_the_next_event(broker: Any, match: Matches) -> None:
    gate = asyncio.Event()
    async with desk(broker, {"isolate": Scripted(gate=gate)}, isolate_timeout=0.01) as here:
        await here.dispatch([match(alert="isolate")])
        gate.set()
        await here.drain()
        assert here.ends() == [("isolate", True, 2)]


async def test_an_isolation_that_was_made_before_a_crash_is_not_made_again(
    broker: Any, match: Matches
) -> None:
    isolate = Scripted()
    async with desk(broker, {"isolate": isolate}) as here:
        await here.dispatch([match(alert="isolate")])
        await here.dispatch([match(alert="isolate")], again=True)
        assert isolate.attempts == 1


async def test_what_only_another_process_can_deliver_waits_for_it(broker: Any, match: Matches) -> None:
    clock, isolate = Clock(), Scripted()
    async with desk(
        broker, {"debug": Scripted()}, me="worker", clock=clock, elsewhere=frozenset({"isolate"})
    ) as worker:
        await worker.dispatch([match(alert=["isolate", "debug"])])
        await worker.until(lambda: worker.ends() == [("debug", True, 1)])
        assert worker.dispatcher.status().waiting == 1
        async with desk(broker, {"isolate": isolate}, me="plane", clock=clock) as plane:
            plane.rules = worker.rules
            await plane.drain()
            assert isolate.delivered == ["e1"]


async def test_a_fault_in_an_alerter_is_contained_and_its_text_kept_out(
    broker: Any, match: Matches, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk(broker, {"debug": Scripted(RuntimeError("https://hooks/secret"))}) as here:
        await here.dispatch([match()])
        await here.drain()
        assert here.outcomes[0].error == "fault in the alerter (RuntimeError)"
    assert "secret" not in caplog.text and "RuntimeError" in caplog.text


async def test_a_message_that_is_too_large_is_cut_and_not_lost(broker: Any, match: Matches) -> None:
    debug = Scripted()
    async with desk(broker, {"debug": debug}) as here:
        await here.dispatch([match({"large": "x" * 5_000_000})])
        await here.drain()
        assert len(debug.keys) == 1


LARGE: list[dict[str, Any]] = [
    {"related_events": [{f"k{number}": "v" * 15 for number in range(2000)}] * 100},
    {"names": [{"\U0001f600" * 200 + str(number): number for number in range(2000)}] * 3},
    {"infinite": float("inf")},
]


@pytest.mark.parametrize("place", range(len(LARGE)))
async def test_no_document_keeps_a_message_and_its_worker_from_going_on(
    broker: Any, match: Matches, place: int
) -> None:
    debug = Scripted()
    async with desk(broker, {"debug": debug}) as here:
        found = match({"user": "u"})
        await here.dispatch([replace(found, document={**found.document, **LARGE[place]})])
        await here.drain()
        assert len(debug.keys) == 1


async def test_of_too_many_matches_those_that_fit_are_told_and_the_others_counted(
    broker: Any, match: Matches
) -> None:
    debug, elsewhere = Scripted(), frozenset({"debug"})
    async with desk(broker, {}, elsewhere=elsewhere) as here, desk(broker, {"debug": debug}, me="b") as other:
        one = match({f"k{number}": "v" * 1000 for number in range(1000)})
        await here.dispatch_together([one] * 10)
        other.rules |= here.rules
        await other.until(lambda: debug.told)
        assert [(told.first.suppressed, len(told.matches)) for told in debug.told] == [(8, 2)]


async def test_somebody_elses_documents_in_the_outbox_harm_nothing(broker: Any, match: Matches) -> None:
    debug = Scripted()
    async with desk(broker, {"debug": debug}) as here:
        await here.state.put(KIND, "alien", {"lane": 5})
        await here.state.put(KIND, "alien2", {"arrived": True})
        await here.dispatch([match()])
        await here.drain()
        assert debug.attempts == 1


async def nothing(*_: Any) -> None:
    """Nobody who would do it."""


def deeds(isolate: Isolator = nothing) -> Deeds:
    return Deeds(isolate, nothing, nothing, lambda: datetime(2026, 1, 1, tzinfo=UTC))


async def test_every_declared_alerter_exists_and_no_other() -> None:
    async with new_client() as client:
        assert set(standard_alerters(client, deeds(), logging.getLogger())) == set(ALERTERS)


async def test_isolate_hands_over_the_match_and_its_wishes(broker: Any, match: Matches) -> None:
    calls: list[tuple[str, str | None]] = []

    async def isolate(found: Match, options: IsolateOptions) -> None:
        calls.append((found.event_id, options.to))
        if len(calls) == 1:
            raise UnavailableError("table full")

    async with new_client() as client:
        alerters = standard_alerters(client, deeds(isolate), logging.getLogger())
        async with desk(broker, alerters) as here:
            await here.dispatch([match(alert="isolate", isolate={"to": "shop:1.0.0"})])
            await here.drain()
            assert calls == [("e1", "shop:1.0.0")] * 2 and here.ends() == [("isolate", True, 2)]


async def test_debug_writes_one_line_whatever_the_payload(
    broker: Any, match: Matches, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "alerts"):
        async with new_client() as client:
            alerters = standard_alerters(client, deeds(), logging.getLogger("alerts"))
            async with desk(broker, alerters) as here:
                await here.dispatch([match({"a": "x\nINFO forged"})])
                await here.drain()
    (record,) = [record for record in caplog.records if record.name == "alerts"]
    assert "\n" not in record.getMessage() and "forged" in record.getMessage()


async def test_a_receipt_outlives_the_end_of_its_alarm_for_some_days(broker: Any, match: Matches) -> None:
    bus = await Bus.connect(broker.url, broker.password, "test")
    outbox = Outbox(State(bus), "me", lambda: NOON.timestamp())
    async with desk(broker, {"debug": Scripted(gate=asyncio.Event())}) as here:
        await here.dispatch([match()])
        (waiting,) = [change async for change in first(outbox)]
        await outbox.keep_receipt(waiting, {"thread": "t"}, Status.RESOLVED)
        assert await outbox.receipt(waiting) == {"thread": "t"}
    await bus.close()


async def first(outbox: Outbox) -> Any:
    async for change in outbox.changes():
        yield change
        return


async def test_what_does_not_fit_in_memory_waits_in_the_broker(broker: Any, match: Matches) -> None:
    gate = asyncio.Event()
    debug = Scripted(gate=gate)
    async with desk(broker, {"debug": debug}, most_known=10) as here:
        await here.dispatch(several(match(), 40))
        assert here.dispatcher.status().waiting == 10
        gate.set()
        await here.until(lambda: len(debug.delivered) == 40)
        assert len(set(debug.keys)) == 40
