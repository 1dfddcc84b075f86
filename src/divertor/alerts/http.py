"""Requests to services that take alerts: one attempt, with its failure told apart (try again or not, and
when) and its address kept out.

Redirects are not followed: a webhook that moved is to be told so, and a redirect could lead anywhere. No
proxy and no credentials come from the environment. What a service answers is read up to a bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any

import httpx

from divertor.alerts.contract import DeliveryError, redacted

#: Answers after which another attempt may succeed, besides all 5xx.
_AGAIN = frozenset({408, 425, 429})

#: Bytes of an answer that are read; the rest is left.
MAX_ANSWER = 256 * 1024

#: Seconds that a service may ask to be left alone.
MAX_PAUSE = 3600.0

#: Ways to travel (proxies, certificates) that are kept open at once.
_MAX_VARIANTS = 32


@dataclass(frozen=True, slots=True)
class Transport:
    """How a request travels. `ca` is a file of certificates to trust instead of the system's; `timeout` is in
    seconds, for each step of the exchange.
    """

    proxy: str = ""
    login: str = ""
    password: str = ""
    ca: str = ""
    verify: bool = True
    timeout: float = 10.0

    @classmethod
    def of(cls, options: Mapping[str, Any], prefix: str) -> Transport:
        """What an alerter's options `<prefix>_proxy`, `_ca_certs`, `_ignore_ssl_errors`, … say."""
        return cls(
            options[f"{prefix}_proxy"],
            options[f"{prefix}_proxy_login"],
            options.get(f"{prefix}_proxy_password") or options[f"{prefix}_proxy_pass"],
            options[f"{prefix}_ca_certs"],
            not options[f"{prefix}_ignore_ssl_errors"],
            options[f"{prefix}_timeout"],
        )

    @property
    def is_plain(self) -> bool:
        return not self.proxy and not self.ca and self.verify


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent: `payload` as JSON, `form` as a web form, `content` as it is, or nothing."""

    url: str
    payload: Any = None
    method: str = "POST"
    headers: Mapping[str, str] | None = None
    form: Mapping[str, str] | None = None
    content: bytes | None = None
    auth: tuple[str, str] | None = None

    def body(self) -> tuple[bytes | None, dict[str, str]]:
        """The bytes, and the headers that describe them."""
        if self.content is not None:
            return self.content, {}
        if self.form is not None:
            made = httpx.QueryParams(dict(self.form))
            return str(made).encode(), {"content-type": "application/x-www-form-urlencoded"}
        if self.payload is not None:
            return to_json(self.payload), {"content-type": "application/json"}
        return None, {}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service said."""

    status: int
    content: bytes

    def json(self) -> Any:
        """The body, decoded; an empty mapping when it is no JSON."""
        try:
            return json.loads(self.content)
        except ValueError:
            return {}

    def get(self, *path: str) -> Any:
        """The value under a path of keys; None when there is none."""
        value = self.json()
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value


class WebClient(httpx.AsyncClient):
    """A client that also has the ways to travel that rules ask for; closing it closes all of them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trust_env=False, follow_redirects=False, **options)
        self._variants: dict[Transport, httpx.AsyncClient] = {}

    def through(self, transport: Transport) -> httpx.AsyncClient:
        """The client that travels so.

        :raises DeliveryError: the certificates cannot be read.
        """
        if transport.is_plain:
            return self
        known = self._variants.get(transport)
        if known is None:
            if len(self._variants) >= _MAX_VARIANTS:
                raise DeliveryError(f"more than {_MAX_VARIANTS} proxies or certificates", again=False)
            known = self._variants[transport] = _variant(transport)
        return known

    async def aclose(self) -> None:
        await self._close_variants()
        await super().aclose()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._close_variants()
        await super().__aexit__(exc_type, exc_value, traceback)

    async def _close_variants(self) -> None:
        variants, self._variants = self._variants, {}
        for variant in variants.values():
            await variant.aclose()


def _variant(transport: Transport) -> httpx.AsyncClient:
    verify: ssl.SSLContext | bool = transport.verify
    if transport.ca:
        try:
            verify = ssl.create_default_context(cafile=transport.ca)
        except (OSError, ValueError) as problem:
            # Another attempt may find the file: it may be mounted or renewed just now.
            raise DeliveryError(
                f"the certificates cannot be read ({type(problem).__name__})", again=True
            ) from None
    try:
        proxy = httpx.Proxy(transport.proxy, auth=_login(transport)) if transport.proxy else None
        return httpx.AsyncClient(trust_env=False, follow_redirects=False, verify=verify, proxy=proxy)
    except (ValueError, ImportError, httpx.InvalidURL):
        raise DeliveryError("the proxy's address is not usable", again=False) from None


def _login(transport: Transport) -> tuple[str, str] | None:
    return (transport.login, transport.password) if transport.login else None


def new_client() -> WebClient:
    """A client that takes no proxy or credentials from the environment. Its library's lines about each
    request are switched off: the address of a webhook is its password.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return WebClient()


def to_json(value: Any) -> bytes:
    """JSON; what it does not know as text, times as ISO 8601, half surrogate pairs replaced."""
    return json.dumps(value, default=_known).encode("utf-8", "replace")


def _known(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime | date) else str(value)


async def send(client: httpx.AsyncClient, request: Request, transport: Transport | None = None) -> Answer:
    """Send once and read the answer.

    :raises DeliveryError: no 2xx answer came; the message names the host, not the address.
    """
    answer = await exchange(client, request, transport)
    if not 200 <= answer.status < 300:
        raise refused(request.url, answer.status)
    return answer


async def exchange(client: httpx.AsyncClient, request: Request, transport: Transport | None = None) -> Answer:
    """Send once and read the answer, whatever it is, unless it asks for another attempt.

    :raises DeliveryError: no answer came, or one after which another attempt may succeed.
    """
    transport = transport or Transport()
    used = client.through(transport) if isinstance(client, WebClient) else client
    content, described = request.body()
    where = redacted(request.url)
    try:
        async with used.stream(
            request.method,
            request.url,
            content=content,
            headers={"accept-encoding": "identity", **described, **(request.headers or {})},
            auth=request.auth,
            timeout=transport.timeout,
        ) as answer:
            read = Answer(answer.status_code, await _content(answer, transport.timeout))
            after = _pause(answer, read)
    except httpx.TimeoutException:
        raise DeliveryError(f"{where} did not answer within {transport.timeout:g} s", again=True) from None
    except httpx.InvalidURL:
        raise DeliveryError(f"{where} is not a valid address", again=False) from None
    except httpx.UnsupportedProtocol:
        raise DeliveryError(f"{where} is neither http nor https", again=False) from None
    except httpx.HTTPError as problem:
        raise DeliveryError(f"{where} cannot be reached ({type(problem).__name__})", again=True) from None
    except UnicodeError:
        raise DeliveryError(f"{where}: a header that is not ASCII", again=False) from None
    if read.status >= 500 or read.status in _AGAIN:
        raise refused(request.url, read.status, after)
    return read


def refused(url: str, status: int, after: float | None = None) -> DeliveryError:
    """The error for an answer that is not 2xx."""
    again = status >= 500 or status in _AGAIN
    return DeliveryError(f"{redacted(url)} answered {status}", again=again, after=after)


async def _content(answer: httpx.Response, timeout: float) -> bytes:
    """What comes of the body in time. The status has come: a body that never ends must not make the message
    one that did not arrive, or it would be sent again.
    """
    content = bytearray()
    with contextlib.suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(timeout):
            async for chunk in answer.aiter_raw():
                content += chunk
                if len(content) >= MAX_ANSWER:
                    break
    return bytes(content[:MAX_ANSWER])


def _pause(answer: httpx.Response, read: Answer) -> float | None:
    """Seconds that the service asks to be left alone: `Retry-After`, or `retry_after` in its JSON."""
    written = answer.headers.get("retry-after")
    if written is None:
        said = read.get("retry_after") or read.get("parameters", "retry_after")
    else:
        said = _seconds(written, answer.headers.get("date"))
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    return min(max(float(said), 0.0), MAX_PAUSE) if said == said else None


def _seconds(written: str, date: str | None) -> float | None:
    if written.strip().isdecimal() and len(written) < 10:
        return float(written)
    try:
        # By the service's own clock: ours may be another.
        return (parsedate_to_datetime(written) - parsedate_to_datetime(date or "")).total_seconds()
    except (TypeError, ValueError):
        return None


async def post_json(
    client: httpx.AsyncClient,
    url: str,
    payload: Any,
    *,
    timeout: float,
    headers: Mapping[str, str] | None = None,
) -> None:
    """POST `payload` as JSON; `timeout` in seconds, for the whole exchange step by step.

    :raises DeliveryError: no 2xx answer came; the message names the host, not the address.
    """
    await send(client, Request(url, payload, headers=headers), Transport(timeout=timeout))
