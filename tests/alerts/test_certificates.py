"""Certificates: whom alerters trust, over real TLS on loopback."""

from __future__ import annotations

import asyncio
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme
from tests.alerts.test_messengers import LOG, NOW, deliver, found
from tests.alerts.test_wires import Mailbox, Nowhere, mail

from divertor.alerts import DeliveryError, new_client
from divertor.alerts.contract import Delivery
from divertor.alerts.gitter import make
from divertor.alerts.hook import Tools
from divertor.rules import Match, Notification

Matches = Callable[..., Match]
AUTHORITY = trustme.CA()


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with the certificate of the authority."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    return str(path)


def context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(made)
    return made


@pytest.fixture
def secure(webhook: Any) -> Any:
    """The webhook with TLS."""
    webhook.server.socket = context().wrap_socket(webhook.server.socket, server_side=True)
    return webhook


def post(match: Match) -> None:
    async def run() -> None:
        async with new_client() as client:
            alerter = make(Tools(client, LOG, lambda: NOW))
            for options in alerter.targets(match.rule.alerts[0].options):
                await alerter.deliver(Delivery(Notification.of(match), options, "k"))

    asyncio.run(run())


def gitter(match: Matches, secure: Any, **more: Any) -> Match:
    url = secure.url.replace("http://", "https://")
    return match({}, alert="gitter", gitter_webhook_url=f"{url}/S3CRET", **more)


def test_a_server_of_an_unknown_authority_gets_nothing(match: Matches, secure: Any) -> None:
    with pytest.raises(DeliveryError) as caught:
        post(gitter(match, secure))
    assert caught.value.again and secure.requests == [] and "S3CRET" not in str(caught.value)


def test_a_file_of_certificates_is_trusted(match: Matches, secure: Any, trusted: str) -> None:
    post(gitter(match, secure, gitter_ca_certs=trusted))
    assert len(secure.requests) == 1


def test_errors_of_certificates_are_ignored_when_asked(match: Matches, secure: Any) -> None:
    post(gitter(match, secure, gitter_ignore_ssl_errors=True))
    assert len(secure.requests) == 1


@pytest.fixture
def secure_mailbox() -> Iterator[tuple[Mailbox, int]]:
    """An SMTP server with TLS from the first byte."""
    box, own = Mailbox(), context()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            box.handle(self.rfile, self.wfile)

    class Server(socketserver.ThreadingTCPServer):
        def get_request(self) -> tuple[socket.socket, Any]:
            plain, address = super().get_request()
            return own.wrap_socket(plain, server_side=True, do_handshake_on_connect=False), address

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that does not trust us leaves."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield box, server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_mail_server_must_be_trusted(
    match: Matches, secure_mailbox: tuple[Mailbox, int], trusted: str
) -> None:
    box, port = secure_mailbox
    with pytest.raises(DeliveryError, match="SSLCertVerificationError"):
        deliver(found(match, "email", **mail(port, smtp_ssl=True)), Nowhere())
    assert box.mails == []
    deliver(found(match, "email", **mail(port, smtp_ssl=True, smtp_ca_certs=trusted)), Nowhere())
    assert len(box.mails) == 1
