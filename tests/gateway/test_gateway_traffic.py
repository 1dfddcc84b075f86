"""What a gateway does with requests besides routing them: patience, retries, edits, copies, protection."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
from tests.gateway.conftest import (
    SESSION,
    TOKEN,
    Answer,
    App,
    Asked,
    Gateway,
    ask,
    attack,
    isolated,
    listener,
    new_port,
    upstream,
)

from divertor.envoy.plan import Endpoint, Gate, Host, Listener, Route, Snapshot, Upstream
from divertor.model.traffic import CircuitBreaker, HeaderEdits, Mirror, OutlierDetection, Retries, Traffic

Apps = Callable[..., App]


def until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def serve(gateway: Gateway, port: int, traffic: Traffic, *upstreams: Upstream, to: str = "a") -> None:
    """One route, to `to`, with what is asked of it."""
    gateway.apply(Snapshot((listener(port, Route("r", to, 100, traffic=traffic)),), upstreams))


class Held:
    """An app's behaviour that answers nothing until `release`; `waiting` requests are held."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.waiting = 0

    def __call__(self, asked: Asked) -> Answer | None:
        self.waiting += 1
        self.open.wait(20)
        return None


class Failing:
    """An app's behaviour that answers 500 to the first `times` requests."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self, asked: Asked) -> Answer | None:
        self.left -= 1
        return Answer(500) if self.left >= 0 else None


def test_a_version_that_takes_too_long_is_given_up(gateway: Gateway, apps: Apps, port: int) -> None:
    held = Held()
    serve(gateway, port, Traffic(timeout=0.2), upstream("a", apps("a", held)))
    assert ask(port).status == 504
    held.open.set()


def test_a_route_s_timeout_beats_its_gateway_s(gateway: Gateway, apps: Apps, port: int) -> None:
    held = Held()
    gate = Gate("g", (Route("r", "a", 100, traffic=Traffic(timeout=0.2)),), traffic=Traffic(timeout=60))
    front = Listener("g", "127.0.0.1", port, (Host(gate),))
    gateway.apply(Snapshot((front,), (upstream("a", apps("a", held)),)))
    assert ask(port).status == 504
    held.open.set()


def test_a_silent_request_is_given_up(gateway: Gateway, apps: Apps, port: int) -> None:
    held = Held()
    serve(gateway, port, Traffic(idle=0.2), upstream("a", apps("a", held)))
    assert ask(port).status == 504
    held.open.set()


def test_a_failed_request_is_sent_again_where_that_is_asked_for(
    gateway: Gateway, apps: Apps, port: int
) -> None:
    app = apps("a", Failing(2))
    serve(gateway, port, Traffic(retries=Retries(2, ("5xx",))), upstream("a", app))
    assert (ask(port, method="POST", body=b"x" * 100).status, len(app.asked)) == (200, 3)
    assert {asked.body for asked in app.asked} == {b"x" * 100}


def test_a_request_is_not_sent_more_often_than_asked_for(gateway: Gateway, apps: Apps, port: int) -> None:
    app = apps("a", Failing(9))
    serve(gateway, port, Traffic(retries=Retries(2, ("5xx",))), upstream("a", app))
    assert (ask(port).status, len(app.asked)) == (500, 3)


def test_a_failed_request_is_not_sent_again_by_default(gateway: Gateway, apps: Apps, port: int) -> None:
    app = apps("a", Failing(1))
    serve(gateway, port, Traffic(), upstream("a", app))
    assert (ask(port).status, len(app.asked)) == (500, 1)


def test_each_try_has_its_own_patience(gateway: Gateway, apps: Apps, port: int) -> None:
    held = Held()
    both = upstream("a", apps("slow", held), apps("quick"))
    serve(gateway, port, Traffic(retries=Retries(2, ("5xx",), 0.2)), both)
    assert [ask(port).by for _ in range(4)] == ["quick"] * 4
    held.open.set()


def test_a_client_bound_to_a_dead_instance_is_served_by_another(
    gateway: Gateway, apps: Apps, port: int
) -> None:
    """Half of the clients are; Envoy's draws for another one are no independent ones, so a few may lose."""
    dead = Endpoint("127.0.0.1", new_port())
    both = Upstream("a", (apps("a").endpoint, dead), by_instance=True)
    gateway.apply(Snapshot((listener(port, Route("r", "a", 100), sticky="instance"),), (both,)))
    assert Counter(ask(port).by for _ in range(40))["a"] >= 37


def test_request_headers_are_removed_set_and_added(gateway: Gateway, apps: Apps, port: int) -> None:
    edits = HeaderEdits((("x-set", "new"),), (("x-add", "more"),), ("x-gone",))
    app = apps("a")
    serve(gateway, port, Traffic(request_headers=edits), upstream("a", app))
    ask(port, x_set="old", x_add="own", x_gone="1", x_kept="1")
    found = sorted((name, value) for name, value in app.asked[0].headers if name.startswith("x-"))
    wanted = [("x-add", "more"), ("x-add", "own"), ("x-kept", "1"), ("x-set", "new")]
    assert [pair for pair in found if pair[0] in ("x-set", "x-add", "x-gone", "x-kept")] == wanted


def test_response_headers_are_removed_set_and_added(gateway: Gateway, apps: Apps, port: int) -> None:
    edits = HeaderEdits((("x-set", "new"),), (("x-add", "more"),), ("x-powered-by",))
    own = [("x-set", "old"), ("x-add", "own"), ("x-powered-by", "an old thing")]
    app = apps("a", lambda _: Answer(200, own))
    serve(gateway, port, Traffic(response_headers=edits), upstream("a", app))
    found = ask(port)
    assert (found.all("x-set"), found.all("x-add"), found.get("x-powered-by")) == (
        ["new"],
        ["own", "more"],
        None,
    )


def test_a_header_s_value_is_taken_literally(gateway: Gateway, apps: Apps, port: int) -> None:
    """A per cent sign begins an expression in Envoy's headers, in which an answer could show a session."""
    value = '100% of %REQ(cookie)% \\ "quoted"'
    edits = HeaderEdits((("x-note", value),))
    serve(gateway, port, Traffic(request_headers=edits, response_headers=edits), upstream("a", apps("a")))
    found = ask(port, cookie="session=secret")
    assert (found.get("x-note"), found.seen["x-note"]) == (value, value)


def test_edits_of_a_gateway_and_its_route_add_up(gateway: Gateway, apps: Apps, port: int) -> None:
    outer, inner = HeaderEdits(add=(("x-a", "outer"),)), HeaderEdits(add=(("x-a", "inner"),))
    route = Route("r", "a", 100, traffic=Traffic(response_headers=inner))
    gate = Gate("g", (route,), traffic=Traffic(response_headers=outer))
    front = Listener("g", "127.0.0.1", port, (Host(gate),))
    gateway.apply(Snapshot((front,), (upstream("a", apps("a")),)))
    assert ask(port).all("x-a") == ["outer", "inner"]


def test_a_mirror_gets_a_copy_under_the_same_host(gateway: Gateway, apps: Apps, port: int) -> None:
    copy = apps("copy")
    serve(gateway, port, Traffic(mirrors=(Mirror("b"),)), upstream("a", apps("a")), upstream("b", copy))
    assert ask(port, "/x?y=1", "POST", b"body", x_own="1").by == "a"
    until(lambda: len(copy.asked) == 1)
    seen = copy.asked[0]
    assert (seen.target, seen.body, seen.get("host"), seen.get("x-own")) == (
        "/x?y=1",
        b"body",
        "shop.example",
        "1",
    )


def test_a_mirror_gets_its_share(gateway: Gateway, apps: Apps, port: int) -> None:
    """400 requests at 25 %: five standard deviations are 43."""
    copy = apps("copy")
    some = Traffic(mirrors=(Mirror("b", 25),))
    serve(gateway, port, some, upstream("a", apps("a")), upstream("b", copy))
    for _ in range(400):
        ask(port)
    assert 57 <= len(copy.asked) <= 143


@pytest.mark.parametrize("status", [500, 307, 200])
def test_what_a_mirror_answers_is_nobody_s_business(
    gateway: Gateway, apps: Apps, port: int, status: int
) -> None:
    copy = apps("copy", lambda _: Answer(status, [("Location", "/"), ("X-Copy", "1")], b"copy"))
    serve(gateway, port, Traffic(mirrors=(Mirror("b"),)), upstream("a", apps("a")), upstream("b", copy))
    found = ask(port)
    assert (found.status, found.by, found.get("x-copy")) == (200, "a", None)


def test_a_mirror_that_is_down_costs_nothing(gateway: Gateway, apps: Apps, port: int) -> None:
    dead = Upstream("b", (Endpoint("127.0.0.1", new_port()),))
    serve(gateway, port, Traffic(mirrors=(Mirror("b"),)), upstream("a", apps("a")), dead)
    assert Counter(ask(port).by for _ in range(30)) == {"a": 30}


def test_a_mirror_that_hangs_costs_nothing(gateway: Gateway, apps: Apps, port: int) -> None:
    held = Held()
    serve(
        gateway,
        port,
        Traffic(mirrors=(Mirror("b"),)),
        upstream("a", apps("a")),
        upstream("b", apps("b", held)),
    )
    began = time.monotonic()
    assert Counter(ask(port).by for _ in range(10)) == {"a": 10}
    assert time.monotonic() - began < 5
    held.open.set()


def shop(gateway: Gateway, apps: Apps, port: int, mirror: App) -> None:
    gateway.release()
    route = Route("r", "live", 100, traffic=Traffic(mirrors=(Mirror("mirror"),)))
    gate = Gate(
        "g", (route,), isolated=isolated("audited", SESSION), traffic=Traffic(mirrors=(Mirror("mirror"),))
    )
    versions = upstream("live", apps("live", attack)), upstream("audited", apps("audited"))
    front = Listener("g", "127.0.0.1", port, (Host(gate),))
    gateway.apply(Snapshot((front,), (*versions, upstream("mirror", mirror))))


def test_a_detection_in_a_mirror_isolates_nobody(gateway: Gateway, apps: Apps, port: int) -> None:
    """A 307 of the mirror's sensor is an answer like any other: lost."""
    copy = apps("mirror", lambda _: Answer(307, [("Location", "/"), ("X-Divertor-Token", TOKEN)]))
    shop(gateway, apps, port, copy)
    assert [ask(port, cookie="session=m1").by for _ in range(3)] == ["live"] * 3


def test_a_mirror_never_sees_the_token(gateway: Gateway, apps: Apps, port: int) -> None:
    copy = apps("mirror")
    shop(gateway, apps, port, copy)
    ask(port, "/attack", cookie="session=m2")
    ask(port, cookie="session=m3", x_divertor_token=TOKEN)
    until(lambda: len(copy.asked) >= 2)
    assert not [asked for asked in copy.asked if asked.get("x-divertor-token")]


def test_an_isolated_request_is_not_copied(gateway: Gateway, apps: Apps, port: int) -> None:
    copy = apps("mirror")
    shop(gateway, apps, port, copy)
    gateway.isolate(SESSION, "m4")
    assert ask(port, "/theirs", cookie="session=m4").by == "audited"
    ask(port, "/mine", cookie="session=m5")
    until(lambda: bool(copy.asked))
    assert {asked.target for asked in copy.asked} == {"/mine"}


def test_an_instance_that_keeps_failing_is_left_alone(gateway: Gateway, apps: Apps, port: int) -> None:
    both = upstream(
        "a", apps("well"), apps("ill", lambda _: Answer(500)), outliers=OutlierDetection(2, 60, 60, 50)
    )
    serve(gateway, port, Traffic(), both)
    first = [ask(port).status for _ in range(20)]
    assert first.count(500) <= 4 and [ask(port).status for _ in range(20)] == [200] * 20


def test_an_instance_that_was_left_alone_comes_back(gateway: Gateway, apps: Apps, port: int) -> None:
    both = upstream("a", apps("well"), apps("ill", Failing(2)), outliers=OutlierDetection(2, 0.1, 0.2, 50))
    serve(gateway, port, Traffic(), both)
    for _ in range(8):
        ask(port)
    until(lambda: ask(port).by == "ill")


def test_no_more_instances_than_allowed_are_left_alone(gateway: Gateway, apps: Apps, port: int) -> None:
    only = upstream("a", apps("ill", Failing(12)), outliers=OutlierDetection(2, 60, 60, 50))
    serve(gateway, port, Traffic(), only)
    assert [ask(port).status for _ in range(14)] == [500] * 12 + [200] * 2


def test_an_open_breaker_answers_503_at_once(gateway: Gateway, apps: Apps, port: int) -> None:
    """Each of Envoy's workers may have one connection whatever the limit: two work, one waits, three lose."""
    held, answers = Held(), list[int]()
    tight = upstream("a", apps("a", held), breaker=CircuitBreaker(connections=1, pending=1))
    serve(gateway, port, Traffic(retries=Retries(0)), tight)
    clients = [threading.Thread(target=lambda: answers.append(ask(port).status)) for _ in range(6)]
    for client in clients:
        client.start()
    until(lambda: len(answers) >= 3)
    assert set(answers) == {503}
    held.open.set()
    for client in clients:
        client.join()


def test_a_breaker_closes_when_there_is_room_again(gateway: Gateway, apps: Apps, port: int) -> None:
    held = Held()
    tight = upstream("a", apps("a", held), breaker=CircuitBreaker(requests=1, connections=1, pending=1))
    serve(gateway, port, Traffic(retries=Retries(0)), tight)
    waiting = threading.Thread(target=ask, args=(port,))
    waiting.start()
    until(lambda: held.waiting == 1)
    held.open.set()
    waiting.join()
    assert [ask(port).status for _ in range(5)] == [200] * 5
