"""TLS on a gateway: certificates from files, replaced while it serves; clients that prove who they are."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.gateway.conftest import (
    SESSION,
    App,
    Gateway,
    Reply,
    ask,
    attack,
    isolated,
    listener,
    new_port,
    over,
    raw,
    upstream,
)

from divertor.envoy.plan import Route, Snapshot
from divertor.gateway import agent as agents
from divertor.gateway.agent import Agent
from divertor.gateway.process import paths_of
from divertor.model.isolation import KeyKind, KeySelector
from divertor.model.traffic import Tls

Apps = Callable[..., App]
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


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, ca: trustme.CA) -> Files:
    return Files(tmp_path, ca)


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


def shown(port: int, context: ssl.SSLContext) -> bytes:
    """The certificate the gateway shows."""
    with connected(port, context) as secure:
        return secure.getpeercert(binary_form=True) or b""


def serves(port: int, files: Files) -> bool:
    with suppress(OSError):
        return fetch(port, files.trusting()).status == 200
    return False


def listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def becomes(check: Callable[[], bool]) -> bool:
    for _ in range(200):
        if await asyncio.to_thread(check):
            return True
        await asyncio.sleep(0.02)
    return False


@asynccontextmanager
async def at_work(gateway: Gateway) -> AsyncIterator[Agent]:
    """The agent as the control plane runs it."""
    agent = Agent(paths_of(gateway.layout), lambda _: None, gateway.refusals.append)
    running = asyncio.create_task(agent.run())
    yield agent
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


@dataclass
class Load:
    """What customers who never pause have seen."""

    served: int = 0
    failed: list[str] = field(default_factory=list)
    certificates: set[bytes] = field(default_factory=set)


@contextmanager
def load(port: int, context: ssl.SSLContext) -> Iterator[Load]:
    """Customers: two with a connection that they keep, two with a new one for each request."""
    seen, stop = Load(), threading.Event()

    def customer(requests: int) -> None:
        while not stop.is_set():
            try:
                with connected(port, context) as secure:
                    seen.certificates.add(secure.getpeercert(binary_form=True) or b"")
                    for _ in range(requests):
                        if stop.is_set():
                            break
                        reply = over(secure, REQUEST)
                        seen.served += 1
                        if reply.status != 200:
                            seen.failed.append(str(reply.status))
            except OSError as problem:
                seen.failed.append(repr(problem))

    customers = [threading.Thread(target=customer, args=(requests,)) for requests in (1, 1, 10**9, 10**9)]
    for each in customers:
        each.start()
    try:
        yield seen
    finally:
        stop.set()
        for each in customers:
            each.join()


def self_signed(key: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop.example")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def snapshot(port: int, app: App, tls: Tls | None) -> Snapshot:
    return Snapshot((listener(port, Route("r", "a", 100), tls=tls),), (upstream("a", app),))


def test_a_gateway_ends_tls(gateway: Gateway, apps: Apps, port: int, files: Files) -> None:
    gateway.apply(snapshot(port, apps("a"), files.tls()))
    found = fetch(port, files.trusting())
    assert (found.by, found.seen["x-forwarded-proto"]) == ("a", "https")


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), ([], None)]
)
def test_a_client_gets_the_protocol_it_offers(
    gateway: Gateway, apps: Apps, port: int, files: Files, offered: list[str], chosen: str | None
) -> None:
    gateway.apply(snapshot(port, apps("a"), files.tls()))
    context = files.trusting()
    if offered:
        context.set_alpn_protocols(offered)
    with connected(port, context) as secure:
        assert secure.selected_alpn_protocol() == chosen


def test_a_protocol_older_than_the_minimum_is_refused(
    gateway: Gateway, apps: Apps, port: int, files: Files
) -> None:
    gateway.apply(snapshot(port, apps("a"), files.tls(minimum="1.3")))
    context = files.trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        fetch(port, context)
    assert fetch(port, files.trusting()).by == "a"


def test_plain_text_on_a_tls_port_is_refused(gateway: Gateway, apps: Apps, port: int, files: Files) -> None:
    gateway.apply(snapshot(port, apps("a"), files.tls()))
    with pytest.raises(OSError):
        ask(port)


def test_a_forged_scheme_does_not_count(gateway: Gateway, apps: Apps, port: int, files: Files) -> None:
    gateway.apply(snapshot(port, apps("a"), files.tls()))
    forged = REQUEST.replace(b"\r\n\r\n", b"\r\nx-forwarded-proto: http\r\n\r\n")
    assert fetch(port, files.trusting(), forged).seen["x-forwarded-proto"] == "https"


def test_an_attack_over_tls_is_diverted_in_the_same_request(
    gateway: Gateway, apps: Apps, port: int, files: Files
) -> None:
    gateway.release()
    versions = upstream("live", apps("live", attack)), upstream("audited", apps("audited"))
    front = listener(port, Route("r", "live", 100), isolated=isolated("audited", SESSION), tls=files.tls())
    gateway.apply(Snapshot((front,), versions))
    request = b"GET %s HTTP/1.1\r\nHost: shop.example\r\nCookie: session=tls\r\n\r\n"
    found = [fetch(port, files.trusting(), request % path).by for path in (b"/attack", b"/")]
    assert found == ["audited", "audited"]


def test_a_tcp_gateway_ends_tls_too(gateway: Gateway, apps: Apps, port: int, files: Files) -> None:
    front = listener(port, Route("r", "a", 100), protocol="tcp", tls=files.tls())
    gateway.apply(Snapshot((front,), (upstream("a", apps("a")),)))
    assert fetch(port, files.trusting()).by == "a"


# Replacing certificates


def renewed(gateway: Gateway, app: App, port: int, files: Files) -> bool:
    """Whether a look at the files, as the agent takes all the time, shows the world another certificate."""
    before = shown(port, files.trusting())
    gateway.apply(snapshot(port, app, files.tls()))
    return shown(port, files.trusting()) != before


def test_a_certificate_renamed_into_place_is_served(
    gateway: Gateway, apps: Apps, port: int, files: Files
) -> None:
    app = apps("a")
    gateway.apply(snapshot(port, app, files.tls()))
    files.renew()
    assert renewed(gateway, app, port, files)


def test_a_certificate_behind_a_link_that_moves_is_served(
    gateway: Gateway, apps: Apps, port: int, files: Files, tmp_path: Path
) -> None:
    """As certbot and Kubernetes keep theirs."""
    app, live = apps("a"), tmp_path / "live"
    live.symlink_to(tmp_path)
    tls = Tls(str(live / "chain.pem"), str(live / "key.pem"))
    gateway.apply(snapshot(port, app, tls))
    before = shown(port, files.trusting())
    (tmp_path / "next").mkdir()
    Files(tmp_path / "next", files.ca)
    live.unlink()
    live.symlink_to(tmp_path / "next")
    gateway.apply(snapshot(port, app, tls))
    assert shown(port, files.trusting()) != before


def test_the_agent_looks_at_the_files_by_itself(
    gateway: Gateway, apps: Apps, port: int, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "CHECK", 0.05)

    async def served() -> bool:
        async with at_work(gateway) as agent:
            agent.want(snapshot(port, apps("a"), files.tls()))
            await agent.settled()
            before = await asyncio.to_thread(shown, port, files.trusting())
            files.renew()
            return await becomes(lambda: shown(port, files.trusting()) != before)

    assert asyncio.run(served())


def test_a_connection_outlives_its_certificate(gateway: Gateway, apps: Apps, port: int, files: Files) -> None:
    app = apps("a")
    gateway.apply(snapshot(port, app, files.tls()))
    with connected(port, files.trusting()) as secure:
        assert over(secure, REQUEST).by == "a"
        files.renew()
        assert renewed(gateway, app, port, files)
        assert over(secure, REQUEST).by == "a"


def test_certificates_are_replaced_under_load_without_a_failed_request(
    gateway: Gateway, apps: Apps, port: int, files: Files
) -> None:
    """Eight certificates; customers on kept connections and customers on new ones."""
    app = apps("a")
    gateway.apply(snapshot(port, app, files.tls()))
    with load(port, files.trusting()) as seen:
        for _ in range(8):
            files.renew()
            assert renewed(gateway, app, port, files)
    print(f"{seen.served} requests, {len(seen.certificates)} certificates, {len(seen.failed)} failed")
    assert seen.failed == [] and seen.served > 200 and len(seen.certificates) >= 7


# What is no good


def broken_chain(files: Files) -> None:
    files.chain.write_text("no certificate")


def broken_key(files: Files) -> None:
    files.key.write_text("no key")


def no_chain(files: Files) -> None:
    files.chain.unlink()


def no_key(files: Files) -> None:
    files.key.unlink()


def other_key(files: Files) -> None:
    content = files.chain.read_bytes()
    files.renew()
    files.chain.write_bytes(content)


def directory(files: Files) -> None:
    files.key.unlink()
    files.key.mkdir()


def pipe(files: Files) -> None:
    files.key.unlink()
    os.mkfifo(files.key)


def huge(files: Files) -> None:
    files.chain.write_bytes(files.chain.read_bytes() + b"\n" * (1 << 20))


def encrypted(files: Files) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"secret")
    kind = serialization.PrivateFormat.PKCS8
    files.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, kind, secret))


DAMAGES = [
    (broken_chain, "chain.pem holds no certificate in PEM"),
    (broken_key, "key.pem holds no private key in PEM"),
    (no_chain, "chain.pem cannot be read: No such file or directory"),
    (no_key, "key.pem cannot be read: No such file or directory"),
    (other_key, "does not belong to the certificate"),
    (directory, "key.pem is no file"),
    (pipe, "key.pem is no file"),
    (huge, "chain.pem is larger than 1048576 bytes"),
    (encrypted, "key.pem: it is encrypted"),
]


@pytest.mark.parametrize(("damage", "told"), DAMAGES)
def test_a_certificate_that_is_no_good_is_refused_and_changes_nothing(
    gateway: Gateway, apps: Apps, port: int, files: Files, damage: Callable[[Files], None], told: str
) -> None:
    other = new_port()
    before = Snapshot((listener(other, Route("r", "a", 100)),), (upstream("a", apps("a")),))
    gateway.apply(before)
    damage(files)
    (reason,) = gateway.refused(snapshot(port, apps("b"), files.tls()))
    assert told in reason and f"gateway-{port}" in reason
    assert ask(other).by == "a"


@pytest.mark.parametrize(("damage", "told"), DAMAGES)
def test_a_certificate_that_goes_bad_leaves_the_last_good_one_in_place(
    gateway: Gateway, apps: Apps, port: int, files: Files, damage: Callable[[Files], None], told: str
) -> None:
    """And whatever else has changed is served: a certificate must not hold up a release."""
    gateway.apply(snapshot(port, apps("a"), files.tls()))
    before = shown(port, files.trusting())
    damage(files)
    (reason,) = gateway.refused(snapshot(port, apps("b"), files.tls()))
    assert told in reason and "the last good one stays" in reason
    assert shown(port, files.trusting()) == before
    until(lambda: fetch(port, files.trusting()).by == "b")


def test_a_key_that_only_envoy_refuses_is_told_and_changes_nothing(
    gateway: Gateway, apps: Apps, port: int, files: Files
) -> None:
    """OpenSSL knows this curve, BoringSSL does not."""
    key = ec.generate_private_key(ec.SECP256K1())
    files.chain.write_bytes(self_signed(key))
    files.key.write_bytes(pem(key))
    (reason,) = gateway.refused(snapshot(port, apps("a"), files.tls()))
    assert "Envoy refused the new sds configuration" in reason and "BEGIN" not in reason
    until(lambda: not listens(port))


def test_an_envoy_that_starts_while_the_files_are_gone_serves_the_last_good_ones(
    gateway: Gateway, apps: Apps, port: int, files: Files
) -> None:
    gateway.apply(snapshot(port, apps("a"), files.tls()))
    files.chain.unlink()
    files.key.unlink()
    gateway.kill()
    gateway.start()
    until(lambda: serves(port, files))


def test_secrets_are_the_owner_s_alone_and_go_with_their_gateway(
    gateway: Gateway, apps: Apps, port: int, files: Files
) -> None:
    folder = gateway.layout.envoy / "xds" / "sds"
    gateway.apply(snapshot(port, apps("a"), files.tls()))
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]
    gateway.apply(snapshot(port, apps("a"), None))
    assert list(folder.iterdir()) == []


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
