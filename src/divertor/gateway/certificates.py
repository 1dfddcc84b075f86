"""A gateway's certificates: reads the user's files, judges them, and notices when they change.

Envoy never reads the user's files itself. It would take a certificate without its key, or nothing at all at
its next start; so a pair is read once, judged as it was read, and handed over as text. It does not matter how
the files are replaced: renamed, written in place, or links that lead elsewhere.
"""

from __future__ import annotations

import os
import ssl
import stat
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from divertor.envoy.names import Resource
from divertor.envoy.plan import Snapshot
from divertor.envoy.tls import (
    Identity,
    certificate_name,
    certificate_secret,
    clients_name,
    clients_secret,
    secured,
)
from divertor.errors import ConflictError
from divertor.model.artifacts import Gateway
from divertor.model.traffic import Tls

#: Bytes of a file. Every certificate authority that browsers trust comes to a quarter of this.
LIMIT = 1 << 20

#: Changes when a file does; None: it cannot be reached.
Stamp = Mapping[str, tuple[int, int, int] | None]


def require_good(gateways: Iterable[Gateway], used: Iterable[Gateway]) -> None:
    """Judges the files `gateways` ask for, but those that a gateway in use has: of these the last good ones
    stay, and no other change waits until they are mended.

    :raises ConflictError: one cannot be had.
    """
    known = {gateway.tls for gateway in used}
    for gateway in gateways:
        if gateway.tls is None or gateway.tls in known:
            continue
        try:
            _judge(gateway.tls)
        except ConflictError as problem:
            raise ConflictError(f"gateway {gateway.name}: {problem}") from problem


def _judge(tls: Tls) -> None:
    _identity(tls.certificate, tls.key)
    if tls.client_ca:
        _authorities(tls.client_ca)


def secrets(snapshot: Snapshot) -> dict[str, Resource | ConflictError]:
    """The secrets `snapshot` needs, by name, or why one cannot be had."""
    found: dict[str, Resource | ConflictError] = {}
    for listener, tls in secured(snapshot):
        name = certificate_name(tls)
        try:
            found[name] = certificate_secret(name, _identity(tls.certificate, tls.key))
        except ConflictError as problem:
            found[name] = ConflictError(f"gateway {listener.name}: {problem}")
        if not tls.client_ca:
            continue
        name = clients_name(tls)
        try:
            found[name] = clients_secret(name, _authorities(tls.client_ca))
        except ConflictError as problem:
            found[name] = ConflictError(f"gateway {listener.name}: {problem}")
    return found


def stamp(snapshot: Snapshot | None) -> Stamp:
    """Tells whether a file of `snapshot`'s certificates has changed since."""
    if snapshot is None:
        return {}
    paths = {
        path for _, tls in secured(snapshot) for path in (tls.certificate, tls.key, tls.client_ca) if path
    }
    return {path: _status(path) for path in paths}


def _status(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _identity(certificate: str, key: str) -> Identity:
    chain = _authorities(certificate)
    identity = Identity(chain, _read(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # OpenSSL reads files only: these are what was read, so what is judged is what Envoy gets.
    with tempfile.TemporaryDirectory(prefix="divertor-") as folder:
        drafts = Path(folder, "chain.pem"), Path(folder, "key.pem")
        for draft, text in zip(drafts, (identity.chain, identity.key), strict=True):
            draft.touch(0o600)
            draft.write_text(text)
        try:
            context.load_cert_chain(*drafts, password=_no_password)
        except (ssl.SSLError, ValueError) as problem:
            raise ConflictError(_why(problem, certificate, key)) from problem
    return identity


def _no_password() -> str:
    raise ValueError("it is encrypted: a gateway that starts at night can ask nobody for the password")


def _why(problem: Exception, certificate: str, key: str) -> str:
    if not isinstance(problem, ssl.SSLError):
        return f"the key {key}: {problem}"
    if problem.reason == "KEY_VALUES_MISMATCH":
        return f"the key {key} does not belong to the certificate {certificate}"
    if problem.reason in ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"):
        return f"the certificate {certificate} is too weak: {problem.reason}"
    return f"the key {key} holds no private key in PEM"


def _authorities(path: str) -> str:
    text = _read(path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as problem:
        raise ConflictError(f"{path} holds no certificate in PEM") from problem
    return text


def _read(path: str) -> str:
    """The PEM in a file; remarks between the blocks may be in any language.

    :raises ConflictError: it is no file, not ours to read, or too large.
    """
    try:
        # A pipe in its place must not stop everything until somebody writes into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ConflictError(f"{path} is no file")
            content = os.read(descriptor, LIMIT + 1)
        finally:
            os.close(descriptor)
    except OSError as problem:
        raise ConflictError(f"{path} cannot be read: {problem.strerror}") from problem
    if len(content) > LIMIT:
        raise ConflictError(f"{path} is larger than {LIMIT} bytes")
    return content.decode("ascii", errors="ignore")
