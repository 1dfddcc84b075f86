"""A long wait for another service is told: real clients, a real server on loopback."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Callable
from typing import Any

import aiohttp
import httpx
import pytest
import requests

from divertor_sensor import context
from divertor_sensor.reports.detection import Report, Slow
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor


def _urlopen(url: str) -> None:
    urllib.request.urlopen(url, b"{}", timeout=5).close()


def _requests(url: str) -> None:
    requests.post(url, b"{}", timeout=5)


def _httpx(url: str) -> None:
    httpx.post(url, content=b"{}", trust_env=False)


def _async_httpx(url: str) -> None:
    async def run() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.post(url, content=b"{}")

    asyncio.run(run())


def _aiohttp(url: str) -> None:
    async def run() -> None:
        async with aiohttp.ClientSession() as session, session.post(url, data=b"{}") as response:
            await response.read()

    asyncio.run(run())


CLIENTS: dict[Callable[[str], None], str] = {
    _urlopen: "http.client.HTTPConnection.getresponse",
    _requests: "http.client.HTTPConnection.getresponse",
    _httpx: "httpx.HTTPTransport.handle_request",
    _async_httpx: "httpx.AsyncHTTPTransport.handle_async_request",
    _aiohttp: "aiohttp.ClientResponse.start",
}


@pytest.mark.parametrize("client", CLIENTS)
def test_an_answer_that_was_long_in_coming_is_told_with_its_place(
    client: Callable[[str], None], collector: Any, make_sensor: Callable[..., Sensor], reported: list[Report]
) -> None:
    sensor = make_sensor()
    sensor.slow = 0.0
    context.run_in(Request(sensor, lambda: Head("GET", "/", "", {}, "")), client, collector.url)
    (told,) = [each for each in reported if isinstance(each, Slow)]
    assert told.sink == CLIENTS[client] and told.duration > 0
    assert told.frames[0].file == __file__


@pytest.mark.parametrize("client", CLIENTS)
def test_a_quick_answer_is_not(
    client: Callable[[str], None], collector: Any, make_sensor: Callable[..., Sensor], reported: list[Report]
) -> None:
    context.run_in(
        Request(make_sensor(slow=60_000), lambda: Head("GET", "/", "", {}, "")), client, collector.url
    )
    assert not reported


def test_all_clients_were_tried() -> None:
    assert len(CLIENTS) == 5
