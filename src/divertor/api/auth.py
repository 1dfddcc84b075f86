"""Who may do what: bearer tokens, kept as hashes.

`Auth` answers who a request is from, and whether that one may; it never sees a request. Its file holds
SHA-256 hashes only: the tokens are random and long, so a plain hash cannot be searched. Nothing here writes a
token anywhere.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from divertor.errors import UnavailableError
from divertor.layout import write_private

#: Longest `Authorization` header looked at, in bytes.
_MAX_HEADER = 1024
_DIGEST = hashlib.sha256().digest_size


class Role(StrEnum):
    """`ADMIN` may do everything; `INGEST` may only write events."""

    ADMIN = "admin"
    INGEST = "ingest"


@dataclass(frozen=True, slots=True)
class Principal:
    """The owner of a token."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class Credential:
    """A token's owner, and the SHA-256 of the token."""

    principal: Principal
    digest: bytes


#: What an ingest token may do: (method, path).
INGEST_ROUTES = frozenset({("POST", "/v1/logs"), ("POST", "/api/v1/events")})


def may(role: Role, method: str, path: str) -> bool:
    """Whether that role may do that."""
    return role is Role.ADMIN or (method, path) in INGEST_ROUTES


@dataclass(frozen=True, slots=True)
class Auth:
    """The tokens that are good."""

    credentials: tuple[Credential, ...]

    def identify(self, authorization: bytes) -> Principal | None:
        """Whom an `Authorization` header is from; None when it is from nobody known.

        Every hash is compared, each in constant time, so that the answer's time says nothing.
        """
        scheme, _, token = authorization[:_MAX_HEADER].strip().partition(b" ")
        if scheme.lower() != b"bearer" or len(authorization) > _MAX_HEADER:
            return None
        digest = hashlib.sha256(token.strip()).digest()
        found: Principal | None = None
        for credential in self.credentials:
            if hmac.compare_digest(credential.digest, digest):
                found = credential.principal
        return found

    @classmethod
    def load(cls, path: Path) -> Auth:
        """The tokens of a file that `create` wrote.

        :raises UnavailableError: it cannot be read or understood, or others may write it.
        """
        try:
            if stat.S_IMODE(path.stat().st_mode) & 0o022:
                raise UnavailableError(f"{path}: others may write it; expected mode 0600")
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            raise UnavailableError(f"{path}: cannot be read: {problem}") from problem
        try:
            return cls(tuple(_credential(item) for item in data["tokens"]))
        except (KeyError, TypeError, ValueError) as problem:
            raise UnavailableError(f"{path}: not a file of token hashes") from problem

    @classmethod
    def create(
        cls, path: Path, new_token: Callable[[], str] = lambda: secrets.token_urlsafe(32)
    ) -> tuple[Auth, str, str]:
        """New tokens: (auth, admin token, ingest token). The file, mode 0600, replaces one that was there,
        whose tokens are then good no more.

        :raises UnavailableError: the disk refuses.
        """
        tokens = {role: new_token() for role in Role}
        auth = cls(tuple(credential(role.value, role, token) for role, token in tokens.items()))
        write_private(path, json.dumps(auth.to_json(), indent=2) + "\n")
        return auth, tokens[Role.ADMIN], tokens[Role.INGEST]

    def to_json(self) -> dict[str, Any]:
        """What the file holds."""
        return {
            "tokens": [
                {"name": each.principal.name, "role": each.principal.role.value, "sha256": each.digest.hex()}
                for each in self.credentials
            ]
        }


def credential(name: str, role: Role, token: str) -> Credential:
    """The credential of a token."""
    return Credential(Principal(name, role), hashlib.sha256(token.encode()).digest())


def _credential(data: Mapping[str, Any]) -> Credential:
    digest = bytes.fromhex(data["sha256"])
    if len(digest) != _DIGEST:
        raise ValueError("not a SHA-256")
    return Credential(Principal(str(data["name"]), Role(data["role"])), digest)
