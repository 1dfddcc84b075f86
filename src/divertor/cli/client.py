"""The REST API from the command line's side: requests with the administrator's token, errors put into words.

Only the address and token in the state directory are used: no proxy, no redirect.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from divertor.cli.errors import RefusedError, UnreachableError
from divertor.cli.states import find_state
from divertor.errors import InputError, NotFoundError, Position, UnavailableError
from divertor.layout import Layout

#: Seconds one answer may take.
TIMEOUT = 30.0
PER_PAGE = 100


class Api:
    """One stack's API below `/api/v1`. Use it as a context manager."""

    def __init__(self, url: str, token: str, where: str = "") -> None:
        self.url = url
        self._where = where or url
        self._client = httpx.Client(
            base_url=f"{url}/api/v1",
            headers={"authorization": f"Bearer {token}", "accept": "application/json"},
            timeout=TIMEOUT,
            trust_env=False,
        )

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._client.close()

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """The document at `path`.

        :raises NotFoundError: there is none.
        :raises RefusedError: the request is refused.
        :raises UnreachableError: nothing answers.
        """
        return self._answer("GET", path, params=params).json()

    def get_all(self, path: str, params: Mapping[str, Any] | None = None, limit: int = 10_000) -> list[Any]:
        """The list at `path`, over all its pages, at most `limit` items; raises as `get` does."""
        return self.get_some(path, params, limit)[0]

    def get_some(
        self, path: str, params: Mapping[str, Any] | None = None, limit: int = 10_000
    ) -> tuple[list[Any], int]:
        """As `get_all`, and how many there are beyond the limit, too, as far as the API says it."""
        items: list[Any] = []
        page = total = 1
        while len(items) < limit:
            wanted = {**(params or {}), "page": page, "per_page": min(PER_PAGE, limit)}
            response = self._answer("GET", path, params=wanted)
            found = response.json()
            items.extend(found)
            total = int(response.headers.get("x-total-count", len(items)))
            if len(found) < wanted["per_page"]:
                break
            page += 1
        return items[:limit], max(total, len(items))

    def download(self, path: str, params: Mapping[str, Any] | None = None) -> bytes:
        """The file at `path`, as it is; raises as `get` does."""
        return self._answer("GET", path, params=params).content

    def send(self, method: str, path: str, data: Any = None, params: Mapping[str, Any] | None = None) -> Any:
        """The answer to a change, None when it has no body; raises as `get` does."""
        response = self._answer(method, path, params=params, json=data)
        return response.json() if response.content else None

    def upload(self, path: str, pieces: Iterator[bytes], media_type: str, params: Mapping[str, Any]) -> Any:
        """The answer to a body that is sent in pieces, however long it takes; raises as `get` does."""
        options = {"content": pieces, "headers": {"content-type": media_type}, "timeout": None}
        return self._answer("POST", path, params=params, **options).json()

    def pieces(self, path: str, params: Mapping[str, Any] | None = None) -> Iterator[bytes]:
        """A long answer in pieces; raises as `get` does."""
        with self._reachable(), self._client.stream("GET", path, params=params) as response:
            if response.is_error:
                response.read()
                raise self._refusal(response)
            yield from response.iter_bytes()

    def events(self, params: Mapping[str, Any]) -> Iterator[Any]:
        """What happens from now on, for ever; raises as `get` does, also when the connection is lost."""
        with self._reachable():
            timeout = httpx.Timeout(TIMEOUT, read=None)
            with self._client.stream("GET", "/events/stream", params=params, timeout=timeout) as response:
                if response.is_error:
                    response.read()
                    raise self._refusal(response)
                yield from _server_sent(response.iter_lines())
        raise UnreachableError(f"{self._where} closed the stream")

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        with self._reachable():
            response = self._client.request(method, path, **options)
        if not response.is_success:
            raise self._refusal(response)
        return response

    @contextlib.contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as problem:
            reason = str(problem) or type(problem).__name__
            raise UnreachableError(f"{self._where} does not answer at {self.url}: {reason}") from problem

    def _refusal(self, response: httpx.Response) -> Exception:
        try:
            told = response.json()
        except ValueError:
            told = None
        told = told if isinstance(told, dict) else {}
        message = str(told.get("message") or response.reason_phrase or response.status_code)
        if response.status_code == 401:
            return RefusedError(f"{self._where} refused the token: {message}")
        if response.status_code == 404:
            return NotFoundError(message)
        if response.status_code == 503:
            return UnavailableError(message)
        if response.status_code == 400 and told.get("source"):
            where = Position(str(told["source"]), int(told.get("line") or 0), int(told.get("column") or 0))
            return InputError(message, where, str(told.get("expected") or ""))
        return RefusedError(message)


def _server_sent(lines: Iterator[str]) -> Iterator[Any]:
    """The data of each server-sent event; comments and other fields are left out."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            with contextlib.suppress(ValueError):
                yield json.loads("\n".join(data))
            data = []


def open_api(state: str) -> Api:
    """The API of the stack that `state` means.

    :raises UnreachableError: no stack is there.
    """
    return api_of(find_state(state))


def api_of(layout: Layout) -> Api:
    """The API of the stack in `layout`.

    :raises UnreachableError: no stack was ever started there.
    :raises UnavailableError: its settings cannot be read.
    """
    try:
        token = layout.admin_token.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise UnreachableError(f"{layout.root}: no stack was started with this state directory") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise UnavailableError(f"{layout.admin_token}: cannot be read: {problem}") from problem
    return Api(f"http://127.0.0.1:{layout.read_settings().api_port}", token, f"the stack in {layout.root}")
