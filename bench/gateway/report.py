"""The figures as one document, and the document as a table with the targets beside the figures. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from bench.gateway.lineup import BASE
from bench.load import Sample, ratio

Document = dict[str, Any]
_COLUMNS = (
    ("req/s", "requests_per_second", 9),
    ("p50 ms", "p50_ms", 9),
    ("p99 ms", "p99_ms", 9),
    ("CPU µs", "cpu_us", 9),
    ("busy", "busy", 7),
    ("req/s ÷", "rate_ratio", 10),
    ("p99 ÷", "p99_ratio", 9),
    ("CPU ÷", "cpu_ratio", 9),
    ("MB", "memory_mb", 9),
    ("MB over 0", "memory_over_0_mb", 11),
)


def gateway_rows(samples: Mapping[str, list[Sample]]) -> dict[str, Document]:
    """Medians of each contender, and the medians of its ratios to the equivalent bare Envoy in each round."""
    base = samples[BASE]
    return {name: _row(mine, base) for name, mine in samples.items()}


def _row(mine: list[Sample], base: list[Sample]) -> Document:
    rates = [ours.rate / theirs.rate for ours, theirs in zip(mine, base, strict=True)]
    spread = quantiles(rates, n=4) if len(rates) > 1 else [rates[0]] * 3
    return {
        "requests_per_second": round(median(sample.rate for sample in mine)),
        "p50_ms": round(median(sample.p50 for sample in mine), 3),
        "p99_ms": round(median(sample.p99 for sample in mine), 3),
        "cpu_us": round(median(sample.cpu for sample in mine), 1),
        "busy": round(median(sample.busy for sample in mine), 2),
        "rate_ratio": round(median(rates), 3),
        "rate_ratio_quartiles": [round(spread[0], 3), round(spread[2], 3)],
        "p99_ratio": round(ratio(mine, base, lambda sample: sample.p99), 3),
        "cpu_ratio": round(ratio(mine, base, lambda sample: sample.cpu), 3),
    }


def lookup_cost(none: list[Sample], zero: list[Sample], many: list[Sample]) -> Document:
    """Microseconds of CPU per request: medians of the differences within each round."""

    def difference(more: list[Sample], less: list[Sample]) -> float:
        return round(median(a.cpu - b.cpu for a, b in zip(more, less, strict=True)), 2)

    return {
        "asking_us": difference(zero, none),
        "looking_up_us": difference(many, zero),
        "together_us": difference(many, none),
    }


@dataclass(frozen=True, slots=True)
class Target:
    """What was to be reached, and what was."""

    what: str
    figure: float
    limit: float
    least: bool = False

    @property
    def met(self) -> bool:
        return self.figure >= self.limit if self.least else self.figure <= self.limit

    def __str__(self) -> str:
        sign, verdict = ("≥" if self.least else "≤"), ("met" if self.met else "MISSED")
        return f"{self.what:60}{self.figure:>10g}   {sign} {self.limit:<8g}{verdict}"

    def to_json(self) -> Document:
        return {"what": self.what, "figure": self.figure, "limit": self.limit, "met": self.met}


def targets(document: Document) -> list[Target]:
    """The targets for which the document has figures."""
    found = []
    if rows := document.get("gateway"):
        zero, many = (rows[name] for name in (document["zero"], document["many"]))
        found += [
            Target("requests/s ÷ bare Envoy, nobody isolated", zero["rate_ratio"], 0.97, True),
            Target(f"requests/s ÷ bare Envoy, {document['keys']:,} isolated", many["rate_ratio"], 0.95, True),
            Target("p99 ÷ bare Envoy, nobody isolated", zero["p99_ratio"], 1.10),
            Target(f"p99 ÷ bare Envoy, {document['keys']:,} isolated", many["p99_ratio"], 1.10),
            Target(f"MB for {document['keys']:,} keys", many["memory_over_0_mb"], 64),
        ]
    if reaction := document.get("reaction"):
        found += [
            Target("in effect after the agent has it, p50 ms", reaction["Divertor"]["p50_ms"], 1),
            Target("in effect after the agent has it, p99 ms", reaction["Divertor"]["p99_ms"], 5),
        ]
    if bulk := document.get("bulk"):
        found += [
            Target(f"seconds to load {document['keys']:,} keys", bulk["sink_seconds"], 5),
            Target(f"seconds to import {document['keys']:,} keys", bulk["import_seconds"], 5),
        ]
    if hot := document.get("hot"):
        found.append(
            Target("requests failed in changes while serving", sum(row["failures"] for row in hot), 0)
        )
    return found


def text(document: Document) -> str:
    """Everything, for a person."""
    parts = [document["machine"]]
    if "gateway" in document:
        parts += [_gateway(document["gateway"]), _lookup(document)]
    if "reaction" in document:
        parts.append(_reaction(document["reaction"]))
    if "bulk" in document:
        parts.append(_bulk(document["bulk"], document["keys"]))
    if "hot" in document:
        parts.append(_hot(document["hot"]))
    parts.append("\n".join(["Targets", *(f"  {target}" for target in targets(document))]))
    return "\n\n".join(parts)


def _gateway(rows: Mapping[str, Document]) -> str:
    head = (
        f"{'gateway':34}" + "".join(f"{title:>{width}}" for title, _, width in _COLUMNS) + "   configuration"
    )
    lines = [head]
    for name, row in rows.items():
        figures = "".join(f"{row.get(key, ''):>{width}}" for _, key, width in _COLUMNS)
        lines.append(f"{name:34}{figures}   {row['configuration']}")
    lines += [
        f"÷: median of the ratios to “{BASE}” within each round. CPU: user and system time per request.",
        "busy: share of its core. Below about 0.95 the load generator was the limit: compare CPU, not req/s.",
        "MB: of all its processes; Divertor's with the whole file of the table.",
    ]
    return "\n".join(lines)


def _lookup(document: Document) -> str:
    cost = document["lookup"]
    keys = f"{document['keys']:,} isolated"
    rows = (
        ("nobody isolated, over no isolation section", "asking_us"),
        (f"{keys}, over nobody isolated", "looking_up_us"),
        (f"{keys}, over no isolation section", "together_us"),
    )
    lines = ["Cost of the isolation per request, µs of CPU"]
    lines += [f"  {what:52}{cost[key]:>8}" for what, key in rows]
    if "decision_ns" in cost:
        lines += [
            f"  the search for both keys: {cost['decision_ns']:g} ns with {document['keys']:,} keys "
            f"({cost['table_ns']:g} ns of it for each look into the table), {cost['empty_ns']:g} ns with none"
        ]
    return "\n".join(lines)


def _reaction(reaction: Mapping[str, Document]) -> str:
    lines = [
        f"{'In effect after the write, ms':34}{'n':>6}{'p50':>9}{'p99':>9}{'max':>9}"
        f"{'write p50':>11}{'let through':>13}"
    ]
    for name, row in reaction.items():
        figures = f"{row['n']:>6}{row['p50_ms']:>9}{row['p99_ms']:>9}{row['max_ms']:>9}"
        lines.append(f"{name:34}{figures}{row.get('write_p50_ms', ''):>11}{row.get('missed', ''):>13}")
    return "\n".join(lines)


def _bulk(bulk: Document, keys: int) -> str:
    return "\n".join(
        (
            f"{keys:,} keys at once, seconds",
            f"  the table alone                     {bulk['table_seconds']:>8}   ({bulk['table_mb']} MB)",
            f"  the agent, at its start             {bulk['sink_seconds']:>8}",
            f"  the agent, on top of what it has    {bulk['import_seconds']:>8}",
            f"  the put that makes a table grow     {bulk['growth_seconds']:>8}   (when three quarters full)",
            f"  their records take {bulk['records_mb']} MB in the control plane (peak {bulk['peak_mb']} MB)",
        )
    )


def _hot(rows: Sequence[Document]) -> str:
    lines = [f"{'Changes while serving':50}{'changes':>9}{'requests':>10}{'failed':>8}"]
    for row in rows:
        lines.append(f"{row['name']:50}{row['changes']:>9}{row['requests']:>10}{row['failures']:>8}")
        if row["said"]:
            lines.append(row["said"])
    return "\n".join(lines)
