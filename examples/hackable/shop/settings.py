"""Where a version keeps its files, told by the environment. Pure: the environment is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    """`data` is this version's own directory; `sessions` is one file for all versions."""

    data: Path
    sessions: Path


def places_of(environ: Mapping[str, str], version: str) -> Places:
    """HACKABLE_DATA and HACKABLE_SESSIONS, else below what Divertor hands over, else below `./data`."""
    data = environ.get("HACKABLE_DATA") or environ.get("DIVERTOR_DATA") or f"data/{version}"
    shared = environ.get("DIVERTOR_SHARED") or "data"
    sessions = environ.get("HACKABLE_SESSIONS") or f"{shared}/sessions.sqlite"
    return Places(Path(data).absolute(), Path(sessions).absolute())
