"""`model.traffic` in Envoy's words: what a route does with a request besides choosing its version. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from divertor.envoy.names import TOKEN_HEADER, Resource
from divertor.model.traffic import HeaderEdits, Mirror, Retries, Traffic

#: How often a retry draws for an instance that this request has not met yet. A client kept by cookie has
#: fixed draws, which are not independent: with 5 of them every fortieth stayed with the one that was dead.
OTHERS_TRIED = 20


def merged(outer: Traffic, inner: Traffic) -> Traffic:
    """A route behind a gateway: what the inner one says wins, edits and mirrors add up."""
    if inner == Traffic():
        return outer
    return replace(
        inner,
        timeout=outer.timeout if inner.timeout is None else inner.timeout,
        idle=outer.idle if inner.idle is None else inner.idle,
        retries=inner.retries or outer.retries,
        request_headers=_both(outer.request_headers, inner.request_headers),
        response_headers=_both(outer.response_headers, inner.response_headers),
        mirrors=(*outer.mirrors, *inner.mirrors),
    )


def unmirrored(traffic: Traffic) -> Traffic:
    """For isolated requests: a copy would be an attack on a version that nobody has audited."""
    return replace(traffic, mirrors=())


def _both(outer: HeaderEdits, inner: HeaderEdits) -> HeaderEdits:
    return HeaderEdits((*outer.set, *inner.set), (*outer.add, *inner.add), (*outer.remove, *inner.remove))


def action_fields(traffic: Traffic) -> Resource:
    """The fields of a RouteAction."""
    fields: Resource = {
        "timeout": seconds(traffic.timeout or 0),
        "retry_policy": _retry_policy(traffic.retries or Retries()),
    }
    if traffic.idle is not None:
        fields["idle_timeout"] = seconds(traffic.idle)
    if traffic.mirrors:
        fields["request_mirror_policies"] = [_mirror(mirror) for mirror in traffic.mirrors]
    return fields


def route_fields(traffic: Traffic) -> Resource:
    """The fields of a Route."""
    return {**_edits("request", traffic.request_headers), **_edits("response", traffic.response_headers)}


def seconds(value: float) -> str:
    """A duration as Envoy reads it: digits only, never 1e-05."""
    return f"{value:.9f}".rstrip("0").rstrip(".") + "s"


def _retry_policy(retries: Retries) -> Resource:
    """An instance that refused the connection has seen nothing of the request: asking another is safe, so
    that is done unless something else is asked for. Another it must be: by its cookie, or by chance, a client
    would come to the same one again."""
    policy: Resource = {
        "retry_on": ",".join(retries.on),
        "num_retries": retries.attempts,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3"
                    ".PreviousHostsPredicate"
                },
            }
        ],
        "host_selection_retry_max_attempts": OTHERS_TRIED,
    }
    if retries.per_try is not None:
        policy["per_try_timeout"] = seconds(retries.per_try)
    return policy


def _mirror(mirror: Mirror) -> Resource:
    """The copy is the request as the version gets it, under its own host name."""
    return {
        "cluster": mirror.to,
        "runtime_fraction": {"default_value": {"numerator": mirror.percent, "denominator": "HUNDRED"}},
        "disable_shadow_host_suffix_append": True,
        "trace_sampled": False,
        "request_headers_mutations": [{"remove": TOKEN_HEADER}],
    }


def _edits(direction: str, edits: HeaderEdits) -> Resource:
    """Envoy removes first, and then adds in the order given."""
    fields: Resource = {}
    if edits.remove:
        fields[f"{direction}_headers_to_remove"] = list(dict.fromkeys(edits.remove))
    if edits.set or edits.add:
        fields[f"{direction}_headers_to_add"] = list(_added(edits))
    return fields


def _added(edits: HeaderEdits) -> Iterator[Resource]:
    for name, value in edits.set:
        yield _literal(name, value, "OVERWRITE_IF_EXISTS_OR_ADD")
    for name, value in edits.add:
        yield _literal(name, value, "APPEND_IF_EXISTS_OR_ADD")


def _literal(name: str, value: str, how: str) -> Resource:
    """`%` begins one of Envoy's own expressions, in which it would show what a request holds."""
    return {
        "header": {"key": name, "value": value.replace("%", "%%")},
        "append_action": how,
        "keep_empty_value": True,
    }
