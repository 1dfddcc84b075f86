"""The isolation table against a dict, against Envoy's reader, and against writers that are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from divertor.errors import UnavailableError
from divertor.isolation import table as tables
from divertor.isolation.layout import COUNT, FOREVER, TABLE_MAGIC
from divertor.isolation.table import SMALLEST, Recent, Table

if TYPE_CHECKING:
    from tests.isolation.conftest import Filter

#: Fingerprints that fall on each other's slots, at the table's very end too.
KEYS = [base + step * SMALLEST for base in (1, 2, SMALLEST - 1) for step in range(4)]


class AgainstADict(RuleBasedStateMachine):
    """Any sequence of changes leaves the table with what a dict would have."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "t.table"
        self.table = Table.open(self.path)
        self.wanted: dict[int, int] = {}
        self.now = 100

    def teardown(self) -> None:
        self.table.close()
        self.folder.cleanup()

    @rule(key=st.sampled_from(KEYS), length=st.integers(1, 50))
    def put(self, key: int, length: int) -> None:
        self.table.put(key, self.now + length, self.now)
        self.wanted[key] = self.now + length

    @rule(key=st.sampled_from(KEYS))
    def remove(self, key: int) -> None:
        self.table.remove(key)
        self.wanted.pop(key, None)

    @rule(keys=st.sets(st.sampled_from(KEYS)))
    def replace(self, keys: set[int]) -> None:
        self.wanted = dict.fromkeys(keys, self.now + 10)
        self.table.replace(self.wanted.items())

    @rule(keys=st.sets(st.sampled_from(KEYS)), many=st.booleans())
    def extend(self, keys: set[int], many: bool) -> None:
        wanted = {key: self.now + 30 for key in keys}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tables, "FEW", 0 if many else 1024)
            self.table.extend(wanted.items(), self.now)
        if many and keys:  # written anew, without the expired
            self.wanted = {key: expiry for key, expiry in self.wanted.items() if expiry > self.now}
        self.wanted |= wanted

    @rule()
    def reopen(self) -> None:
        self.table.close()
        self.table = Table.open(self.path)

    @rule()
    def rewrite_without_the_expired(self) -> None:
        self.now += 20
        self.table._rewrite(self.now)
        self.wanted = {key: expiry for key, expiry in self.wanted.items() if expiry > self.now}

    @precondition(lambda self: hasattr(self, "table"))
    @invariant()
    def they_agree(self) -> None:
        assert {key: self.table.get(key) for key in KEYS} == {key: self.wanted.get(key) for key in KEYS}
        assert len(self.table) == len(self.wanted) and dict(self.table.entries()) == self.wanted


AgainstADict.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
test_the_table_is_a_dict = AgainstADict.TestCase


def test_a_full_table_grows_and_keeps_everybody(tmp_path: Path) -> None:
    table = Table.open(tmp_path / "t.table")
    keys = [hash_of(number) for number in range(SMALLEST * 2)]
    for key in keys:
        table.put(key, FOREVER, 0)
    assert table.capacity >= SMALLEST * 4 and len(table) == len(keys)
    assert all(table.get(key) == FOREVER for key in keys)
    table.close()


def test_growing_leaves_the_expired_behind(tmp_path: Path) -> None:
    table = Table.open(tmp_path / "t.table")
    for number in range(SMALLEST * 3 // 4):
        table.put(hash_of(number), 50, 0)
    table.put(hash_of(-1), 200, 100)
    assert table.entries() == [(hash_of(-1), 200)] and table.capacity == SMALLEST
    table.close()


def test_the_files_are_private(tmp_path: Path) -> None:
    Table.open(tmp_path / "t.table").close()
    Recent(tmp_path / "r.table").close()
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_second_writer_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    first = Table.open(tmp_path / "t.table")
    with pytest.raises(UnavailableError, match="another process writes"):
        Table.open(tmp_path / "t.table")
    first.close()
    Table.open(tmp_path / "t.table").close()


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the disk full when it is called."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    return lambda: monkeypatch.setattr(os, "posix_fallocate", full)


def test_on_a_full_disk_the_old_table_takes_what_replaces_its_content(
    tmp_path: Path, full_disk: Callable[[], None]
) -> None:
    table = Table.open(tmp_path / "t.table")
    table.put(7, FOREVER, 0)
    full_disk()
    table.replace([(8, FOREVER), (9, 50)])
    assert dict(table.entries()) == {8: FOREVER, 9: 50} and "No space left" in table.trouble
    assert not (tmp_path / "t.table.new").exists()
    table.close()


def test_on_a_full_disk_a_table_that_should_grow_takes_keys_until_it_is_full(
    tmp_path: Path, full_disk: Callable[[], None]
) -> None:
    table = Table.open(tmp_path / "t.table")
    full_disk()
    room = SMALLEST * 15 // 16
    for number in range(room):
        table.put(hash_of(number), FOREVER, 0)
    with pytest.raises(UnavailableError, match="No space left"):
        table.put(hash_of(room), FOREVER, 0)
    table.put(hash_of(0), 50, 0)
    assert len(table) == room and table.get(hash_of(0)) == 50 and table.get(hash_of(room)) is None
    table.close()


def test_when_there_is_room_again_the_table_is_written_anew_and_no_longer_in_trouble(
    tmp_path: Path, full_disk: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table.open(tmp_path / "t.table")
    full_disk()
    table.replace([(8, FOREVER)])
    assert table.trouble
    monkeypatch.undo()
    table.replace([(8, FOREVER)])
    assert not table.trouble and table.entries() == [(8, FOREVER)]
    table.close()


def test_the_reader_sees_what_a_full_disk_left_in_place(
    tmp_path: Path, native: Filter, full_disk: Callable[[], None]
) -> None:
    table = Table.open(tmp_path / "t.table")
    table.put(7, FOREVER, 0)
    file = native.file(tmp_path / "t.table")
    full_disk()
    table.replace([(8, FOREVER)])
    assert native.has(file, 8, 1) is True and native.has(file, 7, 1) is False
    table.close()


def test_junk_in_the_slots_under_a_sound_header_is_damage(tmp_path: Path) -> None:
    """A table without one free slot would be searched for ever."""
    path = tmp_path / "t.table"
    Table.open(path).close()
    with path.open("r+b") as handle:
        handle.seek(64)
        handle.write(os.urandom(SMALLEST * 16))
    table = Table.open(path)
    assert table.entries() == [] and table.get(7) is None
    table.close()


def test_a_count_that_a_killed_writer_left_too_high_is_set_right(tmp_path: Path) -> None:
    path = tmp_path / "t.table"
    table = Table.open(path)
    table.put(7, FOREVER, 0)
    table._file.words[COUNT] = 2
    table.close()
    table = Table.open(path)
    assert len(table) == 1
    table.close()


@pytest.mark.parametrize("content", [b"", b"x", os.urandom(4096), b"\0" * (64 + 65536 * 16)])
def test_a_damaged_recent_file_is_made_anew_beside_the_old_one(tmp_path: Path, content: bytes) -> None:
    """By renaming: Envoy may have the old one mapped, and a mapped file that shrinks kills its reader."""
    path = tmp_path / "r.table"
    path.write_bytes(content)
    with path.open("rb") as old:
        recent = Recent(path)
        assert old.read() == content and path.stat().st_size == 64 + 65536 * 16
    assert recent.get(7) is None
    recent.close()


def test_a_table_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.table").mkdir()
    with pytest.raises(UnavailableError, match="cannot read the isolation table: Is a directory"):
        Table.open(tmp_path / "t.table")


@pytest.mark.parametrize("content", [b"", b"x", b"DVTBL001", os.urandom(65600), b"\0" * 65600])
def test_a_damaged_file_is_made_anew(tmp_path: Path, native: Filter, content: bytes) -> None:
    path = tmp_path / "t.table"
    path.write_bytes(content)
    assert native.has(native.file(path), 7, 1) is None
    table = Table.open(path)
    assert table.entries() == []
    table.close()


@pytest.mark.parametrize("kept", [8, 63, 64, 65, 1000, 65599])
def test_a_file_cut_short_is_no_file_for_the_reader_and_made_anew_by_the_writer(
    tmp_path: Path, native: Filter, kept: int
) -> None:
    path = tmp_path / "t.table"
    table = Table.open(path)
    table.put(7, FOREVER, 0)
    table.close()
    os.truncate(path, kept)
    assert native.has(native.file(path), 7, 1) is None
    table = Table.open(path)
    assert table.entries() == []
    table.close()


def test_the_reader_sees_each_change_at_once(tmp_path: Path, native: Filter) -> None:
    table = Table.open(tmp_path / "t.table")
    file = native.file(tmp_path / "t.table")
    assert native.has(file, 7, 100) is False
    table.put(7, 200, 100)
    assert native.has(file, 7, 199) is True and native.has(file, 7, 200) is False
    table.remove(7)
    assert native.has(file, 7, 150) is False
    table.close()


def test_the_reader_follows_to_the_new_file_at_once(tmp_path: Path, native: Filter) -> None:
    table = Table.open(tmp_path / "t.table")
    file = native.file(tmp_path / "t.table")
    assert native.has(file, 8, 1) is False
    table.replace([(8, FOREVER)])
    assert native.has(file, 8, 1) is True
    table.close()


def eventually(check: Callable[[], object]) -> None:
    """The reader looks at the path once a second."""
    deadline = time.monotonic() + 5
    while not check():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


@pytest.mark.parametrize("damage", ["deleted", "replaced"])
def test_the_reader_finds_a_file_that_was_made_anew_behind_its_back(
    tmp_path: Path, native: Filter, damage: str
) -> None:
    """A writer that dies after the rename has not marked the old file; neither has who deletes it."""
    path = tmp_path / "t.table"
    Table.open(path).close()
    file = native.file(path)
    assert native.has(file, 8, 1) is False
    if damage == "deleted":
        path.unlink()
    else:
        tables._create(path, TABLE_MAGIC, SMALLEST, 2)
    table = Table.open(path)
    table.put(8, FOREVER, 0)
    eventually(lambda: native.has(file, 8, 1))
    table.close()


def test_the_reader_keeps_what_it_knows_when_the_file_goes(tmp_path: Path, native: Filter) -> None:
    path = tmp_path / "t.table"
    table = Table.open(path)
    table.put(8, FOREVER, 0)
    file = native.file(path)
    assert native.has(file, 8, 1)
    table.close()
    path.unlink()
    threading.Event().wait(1.1)  # past the second for which it does not look
    assert native.has(file, 8, 1)


def test_a_reader_beside_a_working_writer_never_sees_what_was_not_put(tmp_path: Path, native: Filter) -> None:
    """Some keys stay for good, others come and go, some are never put; files grow and are replaced."""
    path = tmp_path / "t.table"
    table = Table.open(path)
    constant = [hash_of(number) for number in range(200)]
    moving = [hash_of(number) for number in range(200, 3000)]
    never = [hash_of(number) for number in range(3000, 3200)]
    for key in constant:
        table.put(key, FOREVER, 0)
    done = threading.Event()

    def work() -> None:
        rng = random.Random(1)
        for turn in range(6000):
            key = rng.choice(moving)
            if turn % 1500 == 0:
                table.replace([(each, FOREVER) for each in constant])
            elif rng.random() < 0.7:
                table.put(key, FOREVER, 0)
            else:
                table.remove(key)
        done.set()

    file = native.file(path)
    writer = threading.Thread(target=work)
    writer.start()
    looks = 0
    while not done.is_set():
        assert all(native.has(file, key, 1) for key in constant[looks % 20 :: 20])
        assert not any(native.has(file, key, 1) for key in never[looks % 20 :: 20])
        looks += 1
    writer.join()
    table.close()
    assert looks > 10


WRITER = """
import random, sys
from pathlib import Path
from divertor.isolation.layout import COUNT, FOREVER, TABLE_MAGIC
from divertor.isolation.table import Table
table = Table.open(Path(sys.argv[1]))
rng = random.Random(int(sys.argv[2]))
print("ready", flush=True)
while True:
    key = rng.choice([rng.randrange(1, 1 << 64) | 1, 3, 5])
    rng.random() < 0.002 and table.replace([(9, FOREVER), (3, FOREVER)])
    table.put(9, FOREVER, 0)
    table.put(key, FOREVER, 0) if rng.random() < 0.7 else table.remove(key)
"""


def test_a_writer_killed_at_any_moment_leaves_a_sound_table(tmp_path: Path, native: Filter) -> None:
    """Key 9 is never taken out; even fingerprints are never put."""
    path, rng = tmp_path / "t.table", random.Random(3)
    Table.open(path).close()
    before = Table.open(path)
    before.put(9, FOREVER, 0)
    before.close()
    file = native.file(path)
    for turn in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(turn)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
        threading.Event().wait(rng.random() * 0.15)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        table = Table.open(path)
        assert table.get(9) == FOREVER and all(key % 2 for key, _ in table.entries())
        assert table._used == sum(1 for at in table._slots() if table._file.words[at])
        table.close()
        eventually(lambda: native.has(file, 9, 1))
        assert not any(native.has(file, key, 1) for key in range(2, 2000, 2))


def test_a_million_keys_are_looked_up_right(tmp_path: Path, native: Filter) -> None:
    table = Table.open(tmp_path / "t.table")
    rng = random.Random(5)
    keys = [rng.randrange(1, 1 << 64) for _ in range(1_000_000)]
    table.replace((key, FOREVER) for key in keys)
    file = native.file(tmp_path / "t.table")
    assert len(table) == 1_000_000 and all(native.has(file, key, 1) for key in keys[::997])
    assert not any(native.has(file, rng.randrange(1, 1 << 64), 1) for _ in range(1000))
    table.close()


def test_the_recent_file_remembers_and_forgets(tmp_path: Path, native: Filter) -> None:
    recent = Recent(tmp_path / "r.table")
    file = native.file(tmp_path / "r.table")
    native.remember(file, 7, 200, 100)
    assert recent.get(7) == 200 and native.has(file, 7, 199, recent=True)
    assert not native.has(file, 7, 200, recent=True)
    recent.forget(7)
    assert recent.get(7) is None and not native.has(file, 7, 150, recent=True)
    recent.close()


def test_the_recent_file_forgets_many(tmp_path: Path, native: Filter) -> None:
    recent = Recent(tmp_path / "r.table")
    file = native.file(tmp_path / "r.table")
    for key in range(1, 9):
        native.remember(file, key, 200, 100)
    recent.forget_all({1, 2, 3, 99})
    assert [key for key in range(1, 9) if recent.get(key)] == [4, 5, 6, 7, 8]
    recent.close()


def test_the_recent_file_gives_up_the_expired_first(tmp_path: Path, native: Filter) -> None:
    recent = Recent(tmp_path / "r.table")
    file = native.file(tmp_path / "r.table")
    group = [1 + step * (tables.RECENT_SLOTS // 4) for step in range(5)]
    for key in group[:4]:
        native.remember(file, key, 150 if key == group[2] else 500, 100)
    native.remember(file, group[4], 500, 200)
    assert [recent.get(key) for key in group] == [500, 500, None, 500, 500]
    recent.close()


def test_nobody_is_forgotten_for_somebody_new(tmp_path: Path, native: Filter) -> None:
    """Else an attacker could make room for himself, by attacking under other names."""
    Recent(tmp_path / "r.table").close()
    file = native.file(tmp_path / "r.table")
    group = [7 + step * (tables.RECENT_SLOTS // 4) for step in range(5)]
    for key in group:
        native.remember(file, key, 500, 100)
    assert [native.has(file, key, 200, recent=True) for key in group] == [True, True, True, True, False]


def test_remembering_again_prolongs_in_place(tmp_path: Path, native: Filter) -> None:
    recent = Recent(tmp_path / "r.table")
    file = native.file(tmp_path / "r.table")
    native.remember(file, 7, 200, 100)
    native.remember(file, 7, 300, 100)
    assert recent.get(7) == 300
    recent.forget(7)
    assert not native.has(file, 7, 1, recent=True)
    recent.close()


def test_what_attacked_moments_ago_survives_a_restart(tmp_path: Path, native: Filter) -> None:
    Recent(tmp_path / "r.table").close()
    native.remember(native.file(tmp_path / "r.table"), 7, 200, 100)
    again = Recent(tmp_path / "r.table")
    assert again.get(7) == 200
    again.close()


def hash_of(number: int) -> int:
    return (number * 0x9E3779B97F4A7C15 + 1) & 0xFFFFFFFFFFFFFFFF or 1
