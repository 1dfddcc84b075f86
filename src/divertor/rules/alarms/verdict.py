"""What is decided about a hit, and names that are the same in every process."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from divertor.rules.rule import Audience, Severity, Status
from divertor.rules.types.contract import Hit


@dataclass(frozen=True, slots=True)
class Verdict:
    """A hit that is to be told. All but `hit` is as in `Match`."""

    hit: Hit
    id: str
    alarm: str
    status: Status = Status.FIRING
    severity: Severity = Severity.MEDIUM
    severities: tuple[Severity, ...] = ()
    suppressed: int = 0
    audience: Audience = Audience.ALL


def identity(*parts: str | None) -> str:
    """A short name for these texts together, the same in every process."""
    digest = blake2b(digest_size=16)
    for part in parts:
        data = b"\xff" if part is None else part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(4, "big") + data)
    return digest.hexdigest()
