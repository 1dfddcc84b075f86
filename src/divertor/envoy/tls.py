"""TLS on a gateway's port: what Envoy is told about it, and the secrets it is to find.

Secrets are resources of their own, a file for each, so that a new certificate disturbs neither listener nor
connection. They are named after the files they come from: the same name is always the same user's files, and
a gateway that changes to others changes to another name. Reading and judging those files is
`gateway.certificates`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import product

from divertor.envoy.names import TYPE, Resource
from divertor.envoy.plan import Listener, Paths, Snapshot
from divertor.envoy.upstreams import file_name
from divertor.model.traffic import Tls

_TLS = TYPE + "envoy.extensions.transport_sockets.tls.v3."
_VERSIONS = {"1.0": "TLSv1_0", "1.1": "TLSv1_1", "1.2": "TLSv1_2", "1.3": "TLSv1_3"}


@dataclass(frozen=True, slots=True)
class Identity:
    """What a server proves itself with: a chain and its key, in PEM."""

    chain: str
    key: str = field(repr=False)


def certificate_name(tls: Tls) -> str:
    """The secret of a server's certificate and key."""
    return _name("certificate", tls.certificate, tls.key)


def clients_name(tls: Tls) -> str:
    """The secret of the authorities that clients' certificates come from."""
    return _name("clients", tls.client_ca)


def _name(kind: str, *paths: str) -> str:
    digest = blake2b("\0".join(paths).encode(), digest_size=10).hexdigest()
    return f"{kind}-{digest}"


def secured(snapshot: Snapshot) -> Iterator[tuple[Listener, Tls]]:
    """The listeners that end TLS."""
    for listener in snapshot.listeners:
        if listener.tls is not None:
            yield listener, listener.tls


def secret_names(snapshot: Snapshot) -> set[str]:
    """Every secret that `snapshot` needs."""
    found = set()
    for _, tls in secured(snapshot):
        found.add(certificate_name(tls))
        if tls.client_ca:
            found.add(clients_name(tls))
    return found


def certificate_secret(name: str, identity: Identity) -> Resource:
    """A server's certificate as Envoy takes it. The texts are in it, not the names of files: what is served
    is what was checked, and it is there whenever Envoy starts."""
    return {
        "@type": _TLS + "Secret",
        "name": name,
        "tls_certificate": {
            "certificate_chain": {"inline_string": identity.chain},
            "private_key": {"inline_string": identity.key},
        },
    }


def clients_secret(name: str, authorities: str) -> Resource:
    """Whose certificates clients may show."""
    return {
        "@type": _TLS + "Secret",
        "name": name,
        "validation_context": {"trusted_ca": {"inline_string": authorities}},
    }


def transport_socket(listener: Listener, tls: Tls, paths: Paths) -> Resource:
    """A listener's side of TLS."""
    common: Resource = {
        "tls_params": {"tls_minimum_protocol_version": _VERSIONS[tls.minimum]},
        "tls_certificate_sds_secret_configs": [_source(certificate_name(tls), paths)],
    }
    if listener.protocol == "http":
        common["alpn_protocols"] = ["h2", "http/1.1"]
    if tls.client_ca:
        common["validation_context_sds_secret_config"] = _source(clients_name(tls), paths)
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _TLS + "DownstreamTlsContext",
            "common_tls_context": common,
            "require_client_certificate": bool(tls.client_ca) and not tls.optional,
        },
    }


def client_certificate(listener: Listener) -> Resource:
    """Who the client has proved to be is told to the version in `x-forwarded-client-cert`; what a client says
    about that itself never arrives."""
    if listener.tls is None or not listener.tls.client_ca:
        return {"forward_client_cert_details": "SANITIZE"}
    return {
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"subject": True, "dns": True, "uri": True},
    }


def misspelt_certificates(listener: Listener) -> list[str]:
    """Spellings of that header which Envoy does not know, but application servers take for it: after the CGI
    fashion they read `_` for `-`."""
    if listener.tls is None or not listener.tls.client_ca:
        return []
    return [
        f"x{a}forwarded{b}client{c}cert"
        for a, b, c in product("-_", repeat=3)
        if (a, b, c) != ("-", "-", "-")
    ]


def _source(name: str, paths: Paths) -> Resource:
    return {
        "name": name,
        "sds_config": {
            "resource_api_version": "V3",
            "path_config_source": {
                "path": f"{paths.config}/sds/{file_name(name)}",
                "watched_directory": {"path": f"{paths.config}/sds"},
            },
        },
    }
