"""`alert: indexer`: a document of an Elasticsearch or OpenSearch index, made of `indexer_alert_config`.

Values that name a field of the match, or an option of the rule, become that value. The document's id is the
delivery's key: a repetition replaces it with the same.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from divertor.alerts.contract import Alerter, Delivery, DeliveryError
from divertor.alerts.hook import Tools
from divertor.alerts.http import Request, Transport, WebClient, send
from divertor.errors import InputError
from divertor.model.documents import parse_documents, to_value
from divertor.model.events import format_time
from divertor.rules.document import lookup
from divertor.rules.rule import Match

_MAX_CONFIG = 64 * 1024


def document(delivery: Delivery, now: datetime) -> dict[str, Any]:
    """The document; dotted names become mappings, what names nothing is left out."""
    match = delivery.notification.first
    flat = {"@timestamp": format_time(now), **_flat(delivery.options["indexer_alert_config"])}
    out: dict[str, Any] = {"divertor": {"status": str(delivery.notification.status)}}
    for name, written in flat.items():
        value = _value(written, match)
        if value is not None and value != name:
            _put(out, name.split("."), value)
    return out


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in config.items():
        out |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return out


def _value(written: Any, match: Match) -> Any:
    if isinstance(written, str):
        found = lookup(match.document, written)
        found = match.rule.properties.get(written) if found is None else found
        return written if found is None else found
    if isinstance(written, list):
        return _listed(written, match)
    return written


def _listed(entries: list[Any], match: Match) -> dict[str, Any]:
    """`[{name: a, value: field}, …]` as a mapping; `[{b: [entries]}]` nests."""
    out: dict[str, Any] = {}
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        if "value" in entry:
            out[str(entry.get("name"))] = _value(entry["value"], match)
        else:
            out |= {name: _listed(inner, match) for name, inner in entry.items() if isinstance(inner, list)}
    return out


def _put(out: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        inner = out.setdefault(part, {})
        if not isinstance(inner, dict):
            return
        out = inner
    out[path[-1]] = value


class Indexer:
    """Puts documents by the index's API."""

    def __init__(self, client: WebClient, wall: Callable[[], datetime]) -> None:
        self._client = client
        self._wall = wall

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [options]

    async def deliver(self, delivery: Delivery) -> None:
        """:raises DeliveryError: the index did not take it."""
        connection = await asyncio.to_thread(_connection, delivery)
        index = delivery.options["indexer_alerts_name"] or connection.get("indexer_alerts_name")
        if not isinstance(index, str) or not index:
            raise DeliveryError("indexer_connection without indexer_alerts_name", again=False)
        id = hashlib.blake2b(delivery.key.encode(), digest_size=16).hexdigest()
        url = f"{_base(connection)}/{quote(index.lower(), safe='-_.')}/_doc/{id}?refresh=true"
        user, password = connection.get("es_username"), connection.get("es_password")
        headers = {}
        if connection.get("es_bearer"):
            headers["authorization"] = f"Bearer {connection['es_bearer']}"
        elif connection.get("es_api_key"):
            headers["authorization"] = f"ApiKey {connection['es_api_key']}"
        request = Request(
            url,
            document(delivery, self._wall()),
            method="PUT",
            headers=headers,
            auth=(str(user), str(password)) if user else None,
        )
        ca = str(connection.get("ca_certs") or connection.get("ca_cert") or "")
        verify = connection.get("verify_certs") is not False
        await send(self._client, request, Transport(ca=ca if verify else "", verify=verify, timeout=30.0))


def _base(connection: Mapping[str, Any]) -> str:
    hosts = connection.get("es_hosts") or [connection.get("es_host", "localhost")]
    scheme = "https" if connection.get("use_ssl") else "http"
    host = str(hosts[0])
    if "://" in host:
        return host.rstrip("/")
    port = "" if ":" in host else f":{connection.get('es_port', 9200)}"
    prefix = str(connection.get("es_url_prefix") or "").strip("/")
    return f"{scheme}://{host}{port}" + (f"/{prefix}" if prefix else "")


def _connection(delivery: Delivery) -> Mapping[str, Any]:
    """`indexer_connection`, or the YAML file that `indexer_config` names."""
    given: Mapping[str, Any] = delivery.options["indexer_connection"]
    if given:
        return given
    path = Path(delivery.notification.rule.source).parent / delivery.options["indexer_config"]
    try:
        with path.open("rb") as file:
            (node,) = parse_documents(file.read(_MAX_CONFIG).decode(), "indexer_config")
    except (OSError, ValueError, InputError):
        raise DeliveryError("indexer_config cannot be read", again=True) from None
    found = to_value(node)
    return found if isinstance(found, dict) else {}


def make(tools: Tools) -> Alerter:
    return Indexer(tools.client, tools.wall)
