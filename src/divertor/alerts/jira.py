"""`alert: jira`: tickets by Jira's REST API, version 2. A further message about an alarm is a comment at its
ticket, and so is its end, which may also move the ticket on.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from divertor.alerts.accounts import Account, read_account
from divertor.alerts.contract import Alerter, Delivery, DeliveryError, Receipt
from divertor.alerts.hook import Tools, spread
from divertor.alerts.http import Answer, Request, Transport, WebClient, exchange, refused, send
from divertor.alerts.jira_fields import custom_fields, fixed_fields, ticket_search
from divertor.alerts.wording import resolved, text, title
from divertor.rules.alarms import identity

#: Jira takes descriptions and comments of 32,767 characters.
MAX_TEXT = 32_000
_SPECIAL = str.maketrans({char: f"\\{char}" for char in "{}[]!*|~^_"})
_BACKSLASHES = re.compile(r"\\+(?=[{}\[\]!*|~^_])")


def escape(value: str) -> str:
    """A value that Jira's wiki markup shows as it is: no macro, link, image or mention."""
    # Of two backslashes Jira makes a line end, which would leave what follows them its meaning.
    whole = _BACKSLASHES.sub(lambda found: "\0" * len(found[0]), value.replace("\0", ""))
    return whole.translate(_SPECIAL).replace("\0", "&#92;")


class Jira:
    """Creates, finds, comments and moves tickets."""

    def __init__(self, client: WebClient, wall: Callable[[], datetime]) -> None:
        self._client = client
        self._wall = wall

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return spread(options, "jira_server")

    async def deliver(self, delivery: Delivery) -> Receipt | None:
        """The receipt is the ticket: its key and its address.

        :raises DeliveryError: Jira did not do it.
        """
        options = delivery.options
        account = await asyncio.to_thread(
            read_account, options["jira_account_file"], delivery.notification.rule
        )
        server = _Server(self._client, options, account)
        known = (delivery.receipt or {}).get("key")
        if resolved(delivery.notification):
            return await self._over(server, delivery, known)
        if known is None:
            ticket = await self._found(server, delivery)
            if ticket is None and options["jira_bump_only"]:
                return None
            if ticket is None:
                return await _opened(server, delivery)
            if self._is_too_lively(ticket, options):
                return server.receipt(ticket["key"])
            known = ticket["key"]
        await server.comment(known, comment(delivery))
        await server.move(known, options["jira_transition_to"])
        return server.receipt(known)

    async def _over(self, server: _Server, delivery: Delivery, known: str | None) -> Receipt | None:
        if known is None:
            return None
        await server.comment(known, f"{escape(title(delivery.notification))}\n{comment(delivery)}")
        await server.move(known, delivery.options["jira_resolve_transition"])
        return delivery.receipt

    async def _found(self, server: _Server, delivery: Delivery) -> dict[str, Any] | None:
        """The ticket of this very delivery, when an earlier attempt made it; else one to bump."""
        made = await server.search(f'labels = "{_label(delivery)}"')
        if made is not None or not delivery.options["jira_bump_tickets"]:
            return made
        since = self._wall() - timedelta(days=delivery.options["jira_max_age"])
        return await server.search(ticket_search(delivery, since))

    def _is_too_lively(self, ticket: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
        """Whether it was changed so lately that nobody needs another comment."""
        quiet = options["jira_bump_after_inactivity"]
        try:
            changed = datetime.strptime(str(ticket["fields"]["updated"]), "%Y-%m-%dT%H:%M:%S.%f%z")
        except (KeyError, TypeError, ValueError):
            return False
        return bool(quiet) and changed >= self._wall() - timedelta(days=quiet)


def comment(delivery: Delivery) -> str:
    """What is added to a ticket that is there already."""
    time = delivery.notification.first.time.strftime("%Y-%m-%d %H:%M %Z")
    return f"This happened again at {time}\n{text(delivery.notification, escape, MAX_TEXT - 100)}"


def _label(delivery: Delivery) -> str:
    """By this a repeated attempt finds the ticket that an earlier one has made."""
    return f"divertor-{identity(delivery.key or delivery.notification.id)[:32]}"


async def _opened(server: _Server, delivery: Delivery) -> Receipt:
    options, notification = delivery.options, delivery.notification
    described = options["jira_description"]
    fields = {
        **fixed_fields(options),
        "summary": title(notification, limit=250),
        "description": (f"{described}\n" if described else "")
        + text(notification, escape, MAX_TEXT - 1000, fence="{noformat}"),
    }
    fields["labels"] = [*fields.get("labels", []), _label(delivery)]
    own = {**options["jira_"], **{f"jira_{name}": value for name, value in options["jira_fields"].items()}}
    if own:
        fields |= custom_fields(await server.field_list(), own, notification.first)
    if options["jira_priority"] is not None:
        fields["priority"] = {"id": await server.priority(options["jira_priority"])}
    key = await server.create(fields)
    await server.assign(key, options["jira_assignee"])
    for watcher in options["jira_watchers"]:
        await server.watch(key, watcher)
    return server.receipt(key)


class _Server:
    """The calls to one Jira that are needed here."""

    def __init__(self, client: WebClient, options: Mapping[str, Any], account: Account) -> None:
        self._client = client
        self._options = options
        self._account = account
        self._base: str = options["jira_server"].rstrip("/")

    def receipt(self, key: str) -> Receipt:
        return {"key": key, "url": f"{self._base}/browse/{quote(key, safe='-')}"}

    async def create(self, fields: Mapping[str, Any]) -> str:
        answer = await self._call("POST", "issue", {"fields": fields})
        key = answer.get("key")
        if not isinstance(key, str) or not key.replace("-", "").isalnum():
            raise DeliveryError("Jira did not say which ticket it made", again=False)
        return key

    async def search(self, jql: str) -> dict[str, Any] | None:
        wanted = {"jql": jql, "maxResults": 1, "fields": ["updated"]}
        request = self._request("POST", "search", wanted)
        answer = await exchange(self._client, request, Transport.of(self._options, "jira"))
        if answer.status in (404, 410):
            # Jira Cloud has moved this call.
            answer = await self._call("POST", "search/jql", wanted)
        elif not 200 <= answer.status < 300:
            raise refused(request.url, answer.status)
        found = answer.get("issues")
        return found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else None

    async def comment(self, key: str, said: str) -> None:
        await self._call("POST", f"issue/{quote(key, safe='-')}/comment", {"body": said})

    async def assign(self, key: str, who: str) -> None:
        if who:
            await self._then(
                "PUT", f"issue/{quote(key, safe='-')}/assignee", {"name": who}, f"assigning {key}"
            )

    async def watch(self, key: str, who: str) -> None:
        await self._then("POST", f"issue/{quote(key, safe='-')}/watchers", who, f"a watcher of {key}")

    async def move(self, key: str, name: str) -> None:
        """Through the transition of this name, if the ticket can go there from where it is."""
        if not name:
            return
        path = f"issue/{quote(key, safe='-')}/transitions"
        found = (await self._call("GET", path)).get("transitions")
        for one in found if isinstance(found, list) else []:
            if one.get("name") == name:
                await self._call("POST", path, {"transition": {"id": one.get("id")}})

    async def field_list(self) -> list[dict[str, Any]]:
        found = (await self._call("GET", "field")).json()
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    async def priority(self, place: int) -> str:
        """The id of a priority by its place in Jira's list."""
        found = (await self._call("GET", "priority")).json()
        if not isinstance(found, list) or place >= len(found):
            raise DeliveryError(f"Jira has no priority number {place}", again=False)
        return str(found[place].get("id"))

    async def _then(self, method: str, path: str, payload: Any, what: str) -> None:
        """After the ticket is there: another attempt would make a second one."""
        try:
            await self._call(method, path, payload)
        except DeliveryError as problem:
            raise DeliveryError(f"the ticket is there, but {what} failed: {problem}", again=False) from None

    async def _call(self, method: str, path: str, payload: Any = None) -> Answer:
        return await send(
            self._client, self._request(method, path, payload), Transport.of(self._options, "jira")
        )

    def _request(self, method: str, path: str, payload: Any) -> Request:
        account = self._account
        headers = {"authorization": f"Bearer {account.apikey}"} if account.apikey else {}
        auth = None if account.apikey else (account.user, account.password)
        url = f"{self._base}/rest/api/2/{path}"
        return Request(url, payload, method=method, headers=headers, auth=auth)


def make(tools: Tools) -> Alerter:
    return Jira(tools.client, tools.wall)
