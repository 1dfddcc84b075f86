"""The figures as one document and as tables with the targets beside them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.detection.figures import OURS, Row, Time

Document = dict[str, Any]

#: Shares: at least of attacks found; at most of honest requests accused, by the row's name.
LEAST_FOUND = 0.999
MOST_ACCUSED = {
    "bound parameters": 0.0,
    "escaped literals": 0.0,
    "harmless fragments": 0.03,
    "O'Brien, unescaped": 0.0,
    "ORM statements, whole guard": 0.03,
    "concatenated statements, whole guard": 0.03,
}
_SHOWN = 200


def summed(rows: Sequence[Row]) -> list[Row]:
    """The rows of all places of a corpus as one, in order."""
    found: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        name = row.name.partition(": ")[0]
        total = found.setdefault((row.table, row.dialect, name), Row(row.table, row.dialect, name, 0))
        total.count += row.count
        total.vulnerable += row.vulnerable
        for who, hits in row.hits.items():
            total.hits[who] = total.hits.get(who, 0) + hits
    return list(found.values())


def document(rows: Sequence[Row], times: Sequence[Time], versions: Mapping[str, str | None]) -> Document:
    """All figures, for a program to read."""
    return {
        "detectors": dict(versions),
        "rows": [_as_json(row) for row in rows],
        "totals": [_as_json(row) for row in summed(rows)],
        "time": [asdict(time) for time in times],
        "targets": [{"what": what, "is_met": is_met} for what, is_met in targets(rows)],
    }


def _as_json(row: Row) -> Document:
    return {
        "table": row.table,
        "dialect": row.dialect,
        "name": row.name,
        "count": row.count,
        "hits": row.hits,
        "vulnerable": row.vulnerable,
    }


def targets(rows: Sequence[Row]) -> Iterator[tuple[str, bool]]:
    """What was aimed for, and whether it is so."""
    for row in summed(rows):
        found, name = row.hits[OURS], f"{row.dialect}, {row.name}"
        if row.table == "recall":
            yield f"{name}: at least {LEAST_FOUND:.1%} found", found >= LEAST_FOUND * row.count
        elif row.name in MOST_ACCUSED:
            most = MOST_ACCUSED[row.name]
            yield f"{name}: at most {most:.0%} accused", found <= most * row.count


_TITLES = {
    "recall": "Attacks found, of those the server accepts",
    "false": "Honest inputs taken for attacks",
    "coincidence": "Inputs that equal a piece of the program's own statement, taken for attacks",
}


def text(rows: Sequence[Row], times: Sequence[Time], versions: Mapping[str, str | None]) -> str:
    """The tables."""
    lines = []
    for table, title in _TITLES.items():
        lines += ["", title, _heading(versions)]
        lines += [_line(row, versions) for row in summed(rows) if row.table == table]
    lines += [
        "",
        "Longest time of a hostile statement, an input being all of it (µs of CPU per KB; 64 KB / 8 KB)",
    ]
    lines += [f"  {time.dialect:<12}{time.us_per_kb:>8}{time.growth:>8} x   {time.worst}" for time in times]
    missed = [what for what, is_met in targets(rows) if not is_met]
    lines += ["", *(f"  missed: {what}" for what in missed), "" if missed else "All targets are met."]
    lines += [_version(who, version) for who, version in versions.items()]
    return "\n".join(lines)


def _version(who: str, version: str | None) -> str:
    if version is None:
        return (
            f"  {who}: not installed (`make bench-detection` makes an environment with it; or --peers PYTHON)"
        )
    return f"  {who}: {version}"


def _heading(versions: Mapping[str, str | None]) -> str:
    return f"  {'':<54}{'n':>8}" + "".join(f"{who:>14}" for who in (OURS, *versions)) + "  (vulnerability)"


def _line(row: Row, versions: Mapping[str, str | None]) -> str:
    shares = "".join(f"{_share(row, who):>14}" for who in (OURS, *versions))
    vulnerable = f"  ({row.vulnerable})" if row.vulnerable else ""
    return f"  {row.dialect + ', ' + row.name:<54}{row.count:>8}{shares}{vulnerable}"


def _share(row: Row, who: str) -> str:
    if who not in row.hits or not row.count:
        return "-"
    share = 100 * row.hits[who] / row.count
    # No rounding up to all, nor down to none.
    if row.hits[who] != row.count:
        share = min(share, 99.99)
    return f"{max(share, 0.01) if row.hits[who] else 0.0:.2f} %"


def shown(rows: Sequence[Row], who: str) -> Iterator[str]:
    """Each case that a detector had wrong, as far as a screen goes."""
    for row in rows:
        for case in row.wrong.get(who, [])[:_SHOWN]:
            yield f"{row.table}: {row.dialect}, {row.name}: {case.value!r}\n    {case.statement!r}"
