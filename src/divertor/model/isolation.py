"""The isolation: who is being diverted, by which key, to which version, why, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from divertor.model.events import format_time, parse_time


class KeyKind(StrEnum):
    """What an attacker is recognised by. All but `USER` are read from the request by the gateway; a user's
    isolation holds through the sessions that the sensor reports for him."""

    COOKIE = "cookie"
    HEADER = "header"
    ADDRESS = "address"
    PREFIX = "prefix"
    BEARER = "bearer"
    JA3 = "ja3"
    JA4 = "ja4"
    USER = "user"


@dataclass(frozen=True, slots=True)
class KeySelector:
    """Where a key is found in a request: `cookie session`, `header x-api-key`, `bearer token`, `client
    address`, `client address/24/64` (its network: so many bits of an IPv4, so many of an IPv6 address),
    `tls ja3`, `tls ja4` (the handshake's fingerprint) and `user id`. `name` of a prefix is `24/64`."""

    kind: KeyKind
    name: str = ""

    def __str__(self) -> str:
        match self.kind:
            case KeyKind.COOKIE | KeyKind.HEADER:
                return f"{self.kind} {self.name}"
            case KeyKind.PREFIX:
                return f"client address/{self.name}"
        return _WORDS[self.kind]


_WORDS = {
    KeyKind.ADDRESS: "client address",
    KeyKind.BEARER: "bearer token",
    KeyKind.JA3: "tls ja3",
    KeyKind.JA4: "tls ja4",
    KeyKind.USER: "user id",
}


@dataclass(frozen=True, slots=True)
class Isolation:
    """One key being diverted.

    `scope` is `deployment/cluster`: the same value in another application is somebody else.
    `target` is the service that serves it. `expires` is None for "until removed".
    `by` names who decided (a rule, the gateway, a user of the API), `reason` says why in words, and
    `cause` is the id of the detection behind it, if any. `parent` is the isolation this one continues: the
    client was isolated by that when it was handed this key, or it is another key of the same client.
    `simulated`: it was decided while its policy only watched. `batch` names the record it shares with the
    others of one import; "": it has its own.
    """

    id: str
    scope: str
    selector: KeySelector
    value: str
    target: str
    created: datetime
    expires: datetime | None
    by: str
    reason: str
    cause: str = ""
    parent: str = ""
    simulated: bool = False
    batch: str = field(default="", compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "scope": self.scope,
            "kind": self.selector.kind.value,
            "name": self.selector.name,
            "value": self.value,
            "target": self.target,
            "created": format_time(self.created),
            "expires": None if self.expires is None else format_time(self.expires),
            "by": self.by,
            "reason": self.reason,
            "cause": self.cause,
            "parent": self.parent,
            "simulated": self.simulated,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Isolation:
        """The inverse of `to_json`.

        :raises ValueError: a field is missing or of the wrong kind.
        """
        try:
            expires = data["expires"]
            return cls(
                id=str(data["id"]),
                scope=str(data["scope"]),
                selector=KeySelector(KeyKind(data["kind"]), str(data["name"])),
                value=str(data["value"]),
                target=str(data["target"]),
                created=parse_time(data["created"]),
                expires=None if expires is None else parse_time(expires),
                by=str(data["by"]),
                reason=str(data["reason"]),
                cause=str(data.get("cause", "")),
                parent=str(data.get("parent", "")),
                simulated=data.get("simulated") is True,
            )
        except (KeyError, TypeError) as problem:
            raise ValueError(f"not an isolation: {problem}") from problem
