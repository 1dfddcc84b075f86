"""`python -m bench.fuzz`: random texts against the readers of conditions, blueprints, selectors and filters.

Of a text that is read the fuzzer also demands that it can be written and read back to the same thing; of a
condition, that Envoy's form of it can be built and that it answers; of a blueprint, that what becomes of it
when it is deployed can be written and read back; of a selector, that it answers. Anything but a refusal with
a place is a crash; what takes more processor time than the limit is a hang. Ends with 1 if there was either.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from bench.fuzz import queries
from bench.fuzz.inputs import blueprint_text, condition_text, selector_text
from divertor.conditions import RequestView, matches, parse, to_envoy, to_text
from divertor.errors import InputError
from divertor.model.deploying import deploy
from divertor.model.reading import blueprint_from_json, read_blueprint
from divertor.model.reading_selectors import parse_selector
from divertor.model.reading_selectors import selector_text as written_selector
from divertor.model.rendering import blueprint_to_json, deployment_to_json
from divertor.model.selecting import Candidate, selected
from divertor.model.updating import read_deployment

REQUEST = RequestView(
    "POST",
    "/admin/x?q=%27%20or+1&debug",
    "shop.example:8080",
    (("user-agent", "sqlmap (bot)"), ("cookie", "PHPSESSID=3f9c; session=0123"), ("x-user", "\xff")),
    "10.1.2.3",
)
RUNNING = (
    Candidate("a:1", "command", "d", "", {"app": "foo", "version": "1"}, "127.0.0.1", 8080, 0, 20001),
    Candidate(
        "a" * 200, "container/docker", "e", "a/x:1.2", {"a" * 60: "a" * 250}, "::1", 80, 7, 20002, False
    ),
)
#: Failures that are printed; more of them say nothing new.
SHOWN = 10


class TimeLimit(BaseException):
    """One input took too long; no handler for errors may swallow it."""


@dataclass
class Counts:
    """What became of the inputs of one target; times in milliseconds of processor time."""

    read: int = 0
    refused: int = 0
    crashed: int = 0
    hung: int = 0
    slowest_ms: float = 0.0
    seconds: float = 0.0
    shown: list[str] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        return self.read + self.refused + self.crashed + self.hung


def try_condition(text: str) -> None:
    """:raises InputError: it is no condition."""
    condition = parse(text)
    assert parse(to_text(condition)) == condition, "reads differently once written"
    to_envoy(condition)
    matches(condition, REQUEST)


def try_blueprint(text: str) -> None:
    """:raises InputError: it is no blueprint."""
    blueprint = read_blueprint(text, "fuzz.yaml")
    written = blueprint_to_json(blueprint)
    assert blueprint_to_json(blueprint_from_json(written)) == written, "reads differently once written"
    try:
        deployment = deploy(blueprint, "d")
    except InputError:
        return  # a breed by name, or a variable without a value
    assert read_deployment(deployment_to_json(deployment)) == deployment, "runs differently once written"


def try_selector(text: str) -> None:
    """:raises InputError: it is no selector."""
    selector = parse_selector(text)
    assert parse_selector(written_selector(selector.tree)).tree == selector.tree, (
        "reads differently once written"
    )
    selected(selector, RUNNING, "d")


TARGETS: dict[str, tuple[Callable[[random.Random], str], Callable[[str], None]]] = {
    "conditions": (condition_text, try_condition),
    "blueprints": (blueprint_text, try_blueprint),
    "selectors": (selector_text, try_selector),
    **queries.TARGETS,
}


def run(target: str, inputs: int, seed: int, limit: float) -> Counts:
    """Try `inputs` texts, each for at most `limit` seconds of processor time."""
    make, attempt = TARGETS[target]
    counts, began = Counts(), time.monotonic()
    for number in range(inputs):
        text = make(random.Random(f"{seed}:{target}:{number}"))
        started = time.process_time()
        try:
            with at_most(limit):
                attempt(text)
            counts.read += 1
        except InputError as refusal:
            counts.refused += 1
            if not str(refusal):
                _show(counts, number, text, "refused without a word")
        except TimeLimit:
            counts.hung += 1
            _show(counts, number, text, f"more than {limit} s")
        except Exception as crash:
            counts.crashed += 1
            _show(counts, number, text, repr(crash))
        counts.slowest_ms = max(counts.slowest_ms, (time.process_time() - started) * 1000)
        if number % 50_000 == 49_999:
            print(f"{target}: {number + 1:,}", file=sys.stderr, flush=True)
    counts.seconds = time.monotonic() - began
    return counts


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """:raises TimeLimit: inside, once that much processor time has passed."""
    before = signal.signal(signal.SIGVTALRM, _too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _too_long(signal_number: int, frame: FrameType | None) -> None:
    raise TimeLimit


def _show(counts: Counts, number: int, text: str, problem: str) -> None:
    if len(counts.shown) < SHOWN:
        counts.shown.append(f"{number}: {problem}: {ascii(text)[:1000]}")


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m bench.fuzz", description=__doc__)
    options.add_argument(
        "--inputs", type=int, default=1_000_000, help="texts for each reader (default 1,000,000)"
    )
    options.add_argument("--reader", choices=TARGETS, action="append", help="only this one (may be repeated)")
    options.add_argument("--seed", type=int, default=1, help="the same seed gives the same texts (default 1)")
    options.add_argument("--limit", type=float, default=1.0, help="seconds of CPU per text (default 1)")
    options.add_argument("--json", action="store_true", help="print one JSON document")
    chosen = options.parse_args()
    # A hang within C code, where no signal is delivered: a trace and the end.
    faulthandler.dump_traceback_later(4 * 3600, exit=True)
    found = {name: run(name, chosen.inputs, chosen.seed, chosen.limit) for name in chosen.reader or TARGETS}
    _print_json(found) if chosen.json else _print(found, chosen.limit)
    return 1 if any(counts.crashed or counts.hung or counts.shown for counts in found.values()) else 0


def _print(found: dict[str, Counts], limit: float) -> None:
    print(
        f"{'':12}{'inputs':>11}{'read':>11}{'refused':>11}{'crashed':>9}{'hung':>6}{'slowest ms':>12}{'s':>8}"
    )
    for name, counts in found.items():
        print(
            f"{name:12}{counts.inputs:>11,}{counts.read:>11,}{counts.refused:>11,}{counts.crashed:>9}"
            f"{counts.hung:>6}{counts.slowest_ms:>12.1f}{counts.seconds:>8.0f}"
        )
        for line in counts.shown:
            print(f"  {line}")
    print(f"{sum(counts.inputs for counts in found.values()):,} inputs, at most {limit} s of CPU each")


def _print_json(found: dict[str, Counts]) -> None:
    print(
        json.dumps(
            {name: {"inputs": counts.inputs, **vars(counts)} for name, counts in found.items()}, indent=2
        )
    )


if __name__ == "__main__":
    sys.exit(main())
