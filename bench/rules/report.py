"""The figures as tables for people."""

from __future__ import annotations

from typing import Any


def text(result: dict[str, Any]) -> str:
    """All tables there are figures for."""
    return "\n\n".join([_types(result["types"]), *_many(result), *_memory(result)])


def _types(rows: list[dict[str, Any]]) -> str:
    lines = [
        f"{'events/s of CPU time':20}{'Divertor':>11}{'ElastAlert 2':>14}{'class':>10}{'hits':>9}{'ratio':>8}"
    ]
    for row in rows:
        line = f"{row['type']:20}{row['ours']:11,.0f}"
        if "theirs" in row:
            line += f"{row['theirs']:14,.0f}{row['their_class']:10,.0f}{row['their_hits']:9,.0f}"
            line += f"{row['ratio']:8.1f}"
        lines.append(line)
    return "\n".join(lines)


def _many(result: dict[str, Any]) -> list[str]:
    if "many" not in result:
        return []
    lines = [
        f"{'rules':>6}{'events/s':>11}{'at half: p50 ms':>17}{'p99 ms':>9}{'worst ms':>10}{'tick ms':>9}"
        f"{'cycles ms':>11}{'alerts':>8}"
    ]
    lines += [
        f"{row['rules']:6}{row['rate']:11,.0f}{row['p50']:17.2f}{row['p99']:9.2f}{row['max']:10.2f}"
        f"{row['tick']:9.2f}{row['collection']:11.2f}{row['alerts']:8.0f}"
        for row in result["many"]
    ]
    return ["\n".join(lines)]


def _memory(result: dict[str, Any]) -> list[str]:
    if "memory" not in result:
        return []
    lines = [f"{'live keys':20}{'MB':>7}{'keys':>12}"]
    lines += [f"{row['type']:20}{row['megabytes']:7.0f}{row['keys']:12,}" for row in result["memory"]]
    return ["\n".join(lines)]
