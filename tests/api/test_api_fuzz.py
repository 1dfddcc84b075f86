"""Whatever is sent, the answer is never a fault of ours, and an error always has the one shape."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from divertor.model.deploying import deploy
from divertor.model.reading import read_blueprint
from divertor.model.rendering import deployment_to_json

pytestmark = pytest.mark.anyio

SHOP = Path(__file__).with_name("shop.yaml").read_text()
DOCUMENTS: dict[tuple[str, str], dict[str, Any]] = {
    ("PUT", "/api/v1/deployments/shop"): deployment_to_json(deploy(read_blueprint(SHOP, "shop"), "shop")),
    ("POST", "/api/v1/isolations"): {
        "scope": "shop/shop",
        "kind": "cookie",
        "name": "session",
        "value": "v",
        "for": "1h",
        "reason": "r",
    },
    ("POST", "/api/v1/events"): {
        "tags": ["a:b"],
        "value": {"a": [1, None]},
        "timestamp": "2026-01-01T00:00:00Z",
        "type": "build",
    },
    ("PUT", "/api/v1/gateways/shop/shop/web"): {
        "sticky": "route",
        "routes": {
            "shop:1.0.0": {"weight": "50%", "condition": "user-agent == x", "condition_strength": "10%"},
            "shop:1.1.0": {"weight": "50%"},
        },
    },
    ("POST", "/api/v1/gateways?validate_only=true"): {
        "name": "side",
        "port": "9060/http",
        "routes": {"[127.0.0.1:9]": {"weight": "100%"}},
    },
    ("PUT", "/api/v1/rules/loud"): {
        "type": "frequency",
        "index": "bitsensor",
        "num_events": 2,
        "timeframe": {"minutes": 1},
        "filter": [{"query_string": {"query": "a: b*"}}, {"term": {"a.b": 1}}],
        "alert": ["debug"],
    },
    ("POST", "/api/v1/"): {
        "kind": "breed",
        "name": "b",
        "deployable": {"type": "command", "definition": "x"},
    },
    ("POST", "/v1/logs"): {
        "resourceLogs": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "s"}}]},
                "scopeLogs": [
                    {
                        "logRecords": [
                            {
                                "timeUnixNano": "1769860800000000000",
                                "eventName": "e",
                                "attributes": [{"key": "a.b", "value": {"arrayValue": {"values": []}}}],
                            }
                        ]
                    }
                ],
            }
        ]
    },
}
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", "100%", "shop:1.0.0", "2026-13-01", "\ud800", "\x00", "9" * 400, "1h", "kind"])
)
KEYS = st.text(max_size=8) | st.sampled_from(["name", "routes", "weight", "ref", "condition", "services"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
PARAMETERS = (
    "page per_page type tags since until field text index all scope name validate_only aggregator "
    "aggregator_field gt lte reason service"
).split()
ARGUMENTS = ("1", "-1", "9" * 30, "true", "15m", "a.b:1", "~1:null", "sum", "*", "\x00", "value.a")
QUERIES = st.dictionaries(
    st.sampled_from(PARAMETERS), st.text(max_size=12) | st.sampled_from(ARGUMENTS), max_size=3
)
NAMES = (
    "shop",
    "shop/shop/web",
    "shop/9051",
    "loud",
    "x" * 300,
    "ü \x00",
    "a/b",
    "..",
    "%2e",
    "\n",
    "stream/",
)
KINDS = ("deployments", "gateways", "isolations", "rules", "breeds", "detections", "events", "status")
FUZZ = settings(
    max_examples=200,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """`value` with what is at `path` replaced."""
    if not path:
        return new
    changed = copy.deepcopy(value)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return changed


@st.composite
def damaged(draw: st.DrawFn) -> tuple[tuple[str, str], str]:
    """A request with one or two values of its document replaced: (method and path, body)."""
    address = draw(st.sampled_from(list(DOCUMENTS)))
    document: Any = DOCUMENTS[address]
    for _ in range(draw(st.integers(1, 2))):
        document = put(document, draw(st.sampled_from(list(places(document)))), draw(VALUES))
    return address, json.dumps(document)


def check(answer: Any) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.json().keys() == {"message", "source", "line", "column", "expected"}


@pytest.fixture
async def shop(stack: Any) -> Any:
    """With something running that requests can be about."""
    async with stack.client() as admin:
        yaml = {"content-type": "text/yaml"}
        assert (await admin.post("/api/v1/deployments", content=SHOP, headers=yaml)).status_code == 202
    return stack


def test_every_kind_of_document_is_damaged() -> None:
    assert len(DOCUMENTS) == 8


@pytest.mark.parametrize("address", DOCUMENTS, ids=[path for _, path in DOCUMENTS])
async def test_an_undamaged_document_is_taken(address: tuple[str, str], shop: Any) -> None:
    async with shop.client() as admin:
        answer = await admin.request(*address, json=DOCUMENTS[address])
    assert answer.status_code in (200, 201, 202), answer.text


@FUZZ
@given(request_=damaged())
async def test_no_damaged_document_is_a_fault_of_ours(
    request_: tuple[tuple[str, str], str], shop: Any
) -> None:
    address, body = request_
    async with shop.client(**{"content-type": "application/json"}) as admin:
        check(await admin.request(*address, content=body))
        assert (await admin.get("/api/v1/deployments/shop")).status_code == 200


@FUZZ
@given(
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE"]),
    kind=st.sampled_from(KINDS),
    name=st.none() | st.sampled_from(NAMES),
    query=QUERIES,
    body=st.binary(max_size=30),
    accept=st.sampled_from(["*/*", "text/yaml"]),
)
async def test_no_address_is_a_fault_of_ours(
    method: str, kind: str, name: str | None, query: dict[str, str], body: bytes, accept: str, stack: Any
) -> None:
    path = f"/api/v1/{kind}" + ("" if name is None else f"/{quote(name, safe='')}")
    async with stack.client(accept=accept, **{"content-type": "text/yaml"}) as admin:
        check(await admin.request(method, path, params=query, content=body))
