"""Who is sent next: order within an alarm, independence between alarms, and a destination that rests."""

from __future__ import annotations

import random

import pytest

from divertor.alerts.lanes import Lane, Lanes, Waiting

LANE = Lane("r", 0, "post", 0)


def waiting(
    number: int, alarm: str = "a", *, lane: Lane = LANE, due: float = 0.0, holder: str = ""
) -> Waiting:
    until = 30.0 if holder else 0.0
    return Waiting(f"k{number}", number, lane, alarm, (number, 0), 0.0, due, holder=holder, until=until)


def keys(found: list[Waiting]) -> list[str]:
    return [each.key for each in found]


def test_the_next_of_an_alarm_waits_for_the_one_before() -> None:
    lanes = Lanes("me")
    for number in (3, 1, 2):
        lanes.take(waiting(number))
    (first,) = lanes.start(0.0, 10)
    assert first.key == "k1" and lanes.start(0.0, 10) == []
    lanes.drop("k1")
    lanes.end(first)
    assert keys(lanes.start(0.0, 10)) == ["k2"]


def test_what_another_sender_holds_is_left_to_it_for_as_long() -> None:
    lanes = Lanes("me")
    lanes.take(waiting(1, holder="other"))
    lanes.take(waiting(2, "b", holder="me"))
    assert keys(lanes.start(0.0, 10)) == ["k2"]
    assert keys(lanes.start(30.0, 10)) == ["k1"]


def test_an_older_revision_changes_nothing() -> None:
    lanes = Lanes("me")
    lanes.take(waiting(5, due=10.0))
    older = waiting(5)
    older.revision = 4
    lanes.take(older)
    assert lanes.start(9.0, 10) == [] and keys(lanes.start(10.0, 10)) == ["k5"]


def test_a_destination_that_failed_rests_and_then_gets_one_delivery() -> None:
    lanes = Lanes("me")
    for number in range(5):
        lanes.take(waiting(number, f"a{number}"))
    first, second = lanes.start(0.0, 10)
    lanes.failed(LANE)
    lanes.rest(LANE, 20.0)
    for each in (first, second):
        each.due = 5.0
        lanes.end(each)
    assert lanes.start(19.0, 10) == [] and lanes.next_look() == 20.0
    (probe,) = lanes.start(20.0, 10)
    lanes.arrived(LANE)
    lanes.drop(probe.key)
    lanes.end(probe)
    assert len(lanes.start(20.0, 10)) == 2


def test_no_more_are_started_than_wanted_and_none_is_forgotten() -> None:
    lanes = Lanes("me")
    for number in range(6):
        lanes.take(waiting(number, lane=Lane(f"r{number}", 0, "post", 0)))
    assert [len(lanes.start(0.0, 4)) for _ in range(3)] == [4, 2, 0]


@pytest.mark.parametrize("seed", range(20))
def test_everything_arrives_in_order_whatever_fails(seed: int) -> None:
    chance, lanes, now = random.Random(seed), Lanes("me"), 0.0
    places = [Lane(f"r{number}", 0, "post", 0) for number in range(3)]
    arrived: dict[tuple[Lane, str], list[int]] = {}
    under_way: list[Waiting] = []
    todo = [waiting(n, f"a{chance.randrange(4)}", lane=chance.choice(places)) for n in range(60)]
    total = len(todo)
    while len(lanes) or todo or under_way:
        if todo and chance.random() < 0.5:
            lanes.take(todo.pop(0))
        under_way += lanes.start(now, chance.randrange(1, 5))
        if under_way and chance.random() < 0.7:
            each = under_way.pop(chance.randrange(len(under_way)))
            if chance.random() < 0.3:
                each.due = now + chance.random() * 3
                lanes.failed(each.lane)
                lanes.rest(each.lane, now + chance.random() * 3)
            else:
                lanes.arrived(each.lane)
                arrived.setdefault((each.lane, each.alarm), []).append(each.order[0])
                lanes.drop(each.key)
            lanes.end(each)
        elif not under_way:
            now += 0.5
        assert len({(each.lane, each.alarm) for each in under_way}) == len(under_way)
    assert sum(map(len, arrived.values())) == total
    assert all(numbers == sorted(numbers) for numbers in arrived.values())
