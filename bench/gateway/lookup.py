"""The decision about one request in nanoseconds, without Envoy: the gateway's own C in a small driver."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from bench.contenders import CORE, pinned
from bench.gateway.lineup import Entry
from divertor.gateway.process import FILTER, paths_of
from divertor.layout import Layout

#: Sessions that are asked for, each another: more than a processor's cache holds slots for.
REQUESTS = 1 << 18
_SOURCES = ("keys.c", "table.c", "settings.c", "request.c")
_FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-fstack-protector-strong")


def measure(entry: Entry, folder: Path) -> dict[str, float] | None:
    """Nanoseconds of a whole decision and of one search in the table; None without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    driver, settings = folder / "lookup", folder / "settings"
    sources = [str(FILTER.parent / name) for name in _SOURCES]
    own = str(Path(__file__).with_suffix(".c"))
    subprocess.run(
        [compiler, *_FLAGS, f"-I{FILTER.parent}", "-o", str(driver), own, *sources],
        check=True,
    )
    settings.write_text(_settings(entry.layout))
    with pinned(CORE):
        told = subprocess.run(
            [str(driver), str(settings), str(entry.layout.table), str(REQUESTS)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    found: dict[str, float] = json.loads(told)
    if found.pop("met"):
        raise RuntimeError("a session was found that is not isolated")
    return found


def _settings(layout: Layout) -> str:
    """What Envoy's routes tell the gateway's C, from the file that Envoy read."""
    for path in Path(paths_of(layout).config).glob("rds/*.json"):
        for found in _values(json.loads(path.read_text()), "input_config"):
            return str(found["value"])
    raise RuntimeError("the routes have no settings for the isolation")


def _values(tree: Any, name: str) -> list[Any]:
    """Every value under `name`, however deep."""
    if isinstance(tree, list):
        return [found for each in tree for found in _values(each, name)]
    if not isinstance(tree, dict):
        return []
    own = [tree[name]] if name in tree else []
    return own + [found for each in tree.values() for found in _values(each, name)]
