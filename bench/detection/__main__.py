"""The sensor's detection of SQL injection beside that of its rivals: what is found, who is accused, how
long."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.detection import corpora, figures, generated, peers, report, truth
from bench.detection.figures import OURS, Row, Say

#: Exit statuses: a target was missed; the corpora or a server are not here.
MISSED, INCOMPLETE = 1, 2
_GENERATED = 60_000
#: With --quick one in so many.
_SAMPLE = 20
_BAR = 30


def main() -> int:
    chosen = _options()
    say = _progress if sys.stderr.isatty() else _silence
    every = _SAMPLE if chosen.quick else 1
    root = corpora.folder()
    try:
        collected = corpora.read(root, every)
        texts = (*corpora.honest(root), *_payloads(collected))
    except OSError as problem:
        print(f"{problem}: set DIVERTOR_CORPORA", file=sys.stderr)
        return INCOMPLETE
    collected.append(generated.corpus(_GENERATED // every))
    with ExitStack() as stack:
        judges = stack.enter_context(truth.judges(figures.DIALECTS))
        others = stack.enter_context(peers.running(peers.interpreter(chosen.peers)))
        rows = list(_rows(judges, collected, texts, others, say))
        versions = {name: None for name in peers.NAMES} | {peer.name: peer.version for peer in others}
    times = [figures.worst_time(dialect, say) for dialect in figures.DIALECTS]
    say("", 1)
    if chosen.json:
        chosen.json.write_text(json.dumps(report.document(rows, times, versions), indent=2) + "\n")
    print(report.text(rows, times, versions))
    if chosen.show:
        print(*report.shown(rows, chosen.show), sep="\n")
    if len(judges) < len(figures.DIALECTS):
        return INCOMPLETE
    return 0 if all(is_met for _, is_met in report.targets(rows)) else MISSED


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="python -m bench.detection", description=__doc__)
    options.add_argument("--quick", action="store_true", help="a sample of the corpora")
    options.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    options.add_argument("--peers", type=Path, metavar="PYTHON", help="the interpreter that has the rivals")
    options.add_argument(
        "--show", nargs="?", const=OURS, metavar="DETECTOR", help="print what it had wrong (default: ours)"
    )
    return options.parse_args()


def _payloads(collected: Sequence[corpora.Corpus]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for corpus in collected for value in corpus.payloads))


def _rows(
    judges: dict[str, truth.Accepts],
    collected: Sequence[corpora.Corpus],
    texts: tuple[str, ...],
    others: Sequence[peers.Peer],
    say: Say,
) -> Iterator[Row]:
    yield from figures.attacks(judges, collected, others, say)
    for dialect in figures.DIALECTS:
        yield from figures.honest(dialect, texts, others, say)
    for dialect in figures.DIALECTS:
        yield from figures.coincidences(dialect, others, say)


def _progress(what: str, share: float) -> None:
    done = round(share * _BAR)
    print(
        f"\r\x1b[K[{'#' * done}{'.' * (_BAR - done)}] {what[:70]}",
        end="" if what else "\r\x1b[K",
        file=sys.stderr,
    )
    sys.stderr.flush()


def _silence(what: str, share: float) -> None:
    del what, share


if __name__ == "__main__":
    # Django warns of the dates that its queries are given here; none of them runs.
    warnings.simplefilter("ignore", RuntimeWarning)
    sys.exit(main())
