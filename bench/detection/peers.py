"""The other detectors, asked through a process each, so that nothing of them is loaded here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

NAMES = ("zen", "libddwaf", "libinjection")
_BATCH = 400
_PROGRAM = Path(__file__).with_name("rival.py")

#: A dialect, a statement, an input.
Question = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Peer:
    """A detector that answers; `version` is its package's."""

    name: str
    version: str
    process: subprocess.Popen[str]

    def verdicts(self, questions: Sequence[Question]) -> list[bool]:
        """Whether each is an attack.

        :raises RuntimeError: the process has ended.
        """
        found: list[bool] = []
        for start in range(0, len(questions), _BATCH):
            found += self._answer(questions[start : start + _BATCH])
        return found

    def _answer(self, questions: Sequence[Question]) -> list[bool]:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(questions), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended in the middle")
        answers: list[bool] = json.loads(line)
        return answers


def interpreter(chosen: Path | None) -> Path:
    """The Python that has the peers: the one asked for, the project's own for benchmarks, or this one."""
    own = Path(".venv-bench/bin/python")
    return chosen or (own if own.exists() else Path(sys.executable))


@contextmanager
def running(python: Path) -> Iterator[list[Peer]]:
    """Those of `NAMES` that are installed for `python`."""
    with ExitStack() as stack:
        found = []
        for name in NAMES:
            peer = stack.enter_context(_started(python, name))
            if peer is not None:
                found.append(peer)
        yield found


@contextmanager
def _started(python: Path, name: str) -> Iterator[Peer | None]:
    process = subprocess.Popen(
        [python, "-P", _PROGRAM, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        version = json.loads(process.stdout.readline() or "null")
        yield None if version is None else Peer(name, version, process)
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()
