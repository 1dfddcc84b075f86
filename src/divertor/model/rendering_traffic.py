"""How requests are treated, as JSON: what `reading_traffic` and `reading_listeners` read back.

What is not set is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from divertor.model import quantities as q
from divertor.model.traffic import (
    CircuitBreaker,
    HeaderEdits,
    Mirror,
    OutlierDetection,
    RateLimit,
    Retries,
    Tls,
    Traffic,
)

JsonObject = dict[str, Any]


def traffic_fields(traffic: Traffic) -> JsonObject:
    """The fields of a gateway or route that `read_traffic` reads."""
    headers = {
        name: _edits(edits)
        for name, edits in (("request", traffic.request_headers), ("response", traffic.response_headers))
        if edits != HeaderEdits()
    }
    return _given(
        timeout=_seconds(traffic.timeout),
        idle_timeout=_seconds(traffic.idle),
        retries=None if traffic.retries is None else _retries(traffic.retries),
        headers=headers or None,
        mirror=_mirrors(traffic.mirrors) or None,
    )


def version_fields(outliers: OutlierDetection | None, breaker: CircuitBreaker | None) -> JsonObject:
    """The fields of a service or cluster that limit what one version gets."""
    return _given(
        outlier_detection=None if outliers is None else _outliers(outliers),
        circuit_breaker=None if breaker is None else _breaker(breaker),
    )


def rate_limit_to_json(limit: RateLimit) -> JsonObject:
    return _given(
        requests=limit.requests,
        every=q.format_seconds(limit.seconds),
        per=None if limit.per is None else str(limit.per),
        burst=limit.burst,
    )


def tls_to_json(tls: Tls) -> JsonObject:
    return _given(
        certificate=tls.certificate,
        key=tls.key,
        client_ca=tls.client_ca or None,
        optional=tls.optional or None,
        minimum=tls.minimum,
    )


def _given(**fields: Any) -> JsonObject:
    return {name: value for name, value in fields.items() if value is not None}


def _seconds(seconds: float | None) -> str | None:
    return None if seconds is None else q.format_seconds(seconds)


def _retries(retries: Retries) -> JsonObject:
    return _given(attempts=retries.attempts, on=list(retries.on), per_try=_seconds(retries.per_try))


def _edits(edits: HeaderEdits) -> JsonObject:
    added: dict[str, list[str]] = {}
    for name, value in edits.add:
        added.setdefault(name, []).append(value)
    return _given(set=dict(edits.set) or None, add=added or None, remove=list(edits.remove) or None)


def _mirrors(mirrors: Iterable[Mirror]) -> JsonObject:
    return {mirror.to: q.format_percentage(mirror.percent) for mirror in mirrors}


def _outliers(outliers: OutlierDetection) -> JsonObject:
    return {
        "errors": outliers.errors,
        "interval": q.format_seconds(outliers.interval),
        "ejection": q.format_seconds(outliers.ejection),
        "maximum": q.format_percentage(outliers.maximum),
    }


def _breaker(breaker: CircuitBreaker) -> JsonObject:
    return {
        "connections": breaker.connections,
        "pending": breaker.pending,
        "requests": breaker.requests,
        "retries": breaker.retries,
    }
