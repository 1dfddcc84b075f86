"""How far a customer stays with a version while weights change and versions go, through a real Envoy."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway.conftest import App, Gateway, Reply, ask, new_port
from tests.gateway.worlds import World, blueprint, cluster, pins

Apps = Callable[..., App]
VERSIONS = ("1", "2", "3")


@pytest.fixture
def world(gateway: Gateway, apps: Apps) -> World:
    return World(gateway, apps)


def weighted(port: int, weights: dict[str, int], sticky: str = "route", outer: str = "none") -> str:
    """A cluster of such versions behind a port."""
    routes = ", ".join(f"'web:{version}': {{weight: {weight}%}}" for version, weight in weights.items())
    gateways = f"sticky: {sticky}, routes: {{{routes}}}"
    front = f"{port}: {{sticky: {outer}, routes: web}}"
    return blueprint(cluster("web", *weights, gateways=gateways), gateways=front)


@dataclass(slots=True)
class Customer:
    """A browser: keeps the cookies it is handed."""

    port: int
    cookies: str = ""
    seen: list[str | None] = field(default_factory=list)

    def ask(self, target: str = "/") -> Reply:
        reply = ask(self.port, target, cookie=self.cookies or "a=b")
        self.cookies = pins(reply, self.cookies)
        self.seen.append(reply.by)
        return reply


@st.composite
def splits(draw: st.DrawFn) -> dict[str, int]:
    """Weights of three versions, 100 % in all."""
    first = draw(st.sampled_from([0, 0, 1, 30, 50, 99, 100]))
    second = draw(st.sampled_from([0, 0, 1, 30, 50, 99, 100]).filter(lambda weight: weight + first <= 100))
    return {"1": first, "2": second, "3": 100 - first - second}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(splits(), min_size=2, max_size=5))
def test_customers_stay_as_long_as_their_version_has_any_weight(
    gateway: Gateway, shared: World, steps: list[dict[str, int]]
) -> None:
    """And whoever must move is moved once, to a version that has some."""
    port = new_port()
    customers = [Customer(port) for _ in range(6)]
    for weights in steps:
        shared.serve(weighted(port, weights))
        for customer in customers:
            before = customer.seen[-1] if customer.seen else None
            customer.ask(), customer.ask()
            stays = before is not None and weights[before.removeprefix("web:")] > 0
            assert customer.seen[-1] == customer.seen[-2]
            assert customer.seen[-1] == before if stays else weights[str(customer.seen[-1])[4:]] > 0


@pytest.fixture(scope="module")
def shared(gateway: Gateway) -> Iterator[World]:
    made: list[App] = []

    def make(name: str) -> App:
        made.append(App(name))
        return made[-1]

    yield World(gateway, make)
    for app in made:
        app.close()


def test_a_version_removed_from_under_its_customers_costs_no_request(world: World, port: int) -> None:
    """Half of the customers lose their version; all of them get an answer, and stay where they came to."""
    world.serve(weighted(port, {"1": 50, "2": 50}))
    customers = [Customer(port) for _ in range(12)]
    with load(customers) as answers:
        answers.more_than(100)
        world.serve(weighted(port, {"1": 100}))
        answers.more_than(200)
    assert answers.failed == 0 and {customer.seen[-1] for customer in customers} == {"web:1"}
    assert all(changes(customer.seen) <= 1 for customer in customers)


def test_weights_go_from_0_to_100_in_20_steps_without_a_failed_request(world: World, port: int) -> None:
    """Nobody who came to the new version goes back to the old one."""
    world.serve(weighted(port, {"1": 100, "2": 0}))
    customers = [Customer(port) for _ in range(12)]
    with load(customers) as answers:
        for share in range(5, 101, 5):
            world.serve(weighted(port, {"1": 100 - share, "2": share}))
        answers.more_than(answers.count + 50)
    assert answers.failed == 0 and answers.count > 200
    assert all(customer.seen[0] == "web:1" and customer.seen[-1] == "web:2" for customer in customers)
    assert all(changes(customer.seen) == 1 for customer in customers)


def test_customers_move_only_when_their_version_has_nothing(world: World, port: int) -> None:
    """Weights are for those who come: at 1 % all who are there stay."""
    world.serve(weighted(port, {"1": 100, "2": 0}))
    customers = [Customer(port) for _ in range(10)]
    for weights in ({"1": 100, "2": 0}, {"1": 1, "2": 99}, {"1": 0, "2": 100}):
        world.serve(weighted(port, weights))
        for customer in customers:
            customer.ask()
    assert Counter(str(customer.seen) for customer in customers) == {"['web:1', 'web:1', 'web:2']": 10}


def test_the_draw_of_a_strength_is_kept_while_the_condition_matches(world: World, port: int) -> None:
    routes = "'web:1': {weight: 100%}, 'web:2': {weight: 0%, condition: path is /x, condition_strength: 50%}"
    gateways = f"sticky: route, routes: {{{routes}}}"
    world.serve(blueprint(cluster("web", "1", "2", gateways=gateways), gateways=f"{port}: web"))
    customers = [Customer(port) for _ in range(16)]
    for customer in customers * 3:
        customer.ask("/x")
    assert {customer.seen[0] for customer in customers} == {"web:1", "web:2"}
    assert all(changes(customer.seen) == 0 for customer in customers)
    assert {customer.ask("/").by for customer in customers} == {"web:1"}


def test_an_instance_that_goes_moves_its_own_customers_and_few_others(world: World, port: int) -> None:
    """Of 200 customers at four instances, those of the other three stay, but for a few (here at most 10)."""
    text = weighted(port, {"1": 100}, sticky="instance")
    world.gateway.apply(world.planned(text, instances={"web:1": 4}))
    customers = [Customer(port) for _ in range(200)]
    for customer in customers:
        customer.ask()
    world.gateway.apply(world.planned(text, instances={"web:1": 3}))
    for customer in customers:
        customer.ask()
    stayed = [customer for customer in customers if customer.seen[0] != "web:1#3"]
    assert 100 < len(stayed) < 190 and sum(changes(customer.seen) for customer in stayed) <= 10


@pytest.mark.parametrize("outer", ["route", "instance"])
def test_the_stickiness_of_a_plain_gateway_is_kept_behind_it(world: World, port: int, outer: str) -> None:
    world.serve(weighted(port, {"1": 50, "2": 50}, sticky="none", outer=outer))
    customers = [Customer(port) for _ in range(12)]
    for customer in customers * 3:
        customer.ask()
    assert {customer.seen[0] for customer in customers} == {"web:1", "web:2"}
    assert all(changes(customer.seen) == 0 for customer in customers)


def test_a_customer_stays_whichever_gateway_it_comes_by(world: World, port: int) -> None:
    """The cookie belongs to the gateway that draws, not to the port before it."""
    other = new_port()
    text = weighted(port, {"1": 50, "2": 50})
    world.serve(text, f"{{name: other, port: {other}, routes: shop/web}}")
    for _ in range(6):
        customer = Customer(port)
        first = customer.ask().by
        customer.port = other
        assert [customer.ask().by for _ in range(3)] == [first] * 3


@dataclass(slots=True)
class Answers:
    """What all customers together were answered so far."""

    count: int = 0
    failed: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, reply: Reply | None) -> None:
        with self.changed:
            self.count += 1
            self.failed += reply is None or reply.status != 200
            self.changed.notify_all()

    def more_than(self, count: int) -> None:
        """Waits until there are more answers than that."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.count > count, timeout=20)


@contextmanager
def load(customers: list[Customer]) -> Iterator[Answers]:
    """All customers ask, again and again, from a few threads, until the block ends."""
    answers, done = Answers(), threading.Event()

    def run(own: list[Customer]) -> None:
        while not done.is_set():
            for customer in own:
                try:
                    answers.add(customer.ask())
                except OSError:
                    answers.add(None)

    threads = [threading.Thread(target=run, args=(customers[at::3],)) for at in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        done.set()
        for thread in threads:
            thread.join()


def changes(seen: list[str | None]) -> int:
    return sum(one != other for one, other in zip(seen, seen[1:], strict=False))
