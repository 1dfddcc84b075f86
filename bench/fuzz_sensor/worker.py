"""`python -m bench.fuzz_sensor.worker TARGET INPUTS SEED FOLDER`: fuzz one target, in a process of its own.

libFuzzer (by atheris) leads the inputs by coverage of `divertor_sensor`. What becomes of them is written to
`FOLDER/result.json` at the end: failures, the slowest inputs, and a sample of all, for `growth` to enlarge.
"""

from __future__ import annotations

import heapq
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

with atheris.instrument_imports(include=["divertor_sensor"]):
    from bench.fuzz_sensor.targets import Target, targets

#: Failures that are kept, one for each place; inputs that are kept because they were slow, and as a sample.
_MAX_FAILURES = 20
_SLOWEST = 60
_SAMPLE = 60
#: Bytes of an input. `growth` makes longer ones of them, up to many times that.
_LONGEST = 768
_TIMEOUT = 20


class Run:
    """The inputs of one target, and what became of them."""

    def __init__(self, target: Target, inputs: int, folder: Path) -> None:
        self._target = target
        self._inputs = inputs
        self._folder = folder
        self._every = max(1, inputs // _SAMPLE)
        self._began = time.monotonic()
        self.count = 0
        self.failures: dict[str, tuple[str, str]] = {}
        self.slowest: list[tuple[float, int, str]] = []
        self.sample: list[str] = []

    def __call__(self, data: bytes) -> None:
        """One input: a byte that chooses, and the text."""
        choice, text = data[0] if data else 0, data[1:].decode("utf-8", "surrogateescape")
        started = time.perf_counter()
        try:
            self._target.attempt(text, choice)
        except Exception as problem:
            self._fail(problem, data)
        self._note(time.perf_counter() - started, data)
        self.count += 1
        if self.count >= self._inputs:
            self._finish()

    def _fail(self, problem: Exception, data: bytes) -> None:
        place = traceback.extract_tb(problem.__traceback__)[-1]
        key = f"{type(problem).__name__} at {Path(place.filename).name}:{place.lineno}"
        if key not in self.failures and len(self.failures) < _MAX_FAILURES:
            self.failures[key] = (str(problem)[:500], data.hex())

    def _note(self, seconds: float, data: bytes) -> None:
        if self.count % self._every == 0:
            self.sample.append(data.hex())
        slowness = seconds / (len(data) + 64)
        if len(self.slowest) < _SLOWEST:
            heapq.heappush(self.slowest, (slowness, self.count, data.hex()))
        elif slowness > self.slowest[0][0]:
            heapq.heapreplace(self.slowest, (slowness, self.count, data.hex()))

    def _finish(self) -> None:
        result = {
            "inputs": self.count,
            "seconds": time.monotonic() - self._began,
            "failures": [
                {"place": place, "problem": text, "input": data}
                for place, (text, data) in self.failures.items()
            ],
            "kept": [data for _, _, data in self.slowest] + self.sample,
        }
        (self._folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
        sys.stderr.flush()
        # libFuzzer would go on, and has no other way out.
        os._exit(0)


def main(arguments: list[str]) -> None:
    name, inputs, seed, folder = arguments[0], int(arguments[1]), int(arguments[2]), Path(arguments[3])
    target = targets()[name]
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, (choice, text) in enumerate(target.seeds):
        data = bytes([choice % 256]) + text.encode("utf-8", "surrogatepass")
        (corpus / f"{number:04}").write_bytes(data[:_LONGEST])
    words = folder / "words.dict"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words), encoding="ascii")
    attempt: Callable[[bytes], None] = Run(target, inputs, folder)
    options = [f"-runs={2 * inputs}", f"-seed={seed}", f"-max_len={_LONGEST}", f"-timeout={_TIMEOUT}"]
    options += [
        f"-dict={words}",
        f"-artifact_prefix={folder}/hung-",
        "-rss_limit_mb=4096",
        "-print_final_stats=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], attempt)
    atheris.Fuzz()


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode("utf-8", "surrogatepass"))


if __name__ == "__main__":
    main(sys.argv[1:])
