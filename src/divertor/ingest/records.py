"""The log record both encodings of OTLP are read into, before it becomes an event. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from divertor.model.events import JSON


@dataclass(frozen=True, slots=True)
class Resource:
    """Who sent: its attributes, and how many values were left out of them."""

    attributes: Mapping[str, JSON] = field(default_factory=dict)
    dropped: int = 0
    #: Of the attributes; computed once, since thousands of records may share a resource.
    fingerprint: str = ""


def resource_of(attributes: Mapping[str, JSON], dropped: int) -> Resource:
    """The resource with its fingerprint."""
    text = json.dumps(attributes, sort_keys=True)
    return Resource(attributes, dropped, hashlib.blake2b(text.encode(), digest_size=16).hexdigest())


@dataclass(slots=True)
class LogRecord:
    """One OTLP log record, bounded. Times are nanoseconds since 1970, 0 for unknown.

    `dropped` counts values that were left out (by the sender or here), `cut` says that a text was cut.
    Only the decoders change one, while they fill it.
    """

    resource: Resource
    scope: str = ""
    time: int = 0
    observed: int = 0
    severity: int = 0
    severity_text: str = ""
    body: JSON = None
    attributes: dict[str, JSON] = field(default_factory=dict)
    event_name: str = ""
    trace_id: str = ""
    span_id: str = ""
    dropped: int = 0
    cut: bool = False
