"""The attack strings that are measured with, read where `DIVERTOR_CORPORA` says; nothing of them is kept
here."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, unquote_plus

#: Beside the project, where its pages say.
DEFAULT = Path("../shared/corpora")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Attack strings, as an app sees them: decoded, each once."""

    name: str
    payloads: tuple[str, ...]


def folder() -> Path:
    """Where the corpora are."""
    return Path(os.environ.get("DIVERTOR_CORPORA", DEFAULT))


def read(root: Path, every: int) -> list[Corpus]:
    """The corpora below `root`, of each only one payload in `every`.

    :raises OSError: they are not there.
    """
    collected: list[str] = []
    forums: list[str] = []
    for path in sorted((root / "libinjection").glob("sqli-*.txt")):
        (forums if path.name == "sqli-forums.txt" else collected).extend(_encoded(path))
    lists = [
        line
        for path in sorted((root / "payloadsallthethings/sql-injection").iterdir())
        for line in _raw(path)
    ]
    if not collected or not forums or not lists:
        raise FileNotFoundError(f"no corpora in {root}")
    return [
        Corpus("libinjection", _each_once(collected, every)),
        Corpus("libinjection, forums", _each_once(forums, every)),
        Corpus("PayloadsAllTheThings", _each_once(lists, every)),
    ]


def honest(root: Path) -> tuple[str, ...]:
    """Texts of people that detectors took for attacks."""
    return _each_once(_lines(root / "libinjection/false_positives.txt"), 1)


def _each_once(values: list[str], every: int) -> tuple[str, ...]:
    # No driver lets a zero character through, and what is blank changes nothing.
    kept = (value for value in values if value.strip() and "\0" not in value)
    return tuple(dict.fromkeys(kept))[::every]


def _encoded(path: Path) -> list[str]:
    return [unquote_plus(line, errors="replace") for line in _lines(path)]


def _raw(path: Path) -> list[str]:
    """As the files have them, except for lines written as part of a URL."""
    return [
        unquote(line) if _ESCAPE.search(line) and " " not in line.strip() else line for line in _lines(path)
    ]


def _lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return [line.rstrip("\r") for line in lines if not line.startswith("# ") and line.strip("#\r ")]
