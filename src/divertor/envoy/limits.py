"""Rate limits: a filter for each host that has any, in the chain of its requests alone.

The buckets live in the listener, not in its routes: a change of weights fills none of them. A key is what a
client says; so only its end counts, and only so many keys are remembered, the ones used last. Who makes up a
new key for each request is limited by his address or not at all. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from divertor.envoy.names import TYPE, Resource
from divertor.envoy.plan import Host, Listener
from divertor.envoy.traffic import seconds
from divertor.model.isolation import KeyKind, KeySelector
from divertor.model.traffic import RateLimit

#: Keys that a host's limits remember.
REMEMBERED = 50_000
#: Bytes of a key that count, from its end: tokens begin alike. Envoy takes no pattern for many more.
KEY_LENGTH = 40
#: The most a bucket of Envoy's can hold: where no limit applies.
UNLIMITED = (1 << 32) - 1
_NAMESPACE = "divertor.limits"
_FILTERS = TYPE + "envoy.extensions.filters.http."
_HEADERS = {KeyKind.BEARER: "authorization", KeyKind.JA3: "x-divertor-ja3", KeyKind.JA4: "x-divertor-ja4"}


def limiting_filters(listener: Listener) -> list[Resource]:
    """The filters of all hosts of a listener; each is off but where `enabled` turns it on."""
    limited = [host for host in listener.hosts if host.rate_limits]
    return [each for host in limited for each in (*_keys_filter(host), _limit_filter(host))]


def enabled(host: Host) -> Resource:
    """What turns a host's filters on, for its virtual host."""
    names = [each["name"] for each in (*_keys_filter(host), _limit_filter(host))] if host.rate_limits else []
    switch = {"@type": TYPE + "envoy.config.route.v3.FilterConfig", "config": {}}
    return {"typed_per_filter_config": dict.fromkeys(names, switch)} if names else {}


def counted_fingerprints(listener: Listener) -> set[KeyKind]:
    """The kinds of TLS fingerprints that some limit counts by."""
    kinds = {limit.per.kind for host in listener.hosts for limit in host.rate_limits if limit.per}
    return kinds & {KeyKind.JA3, KeyKind.JA4}


def _keys_filter(host: Host) -> Iterator[Resource]:
    """Takes keys out of headers and cookies, where some limit needs that."""
    rules = [_rule(limit.per, number) for number, limit in _by_header(host.rate_limits)]
    if rules:
        yield {
            "name": f"divertor.keys.{host.gate.name}",
            "disabled": True,
            "typed_config": {
                "@type": _FILTERS + "header_to_metadata.v3.Config",
                "request_rules": rules,
            },
        }


def _by_header(limits: Iterable[RateLimit]) -> Iterator[tuple[int, Any]]:
    for number, limit in enumerate(limits):
        if limit.per is not None and limit.per.kind not in (KeyKind.ADDRESS, KeyKind.PREFIX):
            yield number, limit


def _rule(key: KeySelector, number: int) -> Resource:
    where = {"cookie": key.name} if key.kind is KeyKind.COOKIE else {"header": _header(key)}
    # One token may be written in several ways, and must not have a bucket for each.
    start = r"(?i)^\s*bearer\s+" if key.kind is KeyKind.BEARER else "^"
    return {
        **where,
        "on_header_present": {
            "metadata_namespace": _NAMESPACE,
            "key": f"{number}",
            "regex_value_rewrite": {
                "pattern": {"regex": rf"{start}\C*?(\C{{0,{KEY_LENGTH}}})$"},
                "substitution": r"\1",
            },
        },
    }


def _limit_filter(host: Host) -> Resource:
    whole = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return {
        "name": f"divertor.limits.{host.gate.name}",
        "disabled": True,
        "typed_config": {
            "@type": _FILTERS + "local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "limits",
            "filter_enabled": whole,
            "filter_enforced": whole,
            "token_bucket": {
                "max_tokens": UNLIMITED,
                "tokens_per_fill": UNLIMITED,
                "fill_interval": "1s",
            },
            "always_consume_default_token_bucket": False,
            "max_dynamic_descriptors": REMEMBERED,
            "rate_limits": [
                {"actions": [_numbered(number), *_actions(limit.per, number)]}
                for number, limit in enumerate(host.rate_limits)
            ],
            "descriptors": [
                {"entries": [_entry(number), *_entries(limit.per)], "token_bucket": _bucket(limit)}
                for number, limit in enumerate(host.rate_limits)
            ],
        },
    }


def _bucket(limit: RateLimit) -> Resource:
    return {
        "max_tokens": limit.burst or limit.requests,
        "tokens_per_fill": limit.requests,
        "fill_interval": seconds(limit.seconds),
    }


def _numbered(number: int) -> Resource:
    """Tells the limits apart that count by the same key."""
    return {"generic_key": {"descriptor_key": "limit", "descriptor_value": f"{number}"}}


def _entry(number: int) -> Resource:
    return {"key": "limit", "value": f"{number}"}


def _actions(key: KeySelector | None, number: int) -> list[Resource]:
    """What a request is counted by; one without the key is not counted at all."""
    if key is None:
        return []
    if key.kind is KeyKind.ADDRESS:
        return [{"remote_address": {}}]
    if key.kind is KeyKind.PREFIX:
        four, six = key.name.split("/")
        return [{"masked_remote_address": {"v4_prefix_mask_len": int(four), "v6_prefix_mask_len": int(six)}}]
    return [
        {
            "header_value_match": {
                "descriptor_key": "given",
                "descriptor_value": "1",
                "headers": [_given(key)],
            }
        },
        {
            "metadata": {
                "descriptor_key": "key",
                "metadata_key": {"key": _NAMESPACE, "path": [{"key": f"{number}"}]},
                # Envoy takes nothing from values above 8 KiB: all of those count as one.
                "default_value": "too long",
            }
        },
    ]


def _entries(key: KeySelector | None) -> list[Resource]:
    """The same as a limit's pattern: an entry without a value stands for any."""
    if key is None:
        return []
    if key.kind is KeyKind.ADDRESS:
        return [{"key": "remote_address"}]
    if key.kind is KeyKind.PREFIX:
        return [{"key": "masked_remote_address"}]
    return [{"key": "given", "value": "1"}, {"key": "key"}]


def _given(key: KeySelector) -> Resource:
    """Whether a request has the key."""
    if key.kind is KeyKind.COOKIE:
        pattern = rf"(?:\C*;)?\s*{_quoted(key.name)}=\C*"
        return {"name": "cookie", "string_match": {"safe_regex": {"regex": pattern}}}
    if key.kind is KeyKind.BEARER:
        return {"name": "authorization", "string_match": {"safe_regex": {"regex": r"(?i)\s*bearer\s+\C*"}}}
    return {"name": _header(key), "present_match": True}


def _quoted(name: str) -> str:
    return "".join(mark if mark.isalnum() or mark in "-_" else f"\\x{{{ord(mark):x}}}" for mark in name)


def _header(key: KeySelector) -> str:
    return _HEADERS.get(key.kind) or key.name.lower()
