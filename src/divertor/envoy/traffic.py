"""`model.traffic` in Envoy's words: what a route does with a request besides choosing its version. Pure."""

from __future__ import annotations

from dataclasses import replace

from divertor.envoy.names import Resource
from divertor.model.traffic import HeaderEdits, Retries, Traffic


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


def _both(outer: HeaderEdits, inner: HeaderEdits) -> HeaderEdits:
    return HeaderEdits((*outer.set, *inner.set), (*outer.add, *inner.add), (*outer.remove, *inner.remove))


def action_fields(traffic: Traffic) -> Resource:
    """The fields of a RouteAction. An instance that refused the connection has seen nothing of the request:
    asking another is safe, so that is done unless something else is asked for."""
    retries = traffic.retries or Retries()
    return {
        "timeout": f"{traffic.timeout or 0:g}s",
        "retry_policy": {"retry_on": ",".join(retries.on), "num_retries": retries.attempts},
    }


def route_fields(traffic: Traffic) -> Resource:
    """The fields of a Route."""
    return {}
