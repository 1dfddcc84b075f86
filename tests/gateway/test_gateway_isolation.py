"""Attackers through a real Envoy: diverted in the same request, kept, released at once, never hidden."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import pytest
from tests.gateway.conftest import (
    ADDRESS,
    API_KEY,
    SCOPE,
    SECRET,
    SESSION,
    TOKEN,
    Answer,
    App,
    Gateway,
    Reply,
    ask,
    attack,
    isolated,
    listener,
    new_port,
    raw,
    upstream,
)

from divertor.conditions import parse, to_envoy
from divertor.envoy.plan import Check, Endpoint, Route, Snapshot, Upstream
from divertor.isolation.layout import FOREVER, fingerprint, scope_key

Apps = Callable[..., App]
_sessions = itertools.count()


class Shop:
    """`live` diverts attacks, `audited` takes them; one gateway in front."""

    def __init__(self, gateway: Gateway, live: App, audited: App) -> None:
        self.gateway, self.live, self.audited = gateway, live, audited
        self.port = new_port()
        self.versions = upstream("live", live), upstream("audited", audited)
        self.serve()

    def serve(self, *keys: object, trusted_hops: int = 0, condition: str = "", **more: object) -> None:
        predicate = to_envoy(parse(condition)) if condition else None
        routes = (
            Route("shop/web/live/port", "live", 100),
            Route("shop/web/audited/port", "audited", 0, predicate),
        )
        policy = isolated("audited", *keys, **more)  # type: ignore[arg-type]
        front = listener(self.port, *routes, isolated=policy, trusted_hops=trusted_hops)
        self.gateway.apply(Snapshot((front,), self.versions))

    def ask(self, target: str = "/", **more: object) -> Reply:
        return ask(self.port, target, **more)  # type: ignore[arg-type]

    def raw(self, *lines: str, body: bytes = b"") -> Reply:
        return raw(self.port, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)


@pytest.fixture(scope="module")
def versions() -> Iterator[tuple[App, App]]:
    live, audited = App("live", attack), App("audited")
    yield live, audited
    live.close()
    audited.close()


@pytest.fixture(scope="module")
def module_shop(gateway: Gateway, versions: tuple[App, App]) -> Shop:
    return Shop(gateway, *versions)


@pytest.fixture
def shop(gateway: Gateway, module_shop: Shop) -> Iterator[Shop]:
    """Nobody is isolated; both versions behave as usual; requests are counted anew."""
    module_shop.live.behave, module_shop.audited.behave = attack, lambda _: None
    module_shop.live.asked.clear()
    module_shop.audited.asked.clear()
    gateway.release()
    yield module_shop


@pytest.fixture
def session() -> str:
    return f"session{next(_sessions)}"


def test_an_attack_is_answered_by_the_audited_version_in_the_same_request(shop: Shop, session: str) -> None:
    reply = shop.ask("/find?q=attack", cookie=f"session={session}")
    assert (reply.status, reply.by) == (200, "audited")
    assert reply.get("location") is None and reply.all("set-cookie") == []
    assert [asked.target for asked in shop.audited.asked] == ["/find?q=attack"]


def test_only_the_attacker_is_isolated(shop: Shop, session: str) -> None:
    shop.ask("/attack", cookie=f"session={session}")
    assert [shop.ask(cookie=f"session={session}").by for _ in range(5)] == ["audited"] * 5
    assert shop.ask(cookie="session=customer").by == "live" and shop.ask().by == "live"


@pytest.mark.parametrize("size", [6, 1000, 100_000, 1_000_000])
def test_a_body_is_replayed_whole(shop: Shop, session: str, size: int) -> None:
    body = b"attack" + bytes(at % 251 for at in range(size - 6))
    reply = shop.ask("/login", method="POST", body=body, cookie=f"session={session}")
    assert reply.by == "audited" and shop.audited.asked[-1].body == body


def test_a_chunked_body_is_replayed_whole(shop: Shop, session: str) -> None:
    head = "POST / HTTP/1.1", "Host: a", f"Cookie: session={session}", "Transfer-Encoding: chunked"
    reply = shop.raw(*head, body=b"6\r\nattack\r\n3;x=y\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n")
    assert reply.by == "audited" and shop.audited.asked[-1].body == b"attackabc"


def test_a_body_that_is_announced_first_is_replayed_whole(shop: Shop, session: str) -> None:
    head = (
        "POST / HTTP/1.1",
        "Host: a",
        f"Cookie: session={session}",
        "Expect: 100-continue",
        "Content-Length: 6",
    )
    reply = shop.raw(*head, body=b"attack")
    assert reply.by == "audited" and shop.audited.asked[-1].body == b"attack"


@pytest.mark.parametrize("chunked", [False, True])
def test_an_attack_too_large_to_be_replayed_is_refused_and_isolated(
    shop: Shop, session: str, chunked: bool
) -> None:
    body = b"attack" + b"x" * 3_000_000
    head = ["POST / HTTP/1.1", "Host: a", f"Cookie: session={session}"]
    head.append("Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}")
    data = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    reply = shop.raw(*head, body=data)
    assert reply.status == 403 and reply.get("location") is None and reply.all("set-cookie") == []
    assert not ours(reply) and shop.audited.asked == []
    assert shop.ask(cookie=f"session={session}").by == "audited"


def test_a_large_harmless_body_passes(shop: Shop) -> None:
    assert shop.ask("/", method="POST", body=b"x" * 3_000_000).by == "live"


def test_the_applications_own_307_passes_untouched(shop: Shop) -> None:
    own = Answer(307, [("Location", "http://elsewhere.example/x?y=1"), ("Set-Cookie", "a=1")], b"moved")
    shop.live.behave = lambda _: own
    reply = shop.ask("/old")
    assert (reply.status, reply.get("location"), reply.body) == (
        307,
        "http://elsewhere.example/x?y=1",
        b"moved",
    )
    assert reply.all("set-cookie") == ["a=1"] and shop.audited.asked == []


def test_a_307_to_itself_with_a_wrong_token_is_not_followed(shop: Shop) -> None:
    shop.live.behave = lambda _: Answer(
        307, [("Location", "http://shop.example/"), ("X-Divertor-Token", "wrong")]
    )
    reply = shop.ask("/old")
    assert reply.status == 307 and shop.audited.asked == []


@pytest.mark.parametrize("status", [200, 302, 404, 500])
def test_the_token_never_reaches_an_isolated_client(shop: Shop, session: str, status: int) -> None:
    shop.gateway.isolate(SESSION, session)
    shop.audited.behave = lambda _: Answer(
        status, [("X-Divertor-Token", TOKEN), ("Location", "http://shop.example/")]
    )
    assert not ours(shop.ask(cookie=f"session={session}"))


def test_the_audited_version_cannot_send_a_request_round_in_circles(shop: Shop, session: str) -> None:
    shop.audited.behave = lambda asked: Answer(307, [("Location", "http://a/"), ("X-Divertor-Token", TOKEN)])
    reply = shop.ask("/attack", cookie=f"session={session}")
    assert reply.status == 403 and not ours(reply) and len(shop.audited.asked) == 1


@pytest.mark.parametrize("name", ["X-Divertor-Token", "x-divertor-token", "X-DIVERTOR-TOKEN"])
def test_a_client_that_knows_the_token_gains_nothing(shop: Shop, name: str) -> None:
    reply = shop.raw("GET / HTTP/1.1", "Host: a", f"{name}: {TOKEN}")
    assert reply.by == "live" and not forged(reply, TOKEN)


@pytest.mark.parametrize(
    ("what", "dashes"),
    [
        *itertools.product(["origin", "client"], ["--", "-_", "_-", "__"]),
        *itertools.product(["isolated", "token"], ["--"]),
    ],
)
def test_what_only_the_gateway_may_say_is_not_heard_from_clients(shop: Shop, what: str, dashes: str) -> None:
    name = f"X{dashes[0]}Divertor{dashes[1]}{what.title()}"
    reply = shop.raw("GET / HTTP/1.1", "Host: a", f"{name}: 6.6.6.6", f"Connection: {name}")
    assert reply.by == "live" and not forged(reply, "6.6.6.6")
    assert (
        reply.seen["x-envoy-external-address"] == "127.0.0.1"
        and reply.seen["x-divertor-origin"] == "http://a/"
    )


def test_trailers_cannot_carry_what_only_the_gateway_may_say(shop: Shop) -> None:
    head = (
        "POST / HTTP/1.1",
        "Host: a",
        "Transfer-Encoding: chunked",
        "TE: trailers",
        "Trailer: X-Divertor-Token",
    )
    reply = shop.raw(*head, body=f"1\r\na\r\n0\r\nX-Divertor-Token: {TOKEN}\r\n\r\n".encode())
    assert reply.by == "live" and not forged(reply, TOKEN)


def test_the_audited_version_is_not_told_that_somebody_is_watched(shop: Shop, session: str) -> None:
    first = shop.ask("/attack", cookie=f"session={session}")
    later = shop.ask("/", cookie=f"session={session}")
    telling = {"x-divertor-token", "x-envoy-original-url"}
    assert not telling & first.seen.keys() and not telling & later.seen.keys()


def test_the_client_address_is_told_once_and_the_same_in_a_replay(shop: Shop, session: str) -> None:
    shop.ask("/attack", cookie=f"session={session}")
    first, again = shop.live.asked[-1], shop.audited.asked[-1]
    for name in ("x-envoy-external-address", "x-divertor-origin", "x-forwarded-for", "x-request-id", "host"):
        assert first.get(name) == again.get(name) is not None
    assert first.get("x-envoy-external-address") == "127.0.0.1"


@pytest.mark.parametrize(
    "cookie",
    [
        "session={}",
        "a=1; session={}",
        "session={};a",
        'session="{}"',
        "session =  {}  ",
        "session=x; session={}",
        "session={}; session=x",
        "$Version=1; session={}; $Path=/",
        "a=1,session={}",
        "a=1 session={}",
        'a="; session={}; b="',
        "session=\xa0{}",
        "session\xa0=\x85{}\xa0",
        "session={} x=1",
        "%73ession={}",
    ],
)
def test_an_isolated_session_is_known_however_its_cookie_is_written(
    shop: Shop, session: str, cookie: str
) -> None:
    shop.gateway.isolate(SESSION, session)
    assert shop.ask(cookie=cookie.format(session)).by == "audited"


def test_octal_and_percent_escapes_are_no_disguise(shop: Shop, session: str) -> None:
    shop.gateway.isolate(SESSION, session)
    octal = "".join(f"\\{ord(char):03o}" for char in session)
    percent = "".join(f"%{ord(char):02x}" for char in session)
    assert shop.ask(cookie=f'session="{octal}"').by == shop.ask(cookie=f"session={percent}").by == "audited"


@pytest.mark.parametrize("disguise", ['session="{}"', "session=%73{}", "session=\xa0{}", "a session={}, b"])
def test_who_attacks_in_disguise_is_known_without_it(shop: Shop, session: str, disguise: str) -> None:
    plain = f"s{session}" if "%73" in disguise else session
    shop.ask("/attack", cookie=disguise.format(session))
    assert shop.ask(cookie=f"session={plain}").by == "audited"


def test_the_second_of_two_cookie_headers_counts(shop: Shop, session: str) -> None:
    shop.gateway.isolate(SESSION, session)
    for lines in itertools.permutations(("Cookie: a=1", "cookie: session=x", f"COOKIE: session={session}")):
        assert shop.raw("GET / HTTP/1.1", "Host: a", *lines).by == "audited"


def test_a_session_behind_many_decoys_is_not_overlooked(shop: Shop, session: str) -> None:
    shop.gateway.isolate(SESSION, session)
    assert shop.ask(cookie="session=x; " * 3000 + f"session={session}").by == "audited"


def test_a_huge_cookie_is_looked_at_quickly(shop: Shop) -> None:
    shop.gateway.isolate(SESSION, "somebody")
    begin = time.monotonic()
    for piece in ("session=%41", "session=;", '"', "=", "a b,", "session="):
        shop.ask(cookie=piece * (50_000 // len(piece)))
    assert time.monotonic() - begin < 3


@pytest.mark.parametrize("name", ["Session", "SESSION", "sessio", "xsession", "session1", "session.x"])
def test_another_cookie_with_the_same_value_is_somebody_else(shop: Shop, session: str, name: str) -> None:
    shop.gateway.isolate(SESSION, session)
    assert shop.ask(cookie=f"{name}={session}").by == "live"


@pytest.mark.parametrize("byte", ["\0", "\x01", "\x0b", "\x1f", "\x7f"])
def test_control_characters_are_refused(shop: Shop, session: str, byte: str) -> None:
    shop.gateway.isolate(SESSION, session)
    reply = shop.ask(cookie=f"session={byte}{session}")
    assert reply.by != "live" and reply.status == 400


def test_both_sessions_of_an_attack_are_isolated(shop: Shop, session: str) -> None:
    shop.ask("/attack", cookie=f"session={session}-a; session={session}-b")
    assert (
        shop.ask(cookie=f"session={session}-a").by == shop.ask(cookie=f"session={session}-b").by == "audited"
    )


def test_a_renewed_session_is_still_the_attackers(shop: Shop, session: str) -> None:
    shop.gateway.isolate(SESSION, session)
    shop.audited.behave = lambda _: Answer(200, [("Set-Cookie", f"session={session}-new; Path=/; HttpOnly")])
    shop.ask(cookie=f"session={session}")
    assert shop.ask(cookie=f"session={session}-new").by == "audited"


def test_a_customers_new_session_is_not_isolated(shop: Shop, session: str) -> None:
    shop.live.behave = lambda _: Answer(200, [("Set-Cookie", f"session={session}-new; Path=/")])
    shop.ask(cookie=f"session={session}")
    assert shop.ask(cookie=f"session={session}-new").by == "live"


def test_an_attack_without_a_session_isolates_the_one_it_is_handed(shop: Shop, session: str) -> None:
    shop.audited.behave = lambda _: Answer(200, [("Set-Cookie", f"session={session}")])
    shop.ask("/attack")
    assert shop.ask(cookie=f"session={session}").by == "audited"
    assert shop.ask().by == "live" and shop.ask(cookie="session=other").by == "live"


def test_without_any_session_the_address_is_isolated(shop: Shop) -> None:
    shop.ask("/attack")
    assert shop.ask().by == "audited" and shop.ask(cookie="session=fresh").by == "audited"


def test_an_address_handed_a_session_does_not_pass_the_isolation_on(shop: Shop, session: str) -> None:
    """Behind an address there may be others: their sessions stay theirs when it is released."""
    digest = shop.gateway.isolate(ADDRESS, "127.0.0.1")
    shop.audited.behave = lambda _: Answer(200, [("Set-Cookie", f"session={session}")])
    assert shop.ask().by == "audited"
    shop.gateway.table.remove(digest)
    assert shop.ask(cookie=f"session={session}").by == "live"


def test_a_header_key_isolates(shop: Shop, session: str) -> None:
    shop.serve(API_KEY)
    shop.ask("/attack", x_api_key=session)
    assert shop.raw("GET / HTTP/1.1", "Host: a", f"X-API-KEY:  {session}\xa0").by == "audited"
    assert shop.ask(x_api_key="other").by == "live"
    shop.serve()


def test_the_first_key_a_request_carries_is_isolated_and_the_others_are_not(shop: Shop, session: str) -> None:
    shop.serve(SESSION, API_KEY, ADDRESS)
    shop.ask("/attack", cookie=f"session={session}", x_api_key=session)
    assert shop.ask(cookie=f"session={session}").by == "audited"
    assert shop.ask(x_api_key=session).by == "live"
    shop.serve()


def test_the_address_is_the_clients_behind_a_trusted_proxy(shop: Shop) -> None:
    shop.serve(ADDRESS, trusted_hops=1)
    shop.gateway.isolate(ADDRESS, "192.0.2.7")
    assert shop.ask(x_forwarded_for="192.0.2.7").by == "audited"
    assert shop.ask(x_forwarded_for="192.0.2.7, 192.0.2.8").by == "live"
    shop.serve()
    assert shop.ask(x_forwarded_for="192.0.2.7").by == "live"


def test_an_ipv6_client_behind_a_trusted_proxy_is_known(shop: Shop) -> None:
    shop.serve(ADDRESS, trusted_hops=1)
    shop.gateway.isolate(ADDRESS, "2001:db8::7")
    assert shop.ask(x_forwarded_for="2001:DB8:0:0::7").by == "audited"
    shop.serve()


def test_a_request_behind_a_proxy_that_ends_tls_is_diverted(shop: Shop, session: str) -> None:
    shop.serve(trusted_hops=1)
    reply = shop.ask(
        "/attack", cookie=f"session={session}", x_forwarded_for="192.0.2.1", x_forwarded_proto="https"
    )
    assert reply.by == "audited" and reply.seen["x-forwarded-proto"] == "https"
    assert reply.seen["x-divertor-origin"] == "https://shop.example/attack"
    shop.serve()


def test_an_isolation_ends_by_itself(shop: Shop, session: str) -> None:
    shop.gateway.isolate(SESSION, session, int(time.time()) + 2)
    assert shop.ask(cookie=f"session={session}").by == "audited"
    deadline = time.monotonic() + 5
    while shop.ask(cookie=f"session={session}").by != "live":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_release_is_as_immediate_as_the_isolation(shop: Shop, session: str) -> None:
    shop.ask("/attack", cookie=f"session={session}")
    digest = shop.gateway.isolate(SESSION, session)
    shop.gateway.table.remove(digest)
    shop.gateway.recent.forget(digest)
    assert shop.ask(cookie=f"session={session}").by == "live"


def test_an_isolation_goes_before_every_condition(shop: Shop, session: str) -> None:
    shop.serve(condition="has header x-live")
    shop.gateway.isolate(SESSION, session)
    assert shop.ask(cookie=f"session={session}", x_live="1").by == "audited"
    shop.serve()


def test_an_isolated_client_gets_503_without_the_audited_version(shop: Shop, session: str) -> None:
    shop.gateway.isolate(SESSION, session)
    gone = Upstream("audited", (Endpoint("127.0.0.1", new_port()),))
    shop.versions = shop.versions[0], gone
    shop.serve()
    assert shop.ask(cookie=f"session={session}").status == 503
    assert shop.ask("/attack", cookie="session=other").status == 503
    assert shop.ask().by == "live"
    shop.versions = shop.versions[0], upstream("audited", shop.audited)
    shop.serve()


@pytest.mark.parametrize("gone", ["no instance", "unhealthy"])
def test_an_isolated_client_gets_the_newest_version_if_so_chosen(shop: Shop, session: str, gone: str) -> None:
    shop.gateway.isolate(SESSION, session)
    check = Check("/", 0.1, 1.0, 1)
    dead = (Endpoint("127.0.0.1", new_port()),) if gone == "unhealthy" else ()
    shop.versions = shop.versions[0], Upstream("audited", dead, check if gone == "unhealthy" else None)
    shop.serve(open=True)
    deadline = time.monotonic() + 5
    while shop.ask(cookie=f"session={session}").by != "live":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    shop.versions = shop.versions[0], upstream("audited", shop.audited)
    shop.serve(open=True)
    assert shop.ask(cookie=f"session={session}").by == "audited"
    shop.serve()


def test_two_gateways_may_both_fail_open(shop: Shop) -> None:
    policy = isolated("audited", open=True)
    fronts = [listener(port, Route("r", "live", 100), isolated=policy) for port in (shop.port, new_port())]
    shop.gateway.apply(Snapshot(tuple(fronts), shop.versions))
    assert [ask(front.port).by for front in fronts] == ["live", "live"]
    shop.serve()


def test_a_websocket_of_an_isolated_client_goes_to_the_audited_version(shop: Shop, session: str) -> None:
    shop.gateway.isolate(SESSION, session)
    upgrade = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: eA==",
    )
    reply = shop.raw("GET /chat HTTP/1.1", "Host: a", f"Cookie: session={session}", *upgrade)
    assert (reply.status, reply.by) == (101, "audited")
    assert shop.raw("GET /chat HTTP/1.1", "Host: a", *upgrade).by == "live"


TARGETS = [
    "/attack",
    "/attack?",
    "/attack?a=b&c=%27%20or%201%3D1--",
    "/attack?q='\"|{}^`\\<>",
    "/attack//x/;p=1?x=//y",
    "//attack",
    "//evil.example/attack",
    "/attack?u=http://x/y#",
    "/%2e%2e/attack%2Fx%00",
    "/attack?x=" + "y" * 20_000,
    "/attack@b:80/",
    "/attack?%ff%fe",
]


@pytest.mark.parametrize("target", TARGETS)
def test_a_replayed_request_is_the_same_or_refused(shop: Shop, session: str, target: str) -> None:
    """Whatever Envoy cannot replay exactly must be refused; the client never learns where it was to go."""
    reply = shop.raw(f"GET {target} HTTP/1.1", "Host: shop.example", f"Cookie: session={session}")
    assert (reply.status, reply.by) in ((200, "audited"), (400, None), (403, "live"))
    assert reply.get("location") is None
    if reply.status == 200:
        assert [asked.target for asked in shop.live.asked] == [asked.target for asked in shop.audited.asked]
    if reply.status == 403:
        assert shop.ask(cookie=f"session={session}").by == "audited"


@pytest.mark.parametrize(
    "host", ["shop.example", "shop.example:8080", "[::1]:80", "127.0.0.1", "a@b", "", "a b", "..", "é"]
)
def test_no_host_leads_elsewhere(shop: Shop, session: str, host: str) -> None:
    reply = shop.raw("GET /attack HTTP/1.1", f"Host: {host}", f"Cookie: session={session}")
    assert not ours(reply) and reply.get("location") is None
    assert (reply.status, reply.by) in ((200, "audited"), (400, None), (403, "live"))


def test_an_absolute_target_is_routed_as_any_other(shop: Shop, session: str) -> None:
    shop.gateway.isolate(SESSION, session)
    line = "GET http://elsewhere.example/x HTTP/1.1"
    assert shop.raw(line, "Host: shop.example", f"Cookie: session={session}").by == "audited"
    attack_line = "GET http://elsewhere.example/attack HTTP/1.1"
    assert shop.raw(attack_line, "Host: a", "Cookie: session=another").by == "audited"


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_every_method_is_diverted_as_what_it_is(shop: Shop, session: str, method: str) -> None:
    reply = shop.ask("/attack", method=method, cookie=f"session={session}")
    assert reply.by == "audited" and shop.audited.asked[-1].method == method


def test_a_session_that_is_no_text_is_isolated_and_logged(shop: Shop) -> None:
    shop.ask("/attack-bytes", cookie="session=\xff\xfe\xfd")
    assert shop.ask(cookie="session=\xff\xfe\xfd").by == "audited"
    assert shop.gateway.lines(lambda line: line["path"] == "/attack-bytes")


def test_the_access_log_tells_who_attacked_and_who_is_isolated(shop: Shop, session: str) -> None:
    shop.ask(f"/attack-{session}", cookie=f"session={session}")
    shop.ask(f"/later-{session}", cookie=f"session={session}")
    (first,) = shop.gateway.lines(lambda line: line["path"] == f"/attack-{session}")
    (later,) = shop.gateway.lines(lambda line: line["path"] == f"/later-{session}")
    assert first["route"].endswith("#divert") and later["route"].endswith("#isolated")
    assert (first["scope"], first["added"]) == (SCOPE, f"cookie|session|{session}")
    assert (first["upstream"], later["key"]) == ("audited", "cookie")


def test_every_session_of_an_attack_is_told(shop: Shop, session: str) -> None:
    """The application may have read any of them; only what is told becomes a lasting record."""
    shop.ask(f"/attack-{session}", cookie=f"session={session}; session={session}-b")
    (line,) = shop.gateway.lines(lambda line: line["path"] == f"/attack-{session}")
    assert line["added"] == f"cookie|session|{session} cookie|session|{session}-b"


def test_who_sends_more_sessions_than_any_client_would_is_isolated(shop: Shop, session: str) -> None:
    cookie = "; ".join(f"session={session}-{n}" for n in range(9))
    assert shop.ask(cookie=cookie).by == "audited"


def test_a_refusal_that_is_easily_provoked_isolates_no_address(shop: Shop) -> None:
    assert shop.raw("GET /attack-host HTTP/1.1", "Host: [::1", "Connection: close").status in (400, 403)
    assert shop.ask().by == "live"


def test_a_customer_leaves_no_line(shop: Shop, session: str) -> None:
    shop.ask(f"/quiet-{session}")
    shop.ask(f"/attack-{session}", cookie=f"session={session}")
    shop.gateway.lines(lambda line: line["path"] == f"/attack-{session}")
    assert f"/quiet-{session}" not in shop.gateway.layout.access_log.read_text()


def test_an_envoy_that_was_killed_comes_back_with_everybody_isolated(shop: Shop, session: str) -> None:
    shop.ask("/attack", cookie=f"session={session}-recent")
    shop.gateway.isolate(SESSION, f"{session}-table")
    shop.gateway.kill()
    shop.gateway.start()
    deadline = time.monotonic() + 5
    while True:
        try:
            assert shop.ask(cookie=f"session={session}-recent").by == "audited"
            break
        except ConnectionError:
            assert time.monotonic() < deadline
    assert shop.ask(cookie=f"session={session}-table").by == "audited" and shop.ask().by == "live"


def test_one_among_a_million_is_found(shop: Shop, session: str) -> None:
    shop.gateway.table.replace(
        (number * 0x9E3779B97F4A7C15 & (1 << 64) - 1 or 1, FOREVER) for number in range(10**6)
    )
    digest = fingerprint(scope_key(SECRET, SCOPE, SESSION), session)
    shop.gateway.table.put(digest, FOREVER, 0)
    assert shop.ask(cookie=f"session={session}").by == "audited" and shop.ask().by == "live"


def ours(reply: Reply) -> list[str]:
    return [name for name, _ in reply.headers if name.lower().startswith("x-divertor")]


def forged(reply: Reply, value: str) -> bool:
    """Whether the version saw what the client wrote."""
    return any(value in text for text in reply.seen.values())
