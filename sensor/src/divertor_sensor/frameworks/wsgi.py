"""The WSGI side (PEP 3333): makes the request current while the app works, and replaces the response if
need be.

The app's `start_response` is held back until its first piece of body, so that an attack found before then
can still be answered differently. The body is never read ahead of the app: `wsgi.input` is wrapped, and
what the app reads is recorded. An attack found after the response has begun cuts the connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, TypeAlias, cast

from divertor_sensor import context, runtime
from divertor_sensor.behaviour import ended, failed
from divertor_sensor.frameworks.refusal import refusal_for
from divertor_sensor.request import AttackInterrupted, ConnectionCut, Head, Request
from divertor_sensor.responses import Page, Raw, check_head
from divertor_sensor.sensor import Sensor
from divertor_sensor.sources.recording import MAX_BODY, Body

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]
WsgiApp: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]

_KEY = "divertor_sensor.request"
_WHOLE = (list, tuple)
_SERVER_ERROR = 500
#: A longer list of names is read each time it comes.
_MAX_KEPT = 2048


class DivertorWSGI:
    """Middleware that guards any WSGI app. Without a sensor, the one `instrument` made is used."""

    def __init__(self, app: WsgiApp, sensor: Sensor | None = None) -> None:
        self.app = app
        self.sensor = runtime.sensor() if sensor is None else sensor

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if _KEY in environ and context.current.get() is not None:
            return self.app(environ, start_response)
        return serve(self.app, self.sensor, environ, start_response)


def serve(app: WsgiApp, sensor: Sensor, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer a request that is not followed yet with what `app` says, under guard."""
    request = Request(sensor, lambda: read_head(environ), lambda: _texts(environ))
    environ[_KEY] = True  # not the request itself: it refers to the environ, and a cycle lives long
    recorder = _record_body(environ, request)
    return _Exchange(request, start_response, recorder, environ).run(app, environ)


def read_head(environ: Environ) -> Head:
    """The head of the request in a WSGI environ. Undecodable bytes of the path become U+FFFD."""
    names = tuple(environ)
    is_short = len("".join(names)) <= _MAX_KEPT
    headers = {
        name: value
        for key, name in (_header_names if is_short else _header_names.__wrapped__)(names)
        if isinstance(value := environ[key], str)
    }
    if environ.get("CONTENT_LENGTH"):
        headers["content-length"] = environ["CONTENT_LENGTH"]
    if environ.get("CONTENT_TYPE"):
        headers["content-type"] = environ["CONTENT_TYPE"]
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return Head(
        method=environ.get("REQUEST_METHOD", ""),
        path=path.encode("latin-1", "replace").decode("utf-8", "replace"),
        query=environ.get("QUERY_STRING", ""),
        headers=headers,
        peer=environ.get("REMOTE_ADDR", "") or "",
        raw_path=str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or "").partition("?")[0],
    )


@lru_cache(maxsize=64)
def _header_names(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Which of an environ's names are headers, and how those are called; there are few such sets."""
    return [(name, name[5:].replace("_", "-").lower()) for name in names if name.startswith("HTTP_")]


def _texts(environ: Environ) -> list[str]:
    """Every text of the request, and those the server adds."""
    return [value for value in environ.values() if type(value) is str]


def _code(status: Any) -> int:
    """The number in `404 Not Found`; 0 when an app gives something else."""
    code = status[:3] if isinstance(status, str) else ""
    return int(code) if code.isascii() and code.isdecimal() else 0


def read_raw(environ: Environ) -> Raw:
    """What the first questions about a request are asked of."""
    get = environ.get
    return Raw(
        get("QUERY_STRING", ""),
        get("PATH_INFO", ""),
        get("HTTP_COOKIE", ""),
        get("HTTP_REFERER", ""),
        get("HTTP_USER_AGENT", ""),
    )


class _RecordingInput:
    """`wsgi.input`, recording what the app reads; everything else is the server's own object."""

    def __init__(self, stream: Any, body: Body) -> None:
        self._stream = stream
        self._body = body

    def _took(self, chunk: bytes) -> bytes:
        if chunk:  # a stream that does not block may have nothing yet, and give None
            self._body.record(chunk)
        return chunk

    def read(self, *args: Any) -> bytes:
        return self._took(self._stream.read(*args))

    def readline(self, *args: Any) -> bytes:
        return self._took(self._stream.readline(*args))

    def readlines(self, *args: Any) -> list[bytes]:
        lines: list[bytes] = self._stream.readlines(*args)
        self._took(b"".join(lines))
        return lines

    def __iter__(self) -> Iterator[bytes]:
        for line in self._stream:
            yield self._took(line)

    def __next__(self) -> bytes:
        return self._took(next(self._stream))

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._stream, name)
        if name == "read1":  # which not every stream has, and `io.TextIOWrapper` prefers
            return lambda *args: self._took(value(*args))
        return value


class _RecordingBuffer(_RecordingInput):
    """For servers whose body can be read into a buffer: gunicorn's cannot, and frameworks look for it."""

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        size: int = self._stream.readinto(view)
        self._took(bytes(view[:size]))
        return size


def _record_body(environ: Environ, request: Request) -> _RecordingInput | None:
    """Wrap `wsgi.input` when the request has a body."""
    has_body = environ.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in environ
    if not has_body or "wsgi.input" not in environ:
        return None
    stream = environ["wsgi.input"]
    kind = _RecordingBuffer if hasattr(stream, "readinto") else _RecordingInput
    recorder = kind(stream, request.body)
    environ["wsgi.input"] = recorder
    return recorder


class _Exchange:
    """One request and its response; also the iterable that the server gets for a streamed body."""

    __slots__ = (
        "_first",
        "_held",
        "_is_judged",
        "_is_over",
        "_page",
        "_pieces",
        "_raw",
        "_recorder",
        "_request",
        "_result",
        "_server_start",
        "_server_write",
        "_started",
    )

    def __init__(
        self,
        request: Request,
        start_response: StartResponse,
        recorder: _RecordingInput | None,
        environ: Environ,
    ) -> None:
        self._request = request
        #: Taken before the app can change it.
        self._raw = read_raw(environ)
        self._page: Page | None = None
        self._is_judged = False
        self._is_over = False
        self._server_start = start_response
        self._recorder = recorder
        self._held: tuple[Any, ...] | None = None
        self._started = False
        self._result: Any = ()
        self._pieces: Iterator[bytes] = iter(())
        self._first: list[bytes] = []

    def run(self, app: WsgiApp, environ: Environ) -> Iterable[bytes]:
        """Call the app; return what the server shall send."""
        request = self._request
        token = context.current.set(request)
        try:
            self._result = app(environ, self._start_response)
            whole = self._as_whole(environ)
            if not request.interrupted:
                if whole is None:
                    self._read_first_piece()
                    self._judge(self._first)
                else:
                    self._judge(whole if type(whole) in _WHOLE else ())
            if whole is not None and not request.interrupted:
                self._start()
                self._end()
                return whole
        except BaseException as problem:
            if not request.interrupted or isinstance(problem, (KeyboardInterrupt, SystemExit)):
                # The server never sees the result, so closing it falls to us.
                self._close_result()
                failed(request, problem)
                request.status = request.status or _SERVER_ERROR
                self._end()
                raise
        finally:
            context.current.reset(token)
        if request.interrupted:
            return self._refuse(environ)
        self._start()
        return self

    def _as_whole(self, environ: Environ) -> Iterable[bytes] | None:
        """The result itself when no code of the app runs while it is sent: a list, or the server's file
        wrapper.
        """
        result = self._result
        if type(result) in _WHOLE:
            return cast(list[bytes], result)
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(result, wrapper):
            return cast(Iterable[bytes], result)
        return None

    def _read_first_piece(self) -> None:
        """Up to the first piece that is not empty: a server sends nothing before it either (PEP 3333)."""
        self._pieces = iter(self._result)
        for piece in self._pieces:
            self._first.append(piece)
            if piece or self._request.interrupted:
                return

    def _start_response(self, status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], None]:
        if self._started:
            self._server_start(status, headers, exc_info)
        elif self._held is not None and exc_info is None:
            raise AssertionError("start_response was called twice without exc_info")
        else:
            self._held = (status, headers) if exc_info is None else (status, headers, exc_info)
        return self._write

    def _judge(self, pieces: Iterable[bytes]) -> None:
        """Look at the head, and at the first pieces of the body, before they go out."""
        if not self._is_judged and self._held is not None:
            self._is_judged = True
            headers = self._held[1]
            # PEP 3333 asks for a list; anything else might be gone once it was read.
            self._page = check_head(self._request, headers if type(headers) in _WHOLE else (), self._raw)
        if self._page is not None:
            for piece in pieces:
                self._page.feed(piece)

    def _start(self) -> Any:
        if self._started or self._held is None:
            return None
        self._started = True
        self._request.status = _code(self._held[0])
        self._request.replaceable = False
        return self._server_start(*self._held)

    def _write(self, data: bytes) -> None:
        """The callable that `start_response` returns, for apps of the old style."""
        if not self._request.interrupted:
            self._judge((data,))
        if self._request.interrupted:
            return
        if not self._started:
            self._server_write = self._start()
        self._server_write(data)

    def _refuse(self, environ: Environ) -> Iterable[bytes]:
        """Drop the app's response, headers and all, and answer in its place."""
        self._close_result()
        if self._started:
            raise ConnectionCut("the request was refused after its response had begun") from None
        self._started = True
        self._drain(environ)
        refusal = refusal_for(self._request)
        self._request.status = refusal.status
        self._end()
        self._server_start(f"{refusal.status} {refusal.phrase}", list(refusal.headers))
        # Not an empty list: a server may send the head together with the first piece only.
        return [refusal.body]

    def _drain(self, environ: Environ) -> None:
        """Read what the app left of a body of known, small size: closing on unread data could lose the
        answer.
        """
        if self._recorder is None:
            return
        try:
            left = int(environ.get("CONTENT_LENGTH", "")) - self._request.body.size
            if 0 < left <= MAX_BODY:
                self._recorder.read(left)
        except (ValueError, OSError):
            return

    def _close_result(self) -> None:
        close = getattr(self._result, "close", None)
        if close is None:
            return
        try:
            context.run_in(self._request, close)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as problem:
            # Its response is gone already; clean-up of the app may meet a refused sink once more.
            if isinstance(problem, Exception):
                self._request.sensor.faults.note("closing a dropped response", problem)

    def _end(self) -> None:
        self._request.close()
        if not self._is_over:
            self._is_over = True
            ended(self._request, self._raw)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._first:
            return self._first.pop(0)
        try:
            piece = context.run_in(self._request, next, self._pieces)
        except StopIteration:
            raise
        except BaseException as problem:
            if not self._request.interrupted or isinstance(problem, (KeyboardInterrupt, SystemExit)):
                failed(self._request, problem)
                raise
            piece = b""
        if not self._request.interrupted:
            self._judge((piece,))
        if self._request.interrupted:
            raise ConnectionCut("the request was refused after its response had begun") from None
        if not self._started:
            self._start()
        return piece

    def close(self) -> None:
        """Called by the server when the response is over, whatever happened."""
        self._end()
        close = getattr(self._result, "close", None)
        if close is None:
            return
        try:
            context.run_in(self._request, close)
        except AttackInterrupted:
            # What clean-up was about to run did not run; the server has nothing to do with it.
            return
