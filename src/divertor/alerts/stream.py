"""A TCP connection for alerters whose service does not speak HTTP: one exchange within a time, its failure as
an error that says whether to try again.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

from divertor.alerts.contract import DeliveryError

#: Bytes that a line or a block of an answer may have.
MAX_ANSWER = 64 * 1024


@contextlib.asynccontextmanager
async def connection(
    host: str, port: int, timeout: float, context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection for what is done with it, all within `timeout` seconds.

    :raises DeliveryError: it cannot be made, breaks, or takes too long.
    """
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(
                host.strip("[]"), port, ssl=context, limit=MAX_ANSWER
            )
            try:
                yield reader, writer
            finally:
                writer.close()
    except TimeoutError:
        raise DeliveryError(f"{where} did not answer within {timeout:g} s", again=True) from None
    except asyncio.IncompleteReadError:
        raise DeliveryError(f"{where} closed the connection", again=True) from None
    except (OSError, asyncio.LimitOverrunError, ValueError) as problem:
        raise DeliveryError(f"{where} cannot be reached ({type(problem).__name__})", again=True) from None
