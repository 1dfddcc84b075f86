"""The exchange: one request of an attacker and its answer, as far as the gateway kept them.

A value and its JSON. Text from the network is UTF-8 with `surrogateescape`, so that every byte survives;
bodies are bytes. Nothing here decides what may be kept or shown; `redaction` and `showing` do.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from divertor.model.events import format_time, parse_time
from divertor.model.isolation import KeyKind, KeySelector

#: Name and value, in the order of the message.
Headers = tuple[tuple[str, str], ...]


class Kind(StrEnum):
    """What became of the request: handed over by the sensor, isolated from the start, refused because it
    could not be repeated, or let through although it would have been moved (simulation)."""

    DIVERTED = "diverted"
    ISOLATED = "isolated"
    REFUSED = "refused"
    SIMULATED = "simulated"


@dataclass(frozen=True, slots=True)
class Key:
    """What an attacker is recognised by, with its value as the gateway saw it."""

    selector: KeySelector
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Body:
    """What was kept of a body. `size`: of all of it, in bytes, as it was sent; `cut`: there was more than was
    kept. `withheld` says why nothing was kept, if so. `decoded`: `data` is no longer compressed, as something
    had to be struck out of it."""

    data: bytes = b""
    size: int = 0
    cut: bool = False
    withheld: str = ""
    decoded: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing; what was struck out was replaced."""
        return not self.withheld and not self.cut


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer.

    `id` is a digest of the record, `number` its place in the archive (0: not stored yet). `status` None: the
    client left before there was one. `by` is the client's isolated key, when it is his own; `added` are keys
    isolated because of this exchange. `redacted` names what was struck out.
    """

    id: str
    kind: Kind
    time: datetime
    microseconds: int | None
    scope: str
    method: str
    authority: str
    path: str
    scheme: str = "http"
    by: Key | None = None
    added: tuple[Key, ...] = ()
    request_headers: Headers = ()
    request_body: Body = Body()
    status: int | None = None
    response_headers: Headers = ()
    response_body: Body = Body()
    request_id: str = ""
    address: str = ""
    served_by: str = ""
    redacted: tuple[str, ...] = ()
    number: int = 0

    @property
    def keys(self) -> tuple[Key, ...]:
        """All keys that this exchange tells of its client."""
        return self.added if self.by is None else (self.by, *self.added)

    def to_json(self) -> dict[str, Any]:
        """As it is stored; `number` and `id` come first, so that they are found without reading the rest."""
        return {
            "n": self.number,
            "id": self.id,
            "time": format_time(self.time),
            "microseconds": self.microseconds,
            "kind": self.kind.value,
            "scope": self.scope,
            "by": None if self.by is None else _key_to_json(self.by),
            "added": [_key_to_json(key) for key in self.added],
            "method": self.method,
            "scheme": self.scheme,
            "authority": self.authority,
            "path": self.path,
            "request_headers": [list(pair) for pair in self.request_headers],
            "request_body": _body_to_json(self.request_body),
            "status": self.status,
            "response_headers": [list(pair) for pair in self.response_headers],
            "response_body": _body_to_json(self.response_body),
            "request_id": self.request_id,
            "address": self.address,
            "served_by": self.served_by,
            "redacted": list(self.redacted),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Exchange:
        """The inverse of `to_json`.

        :raises ValueError: a field is missing or of the wrong kind.
        """
        try:
            return cls(
                id=str(data["id"]),
                kind=Kind(data["kind"]),
                time=parse_time(data["time"]),
                microseconds=_number(data["microseconds"]),
                scope=str(data["scope"]),
                method=str(data["method"]),
                authority=str(data["authority"]),
                path=str(data["path"]),
                scheme=str(data["scheme"]),
                by=None if data["by"] is None else _key_from_json(data["by"]),
                added=tuple(_key_from_json(each) for each in data["added"]),
                request_headers=tuple((str(name), str(value)) for name, value in data["request_headers"]),
                request_body=_body_from_json(data["request_body"]),
                status=_number(data["status"]),
                response_headers=tuple((str(name), str(value)) for name, value in data["response_headers"]),
                response_body=_body_from_json(data["response_body"]),
                request_id=str(data["request_id"]),
                address=str(data["address"]),
                served_by=str(data["served_by"]),
                redacted=tuple(str(each) for each in data["redacted"]),
                number=int(data["n"]),
            )
        except (KeyError, TypeError, binascii.Error) as problem:
            raise ValueError(f"not an exchange: {problem}") from problem


def header(headers: Headers, name: str) -> str:
    """The values of a header (its name in lower case), joined as HTTP joins them; empty for none."""
    return ", ".join(value for known, value in headers if known.lower() == name)


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def _key_to_json(key: Key) -> list[str]:
    return [key.selector.kind.value, key.selector.name, key.value]


def _key_from_json(data: Any) -> Key:
    kind, name, value = data
    return Key(KeySelector(KeyKind(kind), str(name)), str(value))


def _body_to_json(body: Body) -> dict[str, Any]:
    found: dict[str, Any] = {"data": base64.b64encode(body.data).decode("ascii"), "size": body.size}
    if body.cut:
        found["cut"] = True
    if body.withheld:
        found["withheld"] = body.withheld
    if body.decoded:
        found["decoded"] = True
    return found


def _body_from_json(data: Mapping[str, Any]) -> Body:
    return Body(
        base64.b64decode(data["data"], validate=True),
        int(data["size"]),
        bool(data.get("cut", False)),
        str(data.get("withheld", "")),
        bool(data.get("decoded", False)),
    )
