"""The WSGI side over plain apps, with real SQLite and real files as sinks."""

from __future__ import annotations

import gc
import io
import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults

import pytest

from divertor_sensor import AttackInterrupted, ConnectionCut, Mode, context
from divertor_sensor.frameworks.wsgi import DivertorWSGI
from divertor_sensor.reports.detection import Detection
from divertor_sensor.sensor import Sensor

ATTACK = "x' or '1'='1"
MakeSensor = Callable[..., Sensor]


class Answer:
    """A response as a server would have sent it."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: dict[str, str] = {}
        self.body = b""

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        self.status, self.headers = status, {name.lower(): value for name, value in headers}
        return self.write

    def write(self, data: bytes) -> None:
        self.body += data


def ask(app: Any, query: str = "", body: bytes = b"", **extra: Any) -> Answer:
    environ: dict[str, Any] = {"QUERY_STRING": query, "REMOTE_ADDR": "10.0.0.9", **extra}
    if body:
        environ |= {
            "wsgi.input": io.BytesIO(body),
            "CONTENT_LENGTH": str(len(body)),
            "REQUEST_METHOD": "POST",
            "CONTENT_TYPE": "application/x-www-form-urlencoded",
        }
    setup_testing_defaults(environ)
    answer = Answer()
    result = app(environ, answer.start)
    try:
        for piece in result:
            answer.write(piece)
    finally:
        getattr(result, "close", lambda: None)()
    return answer


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.executescript("create table users (name); insert into users values ('bob'), ('eve');")
    yield connection
    connection.close()


def lookup(database: sqlite3.Connection, name: str) -> bytes:
    rows = database.execute(f"select name from users where name = '{name}'").fetchall()
    return repr(rows).encode()


@pytest.fixture
def shop(database: sqlite3.Connection) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    """Looks up the form field or the query parameter `q`, in the most careless way."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        text = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
        name = (text or environ["QUERY_STRING"]).partition("=")[2].replace("%27", "'").replace("+", " ")
        body = lookup(database, name)
        start_response("200 OK", [("Set-Cookie", "session=app"), ("Content-Type", "text/plain")])
        return [body]

    return app


GATEWAY: dict[str, Any] = {"HTTP_X_DIVERTOR_ORIGIN": "http://shop.example/search?q=1"}
BODY = b"q=x%27+or+%271%27=%271"


def test_an_honest_request_is_answered_by_the_app(
    shop: Any, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    answer = ask(DivertorWSGI(shop, make_sensor()), "q=bob", **GATEWAY)
    assert (answer.status, answer.body) == ("200 OK", b"[('bob',)]")
    assert answer.headers["set-cookie"] == "session=app" and not kept


def test_an_attack_becomes_a_redirect_for_the_gateway_and_nothing_of_the_app(
    shop: Any, make_sensor: MakeSensor
) -> None:
    answer = ask(DivertorWSGI(shop, make_sensor()), body=BODY, **GATEWAY)
    assert answer.status == "307 Temporary Redirect" and answer.body == b""
    assert answer.headers == {
        "location": "http://shop.example/search?q=1",
        "x-divertor-token": "secret-token",
        "cache-control": "no-store",
        "content-length": "0",
    }


def test_the_statement_of_an_attack_never_reaches_the_database(
    shop: Any, make_sensor: MakeSensor, database: sqlite3.Connection
) -> None:
    ran: list[str] = []
    database.set_trace_callback(ran.append)
    ask(DivertorWSGI(shop, make_sensor()), body=BODY, **GATEWAY)
    assert ran == []


@pytest.mark.parametrize(
    ("settings", "extra"),
    [
        ({}, {}),
        ({"divert_token": ""}, GATEWAY),
        ({"mode": Mode.BLOCK}, GATEWAY),
        ({}, {"HTTP_X_DIVERTOR_ORIGIN": "javascript:x"}),
        ({}, {"HTTP_X_DIVERTOR_ORIGIN": "http://h/\r\nset-cookie: a=b"}),
    ],
)
def test_without_a_gateway_or_token_an_attack_is_refused(
    shop: Any, make_sensor: MakeSensor, settings: dict[str, Any], extra: dict[str, str]
) -> None:
    answer = ask(DivertorWSGI(shop, make_sensor(**settings)), body=BODY, **extra)
    assert (answer.status, answer.body) == ("403 Forbidden", b"This request was refused.\n")
    assert set(answer.headers) == {"content-type", "cache-control", "content-length"}


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ({}, 307),
        ({"CONTENT_LENGTH": "12"}, 307),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, 403),
        ({"CONTENT_LENGTH": str((1 << 20) + 1)}, 403),
    ],
)
def test_a_get_whose_body_might_be_too_long_to_replay_is_refused(
    shop: Any, make_sensor: MakeSensor, head: dict[str, str], status: int
) -> None:
    request = {**GATEWAY, "REQUEST_METHOD": "GET", **head}
    answer = ask(DivertorWSGI(shop, make_sensor()), BODY.decode(), **request)
    assert answer.status.startswith(str(status))


def test_report_mode_reports_and_lets_it_run(
    shop: Any, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    answer = ask(DivertorWSGI(shop, make_sensor(mode=Mode.REPORT)), body=BODY, **GATEWAY)
    assert answer.body == b"[('bob',), ('eve',)]"
    assert [(found.signal, found.outcome) for found in kept] == [("attack", "reported")]


def test_a_vulnerability_reached_by_an_honest_name_is_reported_and_not_stopped(
    shop: Any, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    with pytest.raises(sqlite3.OperationalError):
        ask(DivertorWSGI(shop, make_sensor()), "q=O%27Brien", **GATEWAY)
    assert [(found.signal, found.outcome) for found in kept] == [("vulnerability", "reported")]


def test_an_app_that_swallows_the_interruption_is_overruled(
    database: sqlite3.Connection, make_sensor: MakeSensor
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            lookup(database, ATTACK)
        except:  # noqa: E722
            pass
        start_response("200 OK", [("Set-Cookie", "a=b")])
        return [b"nothing happened"]

    answer = ask(DivertorWSGI(app, make_sensor()), "q=" + ATTACK, **GATEWAY)
    assert answer.status.startswith("307") and "set-cookie" not in answer.headers


def test_after_an_interruption_every_sink_of_the_request_is_refused(
    database: sqlite3.Connection, make_sensor: MakeSensor
) -> None:
    refused: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        calls: list[Callable[[], Any]] = [
            lambda: lookup(database, ATTACK),
            lambda: database.execute("select 1"),
            lambda: open("/dev/null"),
        ]
        for number, call in enumerate(calls):
            try:
                call()
            except AttackInterrupted:
                refused.append(str(number))
        return [b""]

    ask(DivertorWSGI(app, make_sensor()), "q=" + ATTACK)
    assert refused == ["0", "1", "2"]


def test_an_attack_in_a_generator_before_its_first_piece_is_still_diverted(
    database: sqlite3.Connection, make_sensor: MakeSensor
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b""
        yield lookup(database, ATTACK)

    assert ask(DivertorWSGI(app, make_sensor()), "q=" + ATTACK, **GATEWAY).status.startswith("307")


def test_an_attack_in_the_middle_of_a_response_cuts_it(
    database: sqlite3.Connection, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    closed: list[bool] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            yield b"first"
            yield lookup(database, ATTACK)
        finally:
            closed.append(True)

    with pytest.raises(ConnectionCut):
        ask(DivertorWSGI(app, make_sensor()), "q=" + ATTACK, **GATEWAY)
    assert closed == [True] and kept[0].outcome == "blocked"


def test_an_attack_in_close_is_stopped_without_hurting_the_server(
    database: sqlite3.Connection, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    class Result:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"done"])

        def close(self) -> None:
            lookup(database, ATTACK)

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        return Result()

    assert ask(DivertorWSGI(app, make_sensor()), "q=" + ATTACK).body == b"done"
    assert kept[0].outcome == "blocked"


def test_the_old_style_write_callable_works(make_sensor: MakeSensor) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"one ")
        return [b"two"]

    assert ask(DivertorWSGI(app, make_sensor())).body == b"one two"


def test_an_error_page_replaces_a_held_head(make_sensor: MakeSensor) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        try:
            raise ValueError
        except ValueError as problem:
            start_response("500 Oops", [], (ValueError, problem, None))
        return [b"sorry"]

    assert ask(DivertorWSGI(app, make_sensor())).status == "500 Oops"


def test_an_exception_of_the_app_passes_unchanged(make_sensor: MakeSensor) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise LookupError("own")

    with pytest.raises(LookupError, match="own"):
        ask(DivertorWSGI(app, make_sensor()))


def test_a_generator_that_fails_at_once_is_still_closed(make_sensor: MakeSensor) -> None:
    closed: list[bool] = []

    class Result:
        def __iter__(self) -> Iterator[bytes]:
            raise LookupError("own")

        def close(self) -> None:
            closed.append(True)

    with pytest.raises(LookupError, match="own"):
        ask(DivertorWSGI(lambda environ, start_response: Result(), make_sensor()))
    assert closed == [True]


def test_lists_and_the_servers_file_wrapper_reach_the_server_as_they_are(make_sensor: MakeSensor) -> None:
    for result in ([b"x"], FileWrapper(io.BytesIO(b"x"))):

        def app(environ: dict[str, Any], start_response: Any, result: Any = result) -> Any:
            start_response("200 OK", [])
            return result

        environ: dict[str, Any] = {"wsgi.file_wrapper": FileWrapper}
        assert DivertorWSGI(app, make_sensor())(environ, lambda *_: None) is result


def test_the_body_is_never_read_ahead_of_the_app(make_sensor: MakeSensor) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        environ["wsgi.input"].read(2)
        return [b""]

    stream = io.BytesIO(b"q=abcdef")
    environ: dict[str, Any] = {"wsgi.input": stream, "CONTENT_LENGTH": "8"}
    DivertorWSGI(app, make_sensor())(environ, lambda *_: None)
    assert stream.tell() == 2


def test_every_way_to_read_the_body_is_recorded(make_sensor: MakeSensor) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        stream, buffer = environ["wsgi.input"], bytearray(2)
        stream.readline()
        stream.readinto(buffer)
        stream.readlines(1)
        list(stream)
        start_response("200 OK", [])
        request = context.current.get()
        assert request is not None
        return [request.body.content()]

    body = b"a\nbcd\ne\nf"
    assert ask(DivertorWSGI(app, make_sensor()), body=body).body == body


def test_the_request_is_current_only_while_the_app_works(make_sensor: MakeSensor) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        for _ in range(2):
            yield b"1" if context.current.get() else b"0"

    result = DivertorWSGI(app, make_sensor())({}, lambda *_: None)
    seen = [(piece, context.current.get()) for piece in result]
    assert seen == [(b"1", None), (b"1", None)]


def test_the_rest_of_a_small_body_is_read_before_a_refusal(
    database: sqlite3.Connection, make_sensor: MakeSensor
) -> None:
    """A server that closes a connection on unread data may lose the answer."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.input"].read(3)
        return [lookup(database, ATTACK)]

    stream = io.BytesIO(b"12345678")
    environ = {"QUERY_STRING": "q=" + ATTACK, "wsgi.input": stream, "CONTENT_LENGTH": "8"}
    DivertorWSGI(app, make_sensor())(environ, lambda *_: None)
    assert stream.tell() == 8


def test_a_request_that_is_tried_on_a_second_app_is_guarded_there_too(
    shop: Any, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    def missing(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        return []

    sensor = make_sensor()

    def cascade(environ: dict[str, Any], start_response: Any) -> Any:
        DivertorWSGI(missing, sensor)(environ, start_response)
        return DivertorWSGI(shop, sensor)(environ, start_response)

    assert ask(cascade, "q=" + ATTACK).status == "403 Forbidden" and len(kept) == 1


def test_a_finished_request_is_freed_without_the_garbage_collector(
    shop: Any, make_sensor: MakeSensor
) -> None:
    stream = io.BytesIO(BODY)
    freed = weakref.ref(stream)
    environ = {"wsgi.input": stream, "CONTENT_LENGTH": str(len(BODY)), "QUERY_STRING": ""}
    gc.disable()
    try:
        list(DivertorWSGI(shop, make_sensor(mode=Mode.REPORT))(environ, lambda *_: None))
        del stream, environ
        assert freed() is None
    finally:
        gc.enable()


def test_nested_middleware_guards_once(shop: Any, make_sensor: MakeSensor, kept: list[Detection]) -> None:
    sensor = make_sensor()
    ask(DivertorWSGI(DivertorWSGI(shop, sensor), sensor), body=BODY)
    assert len(kept) == 1


def test_the_report_names_who_what_and_where(
    shop: Any, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    extra: dict[str, Any] = {
        "HTTP_COOKIE": "a=1; session=s-1",
        "HTTP_USER_AGENT": "curl/8",
        "HTTP_X_REQUEST_ID": "r-1",
    }
    ask(DivertorWSGI(shop, make_sensor()), body=BODY, PATH_INFO="/search", **extra)
    (found,) = kept
    assert (found.subject.method, found.subject.path, found.subject.address) == (
        "POST",
        "/search",
        "10.0.0.9",
    )
    assert (found.subject.session, found.subject.session_cookie) == ("s-1", "session")
    assert (found.subject.user_agent, found.subject.request_id) == ("curl/8", "r-1")
    assert (found.source, found.parameter, found.payload) == ("form", "q", ATTACK)
    assert found.statement == f"select name from users where name = '{ATTACK}'"
    assert (found.frames[0].function, found.frames[0].file) == ("lookup", __file__)


HOPS = [
    (0, "1.1.1.1, 2.2.2.2", "10.0.0.9"),
    (1, "1.1.1.1, 2.2.2.2", "2.2.2.2"),
    (2, "1.1.1.1, 2.2.2.2", "1.1.1.1"),
    (3, "1.1.1.1", "10.0.0.9"),
]


@pytest.mark.parametrize(("hops", "header", "address"), HOPS)
def test_the_client_address_trusts_only_as_many_proxies_as_told(
    shop: Any, make_sensor: MakeSensor, kept: list[Detection], hops: int, header: str, address: str
) -> None:
    ask(DivertorWSGI(shop, make_sensor(trusted_hops=hops)), body=BODY, HTTP_X_FORWARDED_FOR=header)
    assert kept[0].subject.address == address


@pytest.mark.parametrize(("hops", "address"), [(0, "10.0.0.9"), (1, "3.3.3.3")])
def test_the_gateways_word_about_the_client_counts_only_behind_a_proxy(
    shop: Any, make_sensor: MakeSensor, kept: list[Detection], hops: int, address: str
) -> None:
    extra: dict[str, Any] = {"HTTP_X_FORWARDED_FOR": "2.2.2.2", "HTTP_X_ENVOY_EXTERNAL_ADDRESS": "3.3.3.3"}
    ask(DivertorWSGI(shop, make_sensor(trusted_hops=hops)), body=BODY, **extra)
    assert kept[0].subject.address == address


def test_a_body_that_cannot_fill_a_buffer_does_not_promise_it(make_sensor: MakeSensor) -> None:
    class Plain:
        def read(self, size: int = -1) -> bytes:
            return b""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [str(hasattr(environ["wsgi.input"], "readinto")).encode()]

    environ = {"wsgi.input": Plain(), "CONTENT_LENGTH": "1"}
    assert DivertorWSGI(app, make_sensor())(environ, lambda *_: None) == [b"False"]


def test_a_static_statement_that_an_input_happens_to_equal_is_known_after_its_first_run(
    database: sqlite3.Connection, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        database.execute("select name from users where name = 'bob'")
        start_response("200 OK", [])
        return [b"ok"]

    guarded = DivertorWSGI(app, make_sensor())
    ask(guarded, "q=hello")
    assert ask(guarded, "q=from+users+where").body == b"ok" and not kept


def test_a_request_seen_in_part_teaches_nothing(
    database: sqlite3.Connection, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    """Else an attacker could hide the payload behind a thousand parameters once, and use it ever after."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        lookup(database, ATTACK)
        start_response("200 OK", [])
        return [b"ok"]

    guarded = DivertorWSGI(app, make_sensor())
    ask(guarded, "&".join(f"p{number}=v" for number in range(600)))
    ask(guarded, "q=" + ATTACK)
    assert [found.outcome for found in kept] == ["blocked"]


def test_one_finding_is_reported_once_per_request(
    shop: Any, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        stream = environ["wsgi.input"].read()
        for _ in range(3):
            environ["wsgi.input"] = io.BytesIO(stream)
            result = shop(environ, start_response if _ == 2 else lambda *_: None)
        return result

    ask(DivertorWSGI(app, make_sensor(mode=Mode.REPORT)), body=BODY)
    assert len(kept) == 1
