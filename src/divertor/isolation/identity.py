"""What an isolation is called, and how its key may be shown. Pure."""

from __future__ import annotations

from hashlib import blake2b

from divertor.model.isolation import KeySelector


def isolation_id(scope: str, selector: KeySelector, value: str) -> str:
    """The same key has the same isolation, however often it attacks."""
    text = "\0".join((scope, selector.kind.value, selector.name, value))
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def masked(value: str) -> str:
    """A key as it may stand in logs and events: a session id is a password."""
    return value if len(value) <= 4 else f"{value[:4]}…"
