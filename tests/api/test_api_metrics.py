"""What the gateway counted, through the API: over the real services, before an Envoy that only counts."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

pytestmark = pytest.mark.anyio

SHOP = Path(__file__).with_name("shop.yaml").read_text()
NEW, OLD = "shop/shop/shop:1.1.0/web", "shop/shop/shop:1.0.0/web"


class Counting:
    """An Envoy that answers with these counters: requests, failures and durations of versions and ports."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.durations: dict[str, dict[float, int]] = {}

    def add(self, name: str, requests: int, errors: int = 0, milliseconds: float = 5.0) -> None:
        """`name`: an upstream, or `:gateway`."""
        port = name.startswith(":")
        at = f"http.{name[1:]}.downstream_rq" if port else f"cluster.{name.replace(':', '_')}.upstream_rq"
        for end, more in (("completed", requests), ("5xx", errors)):
            self.counters[f"{at}_{end}"] = self.counters.get(f"{at}_{end}", 0) + more
        bins = self.durations.setdefault(f"{at}_time", {})
        bins[milliseconds] = bins.get(milliseconds, 0) + requests

    def instances(self, name: str, healthy: int, total: int) -> None:
        at = f"cluster.{name.replace(':', '_')}.membership"
        self.counters |= {f"{at}_healthy": healthy, f"{at}_total": total}

    async def serve(self, read: asyncio.StreamReader, write: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := (await read.readuntil(b"\r\n\r\n")).decode():
                body = json.dumps(self._told(head.split(" ")[1])).encode()
                write.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        write.close()

    def _told(self, target: str) -> Any:
        if target.startswith("/server_info"):
            return {"uptime_current_epoch": "3600s"}
        details = [
            {
                "name": name,
                "totals": [{"lower_bound": low, "width": 0.1, "count": n} for low, n in bins.items()],
            }
            for name, bins in self.durations.items()
        ]
        plain = [{"name": name, "value": value} for name, value in self.counters.items()]
        return {"stats": [*plain, {"histograms": {"details": details}}]}


@pytest.fixture
async def envoy(stack: Any, tmp_path: Path) -> AsyncIterator[Counting]:
    """The shop is deployed, and Envoy was looked at once."""
    counting = Counting()
    counting.instances(NEW, 1, 1)
    counting.instances(OLD, 1, 2)
    server = await asyncio.start_unix_server(counting.serve, tmp_path / "envoy.sock")
    async with stack.client() as admin:
        answer = await admin.post(
            "/api/v1/deployments", content=SHOP, headers={"content-type": "application/yaml"}
        )
    assert answer.status_code == 202, answer.text
    stack.services.metrics.serving(stack.services.deployments.snapshot())
    assert not await stack.stats.look()
    yield counting
    await stack.stats.close()
    server.close()


async def value(admin: httpx.AsyncClient, path: str) -> Any:
    answer = await admin.get(f"/api/v1{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()["value"]


async def test_a_version_is_measured_by_vamps_path(
    admin: httpx.AsyncClient, stack: Any, envoy: Counting
) -> None:
    envoy.add(NEW, 200, errors=10)
    await stack.stats.look()
    at = "/metrics/deployments/shop/clusters/shop/services/shop:1.1.0/ports/web"
    assert await value(admin, f"{at}/errors") == 5.0
    assert await value(admin, f"{at}/p99") == pytest.approx(5.99)
    assert await value(admin, f"{at}/responseTime") == 5.5


async def test_a_clusters_port_is_the_sum_of_its_versions(
    admin: httpx.AsyncClient, stack: Any, envoy: Counting
) -> None:
    envoy.add(NEW, 200)
    envoy.add(OLD, 100)
    await stack.stats.look()
    assert await value(admin, "/metrics/deployments/shop/clusters/shop/ports/web/requests") == 300


async def test_a_gateway_with_a_port_is_measured_there(
    admin: httpx.AsyncClient, stack: Any, envoy: Counting
) -> None:
    envoy.add(NEW, 200)
    envoy.add(":shop/9051", 120, milliseconds=50.0)
    await stack.stats.look()
    assert await value(admin, "/metrics/gateways/shop/9051/requests") == 120
    assert await value(admin, f"/metrics/gateways/{quote('shop/9051', safe='')}/p50") == 50.5
    assert await value(admin, "/metrics/gateways/shop/shop/web/requests") == 200


@pytest.mark.parametrize("route", [OLD, "shop:1.0.0"])
async def test_a_route_is_meant_by_its_path_or_its_service(
    route: str, admin: httpx.AsyncClient, stack: Any, envoy: Counting
) -> None:
    envoy.add(OLD, 40)
    await stack.stats.look()
    assert await value(admin, f"/metrics/gateways/shop/shop/web/routes/{route}/requests") == 40


async def test_a_route_to_a_gateway_is_all_that_lies_behind_it(
    admin: httpx.AsyncClient, stack: Any, envoy: Counting
) -> None:
    envoy.add(OLD, 40)
    envoy.add(NEW, 2)
    await stack.stats.look()
    assert await value(admin, "/metrics/gateways/shop/9051/routes/shop/shop/web/requests") == 42


async def test_without_a_metric_all_of_them_are_told(
    admin: httpx.AsyncClient, stack: Any, envoy: Counting
) -> None:
    envoy.add(NEW, 10, errors=1)
    await stack.stats.look()
    found = (await admin.get("/api/v1/metrics/gateways/shop/shop/web")).json()
    assert (found["kind"], found["gateway"], found["requests"], found["errors"]) == (
        "gateways",
        "shop/shop/web",
        10,
        10.0,
    )


async def test_everything_is_listed_in_pages(admin: httpx.AsyncClient, stack: Any, envoy: Counting) -> None:
    envoy.add(NEW, 10)
    await stack.stats.look()
    answer = await admin.get("/api/v1/metrics?per_page=100")
    kinds = [each["kind"] for each in answer.json()]
    assert (kinds.count("gateways"), kinds.count("routes"), kinds.count("services")) == (2, 3, 2)
    assert answer.headers["x-total-count"] == "7"
    assert len((await admin.get("/api/v1/metrics?per_page=2")).json()) == 2


async def test_before_anything_was_asked_errors_and_times_are_unknown(
    admin: httpx.AsyncClient, envoy: Counting
) -> None:
    at = "/metrics/gateways/shop/9051"
    found = [await value(admin, f"{at}/{name}") for name in ("rate", "errors", "responseTime", "p99")]
    assert found == [0, None, None, None]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/health/gateways/shop/9051", 1.0),
        ("/health/gateways/shop/shop/web/routes/shop:1.0.0", 0.5),
        ("/health/deployments/shop", pytest.approx(2 / 3)),
        ("/health/deployments/shop/clusters/shop", pytest.approx(2 / 3)),
        ("/health/deployments/shop/clusters/shop/services/shop:1.1.0", 1.0),
    ],
)
async def test_health_is_the_share_of_instances_that_are_well(
    path: str, expected: float, admin: httpx.AsyncClient, envoy: Counting
) -> None:
    """A gateway's is that of the routes that can get requests: the old version has no weight."""
    assert await value(admin, path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "/metrics/gateways/none/rate",
        "/metrics/gateways/shop/9051/speed",
        "/metrics/gateways/shop/9051/routes/none/rate",
        "/metrics/deployments/none/clusters/shop/ports/web/rate",
        "/metrics/deployments/shop/clusters/shop/ports/none/rate",
        "/metrics/deployments/shop/clusters/shop/services/none/ports/web/rate",
        "/health/gateways/none",
        "/health/deployments/none",
        "/health/deployments/shop/clusters/none",
    ],
)
async def test_what_is_not_there_is_not_found(path: str, admin: httpx.AsyncClient, envoy: Counting) -> None:
    answer = await admin.get(f"/api/v1{path}")
    assert answer.status_code == 404 and answer.json()["message"]


async def test_health_is_unavailable_rather_than_bad_while_envoy_is_away(
    admin: httpx.AsyncClient, stack: Any, envoy: Counting, tmp_path: Path
) -> None:
    (tmp_path / "envoy.sock").unlink()
    await stack.stats.close()
    assert not await stack.stats.look()
    assert (await admin.get("/api/v1/health/gateways/shop/9051")).status_code == 503


@pytest.mark.parametrize("window", ["0", "9", "301", "x"])
async def test_a_window_that_cannot_be_looked_back_on_is_refused(
    window: str, admin: httpx.AsyncClient, envoy: Counting
) -> None:
    assert (await admin.get(f"/api/v1/metrics?window={window}")).status_code == 400


async def test_what_was_found_becomes_events_with_vamps_tags(
    admin: httpx.AsyncClient, stack: Any, envoy: Counting
) -> None:
    envoy.add(NEW, 200, errors=10)
    await stack.stats.look()
    await stack.services.metrics.tell()
    tags = "tags=services:shop:1.1.0&tags=metrics:errors&type=metrics"
    assert await value(admin, f"/events?{tags}&aggregator=average") == 5.0
    (event,) = (await admin.get(f"/api/v1/events?{tags}")).json()
    assert event["body"]["metrics"]["requests"] == 200
    gateways = (await admin.get("/api/v1/events?tags=gateways:shop/shop/web&tags=metrics:rate")).json()
    assert len(gateways) == 2  # the gateway, and the route that was taken
