"""Envoy's admin interface, over its Unix socket: did it take what we wrote?"""

from __future__ import annotations

import json
from typing import Any

import httpx

#: Seconds an answer may take: Envoy answers between two requests.
TIMEOUT = 2.0
#: Bytes of an answer: 10,000 versions are told in about 30 MB.
LARGEST = 256 << 20


class EnvoyDown(Exception):
    """Envoy does not answer: it is not running, or just starting."""


class Admin:
    """A client of one Envoy; a restarted Envoy is reached by the next call."""

    def __init__(self, socket: str) -> None:
        transport = httpx.AsyncHTTPTransport(uds=socket)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://envoy", timeout=TIMEOUT)

    async def close(self) -> None:
        await self._client.aclose()

    async def counters(self, pattern: str) -> dict[str, int]:
        """Counters and gauges whose names match, by name; those that never counted are left out.

        :raises EnvoyDown: it does not answer.
        """
        found = await self._json("GET", "/stats", {"format": "json", "usedonly": "", "filter": pattern})
        return {stat["name"]: int(stat["value"]) for stat in found["stats"] if "name" in stat}

    async def stats(self, pattern: str) -> Any:
        """Everything whose name matches and that was ever used, with its histograms, as Envoy tells it.

        :raises EnvoyDown: it does not answer, or with more than can be meant.
        """
        asked = {"format": "json", "usedonly": "", "histogram_buckets": "detailed", "filter": pattern}
        return await self._json("GET", "/stats", asked)

    async def uptime(self) -> float:
        """Seconds since Envoy was started, whole ones.

        :raises EnvoyDown: it does not answer.
        """
        found = await self._json("GET", "/server_info", {})
        text = str(found.get("uptime_current_epoch", "0s")) if isinstance(found, dict) else ""
        try:
            return float(text.removesuffix("s"))
        except ValueError as problem:
            raise EnvoyDown(f"no time: {text[:40]}") from problem

    async def clusters(self) -> dict[str, set[tuple[str, int]]]:
        """The clusters that can be routed to, by name, with their endpoints.

        :raises EnvoyDown: it does not answer.
        """
        found = await self._json("GET", "/clusters", {"format": "json"})
        return {cluster["name"]: _endpoints(cluster) for cluster in found.get("cluster_statuses", ())}

    async def warming(self) -> int:
        """How many listeners still wait for their routes or certificates.

        :raises EnvoyDown: it does not answer.
        """
        found = await self.counters(r"^listener_manager\.total_listeners_warming$")
        return sum(found.values())

    async def version(self) -> str:
        """Envoy's version.

        :raises EnvoyDown: it does not answer.
        """
        found = await self._json("GET", "/server_info", {})
        return str(found.get("version", ""))

    async def rejections(self) -> list[str]:
        """Why Envoy refused what it was last given, in its words; empty when it refused nothing.

        :raises EnvoyDown: it does not answer.
        """
        found = await self._json("GET", "/config_dump", {})
        return sorted(set(_details(found)))

    async def reopen_logs(self) -> None:
        """Makes Envoy write to a new access log after the old one was renamed.

        :raises EnvoyDown: it does not answer.
        """
        await self._ask("POST", "/reopen_logs", {})

    async def _json(self, method: str, path: str, params: dict[str, str]) -> Any:
        try:
            return json.loads(await self._ask(method, path, params))
        except ValueError as problem:
            raise EnvoyDown(f"no JSON from {path}") from problem

    async def _ask(self, method: str, path: str, params: dict[str, str]) -> bytes:
        try:
            async with self._client.stream(method, path, params=params) as answer:
                answer.raise_for_status()
                return await _content(answer)
        except httpx.HTTPError as problem:
            raise EnvoyDown(str(problem) or type(problem).__name__) from problem


async def _content(answer: httpx.Response) -> bytes:
    found = bytearray()
    async for chunk in answer.aiter_bytes():
        found += chunk
        if len(found) > LARGEST:
            raise EnvoyDown(f"an answer of more than {LARGEST} bytes")
    return bytes(found)


def _endpoints(cluster: dict[str, Any]) -> set[tuple[str, int]]:
    addresses = [host["address"].get("socket_address", {}) for host in cluster.get("host_statuses", ())]
    return {(str(at.get("address", "")), int(at.get("port_value", 0))) for at in addresses}


def _details(found: Any) -> list[str]:
    if isinstance(found, dict):
        state = found.get("error_state")
        own = [str(state["details"])] if isinstance(state, dict) and state.get("details") else []
        return [*own, *(text for value in found.values() for text in _details(value))]
    if isinstance(found, list):
        return [text for value in found for text in _details(value)]
    return []
