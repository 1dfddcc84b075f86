"""TLS on a gateway: certificates from files, replaced while it serves, and what is no good."""

from __future__ import annotations

import asyncio
import os
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
    ask,
    attack,
    isolated,
    listener,
    new_port,
    over,
    upstream,
)
from tests.gateway.secure import REQUEST, Files, connected, fetch, snapshot

from divertor.envoy.plan import Route, Snapshot
from divertor.gateway import agent as agents
from divertor.gateway.agent import Agent
from divertor.gateway.process import paths_of
from divertor.model.traffic import Tls

Apps = Callable[..., App]


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, ca: trustme.CA) -> Files:
    return Files(tmp_path, ca)


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
