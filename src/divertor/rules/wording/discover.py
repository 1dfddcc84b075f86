"""Addresses of Kibana's and OpenSearch's Discover that show what a match is about.

Pure. What a match brought is quoted twice: as a value in RISON, which Discover reads, and for the address.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from divertor.model.events import format_time
from divertor.rules.document import lookup
from divertor.rules.reading.enriching import AROUND
from divertor.rules.rule import DiscoverOptions, Match
from divertor.rules.running.projection import plain

_BARE = re.compile(r"[^\-0123456789 '!:(),*@$][^ '!:(),*@$]*")
#: A query_key's value is cut here.
_MAX_VALUE = 1024


def discover_url(match: Match, options: DiscoverOptions) -> str:
    """The address with the rule's filter, the match's key and the time around the match."""
    state = {"filters": [], "refreshInterval": {"pause": True, "value": 0}, "time": _time(match, options)}
    shown = {
        "columns": list(options.columns),
        "filters": [*_of_filter(match, options), *_of_key(match, options)],
        "index": options.index,
        "interval": "auto",
    }
    return f"{options.address}?_g={quote(rison(state))}&_a={quote(rison(shown))}"


def _time(match: Match, options: DiscoverOptions) -> dict[str, str]:
    given = match.rule.properties.get("timeframe")
    timeframe = timedelta(**given) if isinstance(given, dict) else AROUND
    before = timeframe if options.before is None else options.before
    after = timeframe if options.after is None else options.after
    return {"from": format_time(match.time - before), "to": format_time(match.time + after)}


def _meta(options: DiscoverOptions, **more: Any) -> dict[str, Any]:
    return {"disabled": False, "index": options.index, **more}


def _of_filter(match: Match, options: DiscoverOptions) -> list[dict[str, Any]]:
    given = match.rule.properties.get("filter")
    if not given:
        return []
    queries = given if isinstance(given, list) else [given]
    together = {"must": [_unwrapped(query) for query in queries]}
    meta = _meta(
        options,
        alias="filter",
        key="bool",
        negate=False,
        type="custom",
        value=json.dumps(together, separators=(",", ":"), default=str),
    )
    return [{"$state": {"store": "appState"}, "bool": together, "meta": meta}]


def _unwrapped(query: Any) -> Any:
    return query["query"] if isinstance(query, dict) and "query" in query else query


def _of_key(match: Match, options: DiscoverOptions) -> list[dict[str, Any]]:
    return [_of_field(name, lookup(match.document, name), options) for name in match.rule.query_key]


def _of_field(name: str, value: Any, options: DiscoverOptions) -> dict[str, Any]:
    if value is None:
        meta = _meta(options, alias=None, key=name, negate=True, type="exists", value="exists")
        return {"$state": {"store": "appState"}, "exists": {"field": name}, "meta": meta}
    value = value[:_MAX_VALUE] if isinstance(value, str) else value
    phrase = {"query": value, "type": "phrase"}
    meta = _meta(
        options,
        alias=None,
        key=name,
        negate=False,
        params=phrase,
        type="phrase",
        value=str(value)[:_MAX_VALUE],
    )
    return {"$state": {"store": "appState"}, "meta": meta, "query": {"match": {name: phrase}}}


def rison(value: Any) -> str:
    """A JSON value in RISON, the notation of Kibana's addresses."""
    value = plain(value)
    if value is None or isinstance(value, bool):
        return {None: "!n", True: "!t", False: "!f"}[value]
    if isinstance(value, int | float):
        return str(value).replace("+", "")
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return "(" + ",".join(f"{_text(str(key))}:{rison(value[key])}" for key in sorted(value)) + ")"
    return "!(" + ",".join(rison(item) for item in value) + ")"


def _text(value: str) -> str:
    if _BARE.fullmatch(value):
        return value
    return "'" + re.sub(r"(['!])", r"!\1", value) + "'"
