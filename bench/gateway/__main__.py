"""Divertor's gateway beside bare Envoy, HAProxy and nginx: one run, one table, targets beside the figures."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench import load
from bench.contenders import CORES
from bench.gateway import bulk, hot, lineup, lookup, reaction, report, throughput
from bench.gateway.lineup import Entry
from divertor.errors import UnavailableError
from divertor.gateway.process import envoy_binary

#: Exit status when a program is missing.
INCOMPLETE = 2
_PROGRAMS = ("wrk", "haproxy", "nginx", "openssl")
#: By the names Divertor's configuration has.
_OWN = ("bootstrap.json", "xds")


def main() -> int:
    chosen = _options()
    if missing := load.require(*_PROGRAMS):
        print(missing, file=sys.stderr)
        return INCOMPLETE
    try:
        envoy_binary()
    except UnavailableError as problem:
        print(problem, file=sys.stderr)
        return INCOMPLETE
    document: report.Document = {"machine": _machine(), "keys": chosen.keys}
    configurations = ""
    with tempfile.TemporaryDirectory(prefix="divertor-bench-") as folder:
        Path(folder).chmod(0o711)  # nginx's worker may be another user
        if not chosen.hot:
            configurations = _compare(Path(folder), chosen, document)
        document["hot"] = [asdict(outcome) for outcome in hot.measure(Path(folder) / "hot", _say)]
    document["targets"] = [target.to_json() for target in report.targets(document)]
    if chosen.json:
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        print(report.text(document) + configurations)
    return 0


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    options.add_argument("--rounds", type=int, default=15, help="runs of each contender (default 15)")
    options.add_argument("--seconds", type=int, default=2, help="seconds of a run (default 2)")
    options.add_argument("--keys", type=int, default=1_000_000, help="isolated keys (default 1000000)")
    options.add_argument("--times", type=int, default=200, help="isolations that are timed (default 200)")
    options.add_argument("--hot", action="store_true", help="only the changes while serving")
    options.add_argument("--json", action="store_true", help="print one JSON document")
    options.add_argument("--configs", type=Path, help="write the configuration of each contender here")
    return options.parse_args()


def _compare(folder: Path, chosen: argparse.Namespace, document: report.Document) -> str:
    """Fills in what is compared; answers the competitors' configurations as text."""
    taken: set[int] = set()
    with (
        lineup.backend(folder / "backend", taken) as versions,
        lineup.lineup(folder, chosen.keys, versions, taken, _say) as entries,
    ):
        samples = throughput.measure(entries, chosen.rounds, chosen.seconds, _say)
        rows = report.gateway_rows(samples)
        _add_memory(rows, entries)
        found = {entry.name: entry for entry in entries}
        none, zero, many, hazero, hamany, _, ngmany = (_named(found, chosen.keys, name) for name in _NAMES)
        document |= {"gateway": rows, "zero": zero.name, "many": many.name}
        document["lookup"] = report.lookup_cost(*(samples[each.name] for each in (none, zero, many)))
        _add_lookup(document["lookup"], zero, many, folder)
        _say("reaction")
        document["reaction"] = _reactions(many, hazero, hamany, ngmany, chosen.times)
        if chosen.configs:
            _export(entries, chosen.configs)
        configurations = _competitors(entries)
    _say("bulk")
    document["bulk"] = bulk.measure(chosen.keys)
    return configurations


_NAMES = (
    "Divertor, no isolation",
    "Divertor, 0 isolated",
    "Divertor, {} isolated",
    "HAProxy, 0 isolated",
    "HAProxy, {} isolated",
    "nginx, 0 isolated",
    "nginx, {} isolated",
)


def _named(entries: dict[str, Entry], keys: int, name: str) -> Entry:
    return entries[name.format(f"{keys:,}")]


def _add_memory(rows: dict[str, report.Document], entries: list[Entry]) -> None:
    """Each gateway's memory, what many keys add to it, and the name of its configuration."""
    empty: dict[str, float] = {}
    for entry in entries:
        row = rows[entry.name]
        row["configuration"] = _configuration(entry)
        if entry.session:
            continue
        size = throughput.memory(entry)
        row["memory_mb"] = round(size, 1)
        product = entry.name.partition(",")[0]
        if entry.isolated == 0:
            empty[product] = size
        elif entry.isolated:
            row["memory_over_0_mb"] = round(size - empty[product], 1)


def _add_lookup(cost: report.Document, zero: Entry, many: Entry, folder: Path) -> None:
    found, empty = lookup.measure(many, folder), lookup.measure(zero, folder)
    if found and empty:
        cost |= {**found, "empty_ns": empty["decision_ns"]}


def _reactions(
    divertor: Entry, haproxy_zero: Entry, haproxy: Entry, nginx: Entry, times: int
) -> dict[str, report.Document]:
    keys = f"{haproxy.isolated:,} keys"
    changed, reloaded = reaction.haproxy_change(haproxy), reaction.nginx(nginx)
    return {
        "Divertor": reaction.divertor(divertor, times).row(),
        "HAProxy, add map, 0 keys": reaction.haproxy(haproxy_zero, times).row(),
        f"HAProxy, add map, {keys}": reaction.haproxy(haproxy, times).row(),
        f"HAProxy, set map, {keys}": _plain(changed),
        f"nginx, reload, {keys}": _plain(reloaded),
    }


def _plain(values: list[float]) -> report.Document:
    p50, p99 = (reaction.percentile(values, which) for which in (50, 99))
    return {"n": len(values), "p50_ms": p50, "p99_ms": p99, "max_ms": round(values[-1], 3)}


def _configuration(entry: Entry) -> str:
    """The name of the configuration a contender ran with."""
    for path in sorted(lineup.CONFIGS.iterdir()):
        if (entry.folder / path.name).exists():
            return path.name
    return "generated"


def _competitors(entries: list[Entry]) -> str:
    """Each configuration that was written by hand, as it ran."""
    shown: dict[str, str] = {}
    for entry in entries:
        name = _configuration(entry)
        if (entry.folder / name).exists():
            shown[name] = (entry.folder / name).read_text()
    return "".join(f"\n\n──── {name} ────\n{content}" for name, content in shown.items())


def _export(entries: list[Entry], target: Path) -> None:
    for entry in entries:
        own = target / entry.name.replace(",", "").replace(" ", "-")
        name = _configuration(entry)
        if entry.session:
            continue
        own.mkdir(parents=True, exist_ok=True)
        if (entry.folder / name).exists():
            shutil.copy(entry.folder / name, own)
            continue
        for part in _OWN:
            source = entry.layout.envoy / part
            if source.is_dir():
                shutil.copytree(source, own / part, dirs_exist_ok=True)
            else:
                shutil.copy(source, own)


def _machine() -> str:
    """Where this was measured, and with which programs."""
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    versions = [_first_line([str(envoy_binary()), "--version"]).rpartition("version: ")[2].split("/")[1]]
    haproxy = _first_line([load.program("haproxy"), "-v"])
    nginx = _first_line([load.program("nginx"), "-v"])
    return "\n".join(
        (
            f"{len(CORES)} cores ({models[0].partition(': ')[2] if models else os.uname().machine}), "
            f"Linux {os.uname().release}, load {os.getloadavg()[0]:.1f} before the start",
            f"Envoy {versions[0]}; {haproxy.partition(' https')[0].rstrip(' -')}; {nginx}",
        )
    )


def _first_line(argv: list[str]) -> str:
    told = subprocess.run(argv, capture_output=True, text=True, check=True)
    return next(line.strip() for line in (told.stdout + told.stderr).splitlines() if line.strip())


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
