"""A million keys: memory, how often a lookup is wrong, and a reader process beside writers that die."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from array import array
from pathlib import Path

import pytest

from divertor.isolation.layout import FOREVER
from divertor.isolation.table import Table

HERE = Path(__file__).parent
MILLION = 1_000_000
LOOKUPS = 20_000_000


@pytest.fixture(scope="session")
def lookups(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from divertor.envoy import resources

    sources = Path(resources.__file__).parent / "filter"
    target = tmp_path_factory.mktemp("lookups") / "lookups"
    files = [str(HERE / "lookups.c"), *(str(sources / name) for name in ("keys.c", "table.c"))]
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O2", f"-I{sources}"]
    subprocess.run([compiler, *flags, "-o", str(target), *files], check=True)
    return target


def test_of_twenty_million_strangers_none_is_taken_for_one_of_a_million(
    lookups: Path, tmp_path: Path
) -> None:
    """The probability is 2^-64 for each key that is compared: some 2 in a table half full, a million at the
    very worst. Even a filter of 2^-32 for each key would have tens of thousands of hits here.
    """
    path = tmp_path / "t.table"
    table = Table.open(path)
    keys = array("Q", random.Random(7).randbytes(8 * MILLION))
    table.replace((key or 1, FOREVER) for key in keys)
    table.close()
    done = subprocess.run([lookups, path, str(LOOKUPS), "42"], check=True, capture_output=True, text=True)
    hits, nanoseconds = done.stdout.split()
    assert hits == "0" and float(nanoseconds) < 5000
    assert path.stat().st_size <= 64 << 20


WRITER = """
import random, sys
from pathlib import Path
from divertor.isolation.layout import FOREVER
from divertor.isolation.table import Table
rng, unit = random.Random(int(sys.argv[2])), (1 << 40) + 1
fixed = [(number * unit, FOREVER) for number in range(1, 200, 2)]
table = Table.open(Path(sys.argv[1]))
table.replace(fixed)
print("ready", flush=True)
while True:
    key = rng.randrange(1, 1 << 63) * 2 + 1
    if key % unit == 0:
        continue
    chance = rng.random()
    if chance < 0.001:
        table.replace([*fixed, (key, FOREVER)])
    elif chance < 0.003:
        table.extend([(key + 2 * step, FOREVER) for step in range(1100) if (key + 2 * step) % unit], 0)
    elif chance < 0.7:
        table.put(key, FOREVER, 0)
    else:
        table.remove(key)
"""


def _writer(path: Path, seed: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WRITER, str(path), str(seed)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
    return writer


def test_a_reader_process_is_never_wrong_while_writers_are_killed(lookups: Path, tmp_path: Path) -> None:
    path, rng, turns = tmp_path / "t.table", random.Random(11), 12
    first = _writer(path, 0)
    reader = subprocess.Popen([lookups, path, "watch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert reader.stdout is not None and reader.stdout.readline() == b"ready\n"
    for turn in range(1, turns + 1):
        threading.Event().wait(rng.random() * 0.1)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        first = _writer(path, turn)
    first.kill()
    first.communicate()
    told, _ = reader.communicate(b".")
    rounds, misses, wrong = map(int, told.split())
    assert rounds > 100 and (misses, wrong) == (0, 0)
