"""The figures as one document, and the document as tables with the targets beside the figures. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from bench.sensor.browser import ATTACK, ROUTES
from bench.sensor.calls import Figures
from bench.sensor.serving import Key, Sample
from bench.sensor.variants import SERVERS, VARIANTS, Variant

Document = dict[str, Any]
_CALLS = {
    "hello": "a whole call of the app, no sink",
    "bound_first": "bound execute, the first of a request",
    "bound_again": "bound execute, the next ones",
    "concat_first": "concatenated execute, honest value",
    "attack": "concatenated execute, attack, reported",
    "decision": "the same, until it is stopped",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A figure and what it must not exceed; `figure` is None when it was not measured."""

    what: str
    unit: str
    limit: float
    figure: float | None

    @property
    def is_met(self) -> bool:
        return self.figure is not None and self.figure <= self.limit


def serving_rows(
    samples: Mapping[Key, Sequence[Sample]],
    honest: Mapping[tuple[str, str], float],
    attacked: Mapping[tuple[str, str], float],
) -> Document:
    """By server, sensor and route: medians, and the median of what a sensor adds in the same round. The
    memory beside a route is what the server took when it had not been attacked yet, or had been.
    """
    rows: Document = {}
    for server in SERVERS:
        for variant in VARIANTS:
            for route in ROUTES:
                mine = samples.get((server, variant.name, route))
                if mine:
                    base = samples[server, "none", route]
                    memory = (attacked if route == ATTACK else honest)[server, variant.name]
                    row = _row(mine, base) | {"memory_mb": round(memory, 1)}
                    rows.setdefault(server, {}).setdefault(variant.name, {})[route] = row
    return rows


def _row(mine: Sequence[Sample], base: Sequence[Sample]) -> Document:
    pairs = list(zip(mine, base, strict=True))
    return {
        "requests_per_second": round(median(each.rate for each in mine)),
        "rate_ratio": round(median(a.rate / b.rate for a, b in pairs), 2),
        "p50_ms": round(median(each.p50 for each in mine), 2),
        "p99_ms": round(median(each.p99 for each in mine), 2),
        "cpu_us": round(median(each.cpu for each in mine), 1),
        "cpu_over_none_us": round(median(a.cpu - b.cpu for a, b in pairs), 1),
    }


def call_rows(figures: Figures) -> Document:
    """By figure and sensor: the median over the processes, and what is over no sensor's median."""
    rows: Document = {}
    for name in _CALLS:
        base = _median(figures["none"], "attack" if name == "decision" else name)
        for variant, processes in figures.items():
            mine = _median(processes, name)
            if mine is not None and base is not None:
                rows.setdefault(name, {})[variant] = {"us": round(mine, 2), "over": round(mine - base, 2)}
    return rows


def _median(processes: Sequence[Mapping[str, float]], name: str) -> float | None:
    found = [each[name] for each in processes if name in each]
    return median(found) if found else None


def targets(document: Document) -> list[Target]:
    """What the sensor is held to."""
    made = []
    for server, rows in document["serving"].items():
        ours, none = rows["divertor"], rows["none"]
        made.append(
            Target(f"request without a sink, {server}", "µs CPU", 30, ours["hello"]["cpu_over_none_us"])
        )
        for route, when in (("hello", "of a worker"), (ATTACK, "of a worker that was flooded with attacks")):
            more = ours[route]["memory_mb"] - none[route]["memory_mb"]
            made.append(Target(f"memory {when}, {server}", "MB", 8, round(more, 1)))
    calls = document["calls"]
    for name, limit in (("bound_again", 4), ("concat_first", 10), ("decision", 150)):
        figure = calls.get(name, {}).get("divertor", {}).get("over")
        made.append(Target(_CALLS[name], "µs", limit, figure))
    return made


def text(document: Document) -> str:
    """The tables."""
    lines = [document["machine"], ""]
    for server, rows in document["serving"].items():
        lines += [
            f"{server}: median of {document['rounds']} rounds, {document['seconds']} s each",
            _head(),
            "",
        ]
        for variant in VARIANTS:
            lines += [_line(variant, route, row) for route, row in rows.get(variant.name, {}).items()]
        lines += [*_missing(document), ""]
    lines += _call_lines(document["calls"]) + [*_missing(document), ""]
    lines += [_target_line(Target(**each)) for each in document["targets"]]
    return "\n".join(lines)


def _head() -> str:
    return (
        f"{'sensor':16}{'route':9}{'req/s':>8}{'÷ none':>8}{'p50 ms':>8}{'p99 ms':>8}"
        f"{'CPU µs':>9}{'+ µs':>9}{'MB':>8}"
    )


def _line(variant: Variant, route: str, row: Document) -> str:
    return (
        f"{variant.title:16}{route:9}{row['requests_per_second']:8,}{row['rate_ratio']:8.2f}"
        f"{row['p50_ms']:8.2f}{row['p99_ms']:8.2f}{row['cpu_us']:9.1f}{row['cpu_over_none_us']:+9.1f}"
        f"{row['memory_mb']:8.1f}"
    )


def _missing(document: Document) -> list[str]:
    return [
        f"{each['title']:16}not installed: pip install {each['distribution']}, or --peers another Python"
        for each in document["missing"]
    ]


def _call_lines(rows: Document) -> list[str]:
    present = [variant for variant in VARIANTS if any(variant.name in row for row in rows.values())]
    lines = ["µs per call within a request (in brackets: over no sensor)"]
    lines.append(f"{'':42}" + "".join(f"{variant.title:>20}" for variant in present))
    for name, row in rows.items():
        cells = [_cell(row.get(variant.name), variant.name) for variant in present]
        lines.append(f"{_CALLS[name]:42}" + "".join(f"{cell:>20}" for cell in cells))
    return lines


def _cell(figure: Document | None, variant: str) -> str:
    if figure is None:
        return "-"
    return f"{figure['us']:.1f}" if variant == "none" else f"{figure['us']:.1f} ({figure['over']:+.1f})"


def _target_line(target: Target) -> str:
    told = "not measured" if target.figure is None else f"+{target.figure:.1f} {target.unit}"
    return f"{'met' if target.is_met else 'MISSED':7}{target.what}: {told} (at most +{target.limit:g})"


def to_json(made: Sequence[Target]) -> list[Document]:
    return [asdict(each) for each in made]
