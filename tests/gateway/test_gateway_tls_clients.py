"""Who a client of a TLS gateway is: by the certificate it shows, by the fingerprint of its handshake."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from tests.gateway.conftest import App, Gateway, attack, isolated, listener, raw, upstream
from tests.gateway.secure import REQUEST, Files, fetch, snapshot

from divertor.envoy.plan import Route, Snapshot
from divertor.model.isolation import KeyKind, KeySelector

Apps = Callable[..., App]


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, ca: trustme.CA) -> Files:
    return Files(tmp_path, ca)


# Clients that prove who they are


def with_certificate(files: Files, ca: trustme.CA) -> ssl.SSLContext:
    context = files.trusting()
    ca.issue_cert("customer@shop.example", common_name="a customer").configure_cert(context)
    return context


def test_a_client_with_a_certificate_is_served_and_named(
    gateway: Gateway, apps: Apps, port: int, files: Files
) -> None:
    gateway.apply(snapshot(port, apps("a"), files.tls(client_ca=str(files.clients))))
    found = fetch(port, with_certificate(files, files.ca))
    assert "CN=a customer" in found.seen["x-forwarded-client-cert"]


def test_a_client_without_a_certificate_is_refused(
    gateway: Gateway, apps: Apps, port: int, files: Files
) -> None:
    gateway.apply(snapshot(port, apps("a"), files.tls(client_ca=str(files.clients))))
    with pytest.raises(OSError):
        fetch(port, files.trusting())


@pytest.mark.parametrize("optional", [False, True])
def test_a_client_with_somebody_else_s_certificate_is_refused(
    gateway: Gateway, apps: Apps, port: int, files: Files, optional: bool
) -> None:
    gateway.apply(snapshot(port, apps("a"), files.tls(client_ca=str(files.clients), optional=optional)))
    with pytest.raises(OSError):
        fetch(port, with_certificate(files, trustme.CA()))


def test_a_client_may_stay_unknown_where_that_is_allowed(
    gateway: Gateway, apps: Apps, port: int, files: Files
) -> None:
    gateway.apply(snapshot(port, apps("a"), files.tls(client_ca=str(files.clients), optional=True)))
    assert "x-forwarded-client-cert" not in fetch(port, files.trusting()).seen


@pytest.mark.parametrize("proven", [False, True])
@pytest.mark.parametrize(
    "name", ["x-forwarded-client-cert", "X_Forwarded_Client_Cert", "x-forwarded_client-cert"]
)
def test_nobody_can_claim_a_certificate(
    gateway: Gateway, apps: Apps, port: int, files: Files, name: str, proven: bool
) -> None:
    gateway.apply(snapshot(port, apps("a"), files.tls(client_ca=str(files.clients), optional=True)))
    context = with_certificate(files, files.ca) if proven else files.trusting()
    forged = REQUEST.replace(b"\r\n\r\n", f"\r\n{name}: Subject=the boss\r\n\r\n".encode())
    assert "the boss" not in str(fetch(port, context, forged).seen)


def test_an_authority_is_replaced_like_a_certificate(
    gateway: Gateway, apps: Apps, port: int, files: Files
) -> None:
    app, other = apps("a"), trustme.CA()
    gateway.apply(snapshot(port, app, files.tls(client_ca=str(files.clients))))
    other.cert_pem.write_to_path(str(files.clients))
    gateway.apply(snapshot(port, app, files.tls(client_ca=str(files.clients))))
    assert fetch(port, with_certificate(files, other)).by == "a"
    with pytest.raises(OSError):
        fetch(port, with_certificate(files, files.ca))


def test_an_authority_that_is_no_good_is_refused(
    gateway: Gateway, apps: Apps, port: int, files: Files
) -> None:
    files.clients.write_text("nobody")
    (reason,) = gateway.refused(snapshot(port, apps("a"), files.tls(client_ca=str(files.clients))))
    assert "ca.pem holds no certificate in PEM" in reason


# Fingerprints of the handshake


def fingerprinted(port: int, app: App, files: Files, *kinds: KeyKind, secure: bool = True) -> Snapshot:
    keys = [KeySelector(kind) for kind in kinds]
    tls = files.tls() if secure else None
    front = listener(port, Route("r", "a", 100), isolated=isolated("a", *keys), tls=tls)
    return Snapshot((front,), (upstream("a", app),))


JA = REQUEST.replace(b"\r\n\r\n", b"\r\nx-divertor-ja3: forged\r\nx-divertor-ja4: forged\r\n\r\n")


def test_a_fingerprint_is_the_handshake_s_and_not_what_a_client_says(
    gateway: Gateway, apps: Apps, port: int, files: Files
) -> None:
    gateway.release()
    gateway.apply(fingerprinted(port, apps("a"), files, KeyKind.JA3, KeyKind.JA4))
    seen = fetch(port, files.trusting(), JA).seen
    assert re.fullmatch("[0-9a-f]{32}", seen["x-divertor-ja3"])
    assert re.fullmatch("t[0-9a-z]{9}_[0-9a-f]{12}_[0-9a-f]{12}", seen["x-divertor-ja4"])


def test_other_handshakes_have_other_fingerprints(
    gateway: Gateway, apps: Apps, port: int, files: Files
) -> None:
    gateway.apply(fingerprinted(port, apps("a"), files, KeyKind.JA4))
    old = files.trusting()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    found = [
        fetch(port, context).seen["x-divertor-ja4"] for context in (old, files.trusting(), files.trusting())
    ]
    assert found[0] != found[1] == found[2]


@pytest.mark.parametrize("kinds", [(KeyKind.JA3, KeyKind.JA4), (KeyKind.COOKIE,)])
def test_without_tls_there_is_no_fingerprint_to_claim(
    gateway: Gateway, apps: Apps, port: int, files: Files, kinds: tuple[KeyKind, ...]
) -> None:
    gateway.apply(fingerprinted(port, apps("a"), files, *kinds, secure=False))
    assert not {"x-divertor-ja3", "x-divertor-ja4"} & raw(port, JA).seen.keys()


def test_an_attacker_is_recognised_by_his_handshake(
    gateway: Gateway, apps: Apps, port: int, files: Files
) -> None:
    gateway.release()
    key = isolated("audited", KeySelector(KeyKind.JA4))
    versions = upstream("live", apps("live", attack)), upstream("audited", apps("audited"))
    gateway.apply(
        Snapshot((listener(port, Route("r", "live", 100), isolated=key, tls=files.tls()),), versions)
    )
    other = files.trusting()
    other.maximum_version = ssl.TLSVersion.TLSv1_2
    assert fetch(port, files.trusting(), REQUEST.replace(b"/ ", b"/attack ")).by == "audited"
    assert [fetch(port, context).by for context in (files.trusting(), other)] == ["audited", "live"]
