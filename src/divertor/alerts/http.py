"""Posting JSON to a webhook: one attempt, with its failure told apart (try again or not) and its address kept
out.

Redirects are not followed: a webhook that moved is to be told so, and a redirect could lead anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx

from divertor.alerts.contract import DeliveryError, redacted

#: Answers after which another attempt may succeed, besides all 5xx.
_AGAIN = frozenset({408, 425, 429})


def new_client() -> httpx.AsyncClient:
    """A client that takes no proxy or credentials from the environment."""
    return httpx.AsyncClient(trust_env=False, follow_redirects=False)


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
    where = redacted(url)
    content = json.dumps(payload, default=str).encode("utf-8", "replace")
    all_headers = {"content-type": "application/json", **(headers or {})}
    try:
        # Streamed and left unread: the answer's status is all that matters, however long its body is.
        async with client.stream(
            "POST", url, content=content, headers=all_headers, timeout=timeout
        ) as answer:
            status = answer.status_code
    except httpx.TimeoutException:
        raise DeliveryError(f"{where} did not answer within {timeout:g} s", again=True) from None
    except httpx.InvalidURL:
        raise DeliveryError(f"{where} is not a valid address", again=False) from None
    except httpx.UnsupportedProtocol:
        raise DeliveryError(f"{where} is neither http nor https", again=False) from None
    except httpx.HTTPError as problem:
        raise DeliveryError(f"{where} cannot be reached ({type(problem).__name__})", again=True) from None
    if not 200 <= status < 300:
        raise DeliveryError(f"{where} answered {status}", again=status >= 500 or status in _AGAIN)
