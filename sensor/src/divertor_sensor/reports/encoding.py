"""A batch of reports as the JSON of `POST /v1/logs`, record by record: what `detection.export_request` gives,
in less memory and time.

A batch of records as one document is a megabyte of small objects for a moment, which attackers decide on, and
which the interpreter's allocator keeps. Here each record is text before the next one is looked at. The stack
is most of a record and the same in one attack after the other: its text is kept, with the source lines, which
are read from files here, off the request's path.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

from divertor_sensor.reports.detection import (
    Detection,
    Report,
    export_request,
    frames_attribute,
    record_of,
    record_without_frames,
)
from divertor_sensor.reports.frames import Frame, with_source

#: Records are trees by construction: nothing in them refers to itself.
_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)
_NO_RECORDS = '"logRecords":['


def encoded(report: Report) -> str:
    """One report as the JSON of its log record; plain ASCII."""
    if not isinstance(report, Detection):
        return _ENCODER.encode(record_of(report))
    text = _ENCODER.encode(record_without_frames(report))
    # The attributes come last in a record, and the frames last among them.
    return f"{text[:-2]},{_frames_text(report.frames)}]}}"


def body_of(resource: dict[str, str | int], records: Sequence[str], version: str) -> bytes:
    """The body of a post that carries `records`, each `encoded`."""
    before, mark, after = _ENCODER.encode(export_request(resource, (), version)).rpartition(_NO_RECORDS)
    return "".join((before, mark, ",".join(records), after)).encode("ascii")


@lru_cache(maxsize=16)
def _frames_text(frames: tuple[Frame, ...]) -> str:
    return _ENCODER.encode(frames_attribute(with_source(frames)))
