"""`alert: apprise`: whatever service Apprise knows, by addresses of its own kind (`tgram://…`, `mailtos://…`).

Apprise waits while it sends, so it runs in a thread; its log is not ours to show, as it may hold addresses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from divertor.alerts.contract import Alerter, Delivery, DeliveryError
from divertor.alerts.hook import Tools, spread
from divertor.alerts.text import as_is
from divertor.alerts.wording import colour, markdown, text, title

_ESCAPES = {"text": as_is, "markdown": markdown}


class Apprise:
    """Sends to each address by itself."""

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return spread(options, "apprise")

    async def deliver(self, delivery: Delivery) -> None:
        """:raises DeliveryError: Apprise does not know such an address, or the service did not take it."""
        timeout = delivery.options["apprise_timeout"]
        try:
            async with asyncio.timeout(timeout):
                sent = await asyncio.to_thread(_notify, delivery)
        except TimeoutError:
            raise DeliveryError(f"Apprise did not deliver within {timeout:g} s", again=True) from None
        except Exception as fault:
            # A boundary: a hundred services' code runs behind it. Its text may hold an address.
            raise DeliveryError(f"fault in Apprise ({type(fault).__name__})", again=False) from None
        if sent is None:
            raise DeliveryError("an address that Apprise does not know", again=False)
        if not sent:
            raise DeliveryError("Apprise could not deliver", again=True)


def _notify(delivery: Delivery) -> bool | None:
    # Slow to import and needed by few.
    import html

    import apprise

    options, notification = delivery.options, delivery.notification
    sender = apprise.Apprise()
    if not sender.add(options["apprise"]):
        return None
    kind = options["apprise_format"]
    escape = _ESCAPES.get(kind, html.escape)
    sent = sender.notify(
        body=text(notification, escape, 30_000),
        title=title(notification, escape),
        notify_type=colour(notification, apprise.NotifyType.FAILURE, apprise.NotifyType.SUCCESS),
        body_format=kind,
    )
    return None if sent is None else bool(sent)


def make(tools: Tools) -> Alerter:
    del tools
    return Apprise()
