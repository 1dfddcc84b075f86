"""Answers: JSON, or YAML when the caller prefers it, and pages of long lists.

Pure but for making the response objects. What is answered is plain JSON data; turning things into that is
the model's.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

import yaml
from fastapi import Depends, Query
from starlette.requests import Request
from starlette.responses import Response

T = TypeVar("T")

MAX_PER_PAGE = 1000
_MAX_PAGE = 1_000_000
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "text/vnd.yaml")
_JSON_RANGES = ("application/json", "application/*", "*/*")
_NUMBER_LIKE = re.compile(r"[-+.]?[0-9][0-9.eE+_:xobA-F-]*")


def json_response(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`data` as JSON. ASCII only, so that half a surrogate pair in an attacker's text cannot break it."""
    return Response(to_json(data), status, headers, "application/json")


def to_json(data: Any) -> str:
    """JSON text; a number JSON has no word for (infinity) becomes text."""
    try:
        return json.dumps(data, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return json.dumps(_finite(data), separators=(",", ":"))


def answer(
    request: Request, data: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """`data` in the form that the request's `Accept` header prefers."""
    if not prefers_yaml(request.headers.get("accept", "")):
        return json_response(data, status, headers)
    # JSON first: what YAML is made of is then plain, whatever the data was.
    plain = json.loads(to_json(data))
    text = yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=100)
    return Response(text, status, headers, "application/yaml")


def prefers_yaml(accept: str) -> bool:
    """Whether an `Accept` header names YAML before, or with more weight than, JSON."""
    best, yaml_wins = 0.0, False
    for part in accept.lower().split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        weight = _weight(parameters)
        if weight > best and media in (*YAML_TYPES, *_JSON_RANGES):
            best, yaml_wins = weight, media in YAML_TYPES
    return yaml_wins


def _weight(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


class _Dumper(yaml.SafeDumper):
    """Quotes every text that some YAML reader could take for a number or a time."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if _NUMBER_LIKE.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _finite(data: Any) -> Any:
    if isinstance(data, float) and not math.isfinite(data):
        return str(data)
    if isinstance(data, Mapping):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for: page `number` (from 1) of `size` items."""

    number: int
    size: int

    @property
    def offset(self) -> int:
        return (self.number - 1) * self.size

    def of(self, items: Sequence[T]) -> Sequence[T]:
        return items[self.offset : self.offset + self.size]


async def _page(
    page: Annotated[int, Query(ge=1, le=_MAX_PAGE, description="The page, from 1.")] = 1,
    per_page: Annotated[int, Query(ge=1, le=MAX_PER_PAGE, description="Items on a page.")] = 30,
) -> Page:
    return Page(page, per_page)


#: The parameters `page` and `per_page`.
Paged = Annotated[Page, Depends(_page)]


def page_headers(request: Request, page: Page, total: int) -> dict[str, str]:
    """`X-Total-Count`, and `Link` with the neighbouring pages (RFC 8288, relative)."""
    last = max(1, -(-total // page.size))
    targets = {"first": 1, "prev": page.number - 1, "next": page.number + 1, "last": last}
    links = [
        f'<{_address(request, page, number)}>; rel="{relation}"'
        for relation, number in targets.items()
        if 1 <= number <= last
    ]
    return {"x-total-count": str(total), "link": ", ".join(links)}


def answer_page(request: Request, page: Page, items: Sequence[T], render: Any) -> Response:
    """One page of `items`, each through `render`."""
    data = [render(item) for item in page.of(items)]
    return answer(request, data, headers=page_headers(request, page, len(items)))


def _address(request: Request, page: Page, number: int) -> str:
    kept = [(key, value) for key, value in request.query_params.multi_items() if key not in _PAGING]
    query = urlencode([*kept, ("page", str(number)), ("per_page", str(page.size))])
    return f"{request.url.path}?{query}"


_PAGING = frozenset({"page", "per_page"})
