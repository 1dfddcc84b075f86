"""TLS as tests need it: a server's files, a client that trusts them, and a gateway in between."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme
from tests.gateway.conftest import App, Reply, listener, over, upstream

from divertor.envoy.plan import Route, Snapshot
from divertor.model.traffic import Tls

REQUEST = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"


class Files:
    """A server's certificate and key where their owner keeps them."""

    def __init__(self, folder: Path, ca: trustme.CA) -> None:
        self.ca, self.chain, self.key, self.clients = (
            ca,
            folder / "chain.pem",
            folder / "key.pem",
            folder / "ca.pem",
        )
        ca.cert_pem.write_to_path(str(self.clients))
        self.renew()

    def renew(self, key_type: trustme.KeyType = trustme.KeyType.ECDSA) -> None:
        """New ones, renamed into place one after the other."""
        found = self.ca.issue_cert("shop.example", key_type=key_type)
        chain = b"".join(blob.bytes() for blob in found.cert_chain_pems)
        for path, content in ((self.chain, chain), (self.key, found.private_key_pem.bytes())):
            draft = path.with_suffix(".new")
            draft.write_bytes(content)
            draft.replace(path)

    def tls(self, **more: object) -> Tls:
        return Tls(str(self.chain), str(self.key), **more)  # type: ignore[arg-type]

    def trusting(self) -> ssl.SSLContext:
        """A client that trusts the authority."""
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        return context


@contextmanager
def connected(port: int, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="shop.example") as secure,
    ):
        yield secure


def fetch(port: int, context: ssl.SSLContext, request: bytes = REQUEST) -> Reply:
    with connected(port, context) as secure:
        return over(secure, request)


def snapshot(port: int, app: App, tls: Tls | None) -> Snapshot:
    return Snapshot((listener(port, Route("r", "a", 100), tls=tls),), (upstream("a", app),))
