"""The archive: bounded by file and in all, the attack kept, nothing twice, and whole after every fault."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from divertor.model.isolation import Isolation
from divertor.recording.archive import Archive
from divertor.recording.exchange import Body, Exchange

from .spooled import SCOPE, SESSION, TIME, exchange

LIMIT = 100_000
A, B = "0123456789abcdef", "fedcba9876543210"


def numbered(number: int, size: int = 100) -> Exchange:
    """One that differs from all others."""
    return exchange(
        id=f"{number:032x}",
        path=f"/{number}",
        time=TIME + timedelta(seconds=number),
        response_body=Body(bytes(size), size),
    )


def isolation(id: str, parent: str = "") -> Isolation:
    return Isolation(
        id, SCOPE, SESSION, "4e1f0c9a", "shop:1.0.0", TIME, None, "gateway", "attacked", "", parent
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


@pytest.fixture
def archive(directory: Path) -> Archive:
    return Archive(directory)


def test_what_is_stored_is_read_back_with_numbers(archive: Archive) -> None:
    assert archive.append(A, [numbered(1), numbered(2)], LIMIT) == 2
    assert archive.append(B, [numbered(3)], LIMIT) == 1
    assert [(each.path, each.number) for each in archive.read(A).exchanges] == [("/1", 1), ("/2", 2)]
    assert archive.read(B).exchanges == (replace(numbered(3), number=3),)
    assert archive.find(A, 2) == replace(numbered(2), number=2)
    assert archive.find(A, 3) is None


def test_files_are_private(archive: Archive, directory: Path) -> None:
    archive.append(A, [numbered(1)], LIMIT)
    assert {oct(path.stat().st_mode & 0o777) for path in directory.iterdir()} == {"0o600"}
    assert directory.stat().st_mode & 0o777 == 0o700


def test_what_is_told_twice_is_stored_once(archive: Archive, directory: Path) -> None:
    archive.append(A, [numbered(1), numbered(1)], LIMIT)
    assert archive.append(A, [numbered(1)], LIMIT) == 0
    assert Archive(directory).append(A, [numbered(1), numbered(2)], LIMIT) == 1


def test_a_restart_knows_everything(archive: Archive, directory: Path) -> None:
    archive.append(A, [numbered(1)], LIMIT)
    archive.join(B, A)
    archive.describe(A, isolation(A))
    again = Archive(directory)
    assert (again.root(A), again.root(B), again.isolation(A)) == (A, A, isolation(A))
    again.append(A, [numbered(2)], LIMIT)
    assert [each.number for each in again.read(A).exchanges] == [1, 2]


def test_a_long_session_keeps_its_first_and_its_newest_exchanges(archive: Archive, directory: Path) -> None:
    for number in range(1, 500):
        archive.append(A, [numbered(number)], LIMIT)
        assert (directory / f"{A}.ndjson").stat().st_size <= LIMIT
    kept = archive.read(A)
    numbers = [each.number for each in kept.exchanges]
    assert numbers[:10] == list(range(1, 11)) and numbers[-10:] == list(range(490, 500))
    assert len(numbers) + kept.gone == 499
    assert archive.size == sum(path.stat().st_size for path in directory.glob("*[0-9a-f].ndjson"))


def test_an_exchange_that_is_too_large_is_kept_without_its_bodies(archive: Archive) -> None:
    archive.append(A, [numbered(1, LIMIT)], LIMIT)
    (found,) = archive.read(A).exchanges
    assert (found.path, found.response_body.size) == ("/1", LIMIT)
    assert found.response_body.withheld and not found.response_body.data


def test_headers_go_when_even_they_are_too_large(archive: Archive) -> None:
    archive.append(A, [replace(numbered(1), request_headers=(("x", "y" * LIMIT),))], LIMIT)
    (found,) = archive.read(A).exchanges
    assert found.path == "/1" and found.request_headers == ()


def test_whole_files_go_when_all_are_too_large(directory: Path) -> None:
    archive = Archive(directory, total=50_000)
    ids = [f"{number:016x}" for number in range(100)]
    for number, id in enumerate(ids):
        archive.append(id, [numbered(number, 1000)], LIMIT)
        assert archive.size <= 50_000
    assert archive.root(ids[0]) is None and archive.root(ids[99]) == ids[99]
    assert set(archive.files()) == set(ids[-len(archive.files()) :])


def test_what_was_not_heard_of_for_long_goes(archive: Archive, directory: Path) -> None:
    archive.append(A, [numbered(1)], LIMIT)
    archive.join("1" * 16, A)
    archive.append(B, [numbered(1000)], LIMIT)
    archive.prune((TIME + timedelta(seconds=500)).timestamp())
    assert (archive.root(A), archive.root("1" * 16), archive.root(B)) == (None, None, B)
    assert not (directory / f"{A}.ndjson").exists()


def test_keys_that_continue_each_other_belong_together(archive: Archive) -> None:
    other, alone = "2" * 16, "3" * 16
    for number, id in enumerate((A, B, other, alone)):
        archive.append(id, [numbered(number)], LIMIT)
    archive.describe(A, isolation(A))
    archive.describe(B, isolation(B, parent=A))
    archive.describe(other, isolation(other, parent=B))
    assert archive.related([other]) == archive.related([A]) == {A, B, other}
    assert archive.related([alone]) == {alone}


def test_keys_of_one_user_belong_together_though_he_has_no_file(archive: Archive) -> None:
    for number, id in enumerate((A, B)):
        archive.append(id, [numbered(number)], LIMIT)
        archive.describe(id, isolation(id, parent="9" * 16))
    assert archive.related([A]) == {A, B}


def test_a_line_that_was_cut_by_a_kill_costs_only_itself(archive: Archive, directory: Path) -> None:
    archive.append(A, [numbered(1), numbered(2)], LIMIT)
    path = directory / f"{A}.ndjson"
    os.truncate(path, path.stat().st_size - 10)
    again = Archive(directory)
    again.append(A, [numbered(2), numbered(3)], LIMIT)
    assert [each.path for each in again.read(A).exchanges] == ["/1", "/2", "/3"]


def test_damage_is_passed_over(archive: Archive, directory: Path) -> None:
    archive.append(A, [numbered(1)], LIMIT)
    with (directory / f"{A}.ndjson").open("ab") as handle:
        handle.write(b'\xff\n[]\n{"gone":"x"}\n' + b"[" * 100_000 + b"\n")
    (directory / "index.ndjson").write_bytes(b'{"file":"x"}\n[]\nnull\n{"member":1,"of":2}\n')
    assert [each.path for each in Archive(directory).read(A).exchanges] == ["/1"]


def test_a_full_disk_leaves_what_was_there(
    archive: Archive, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.append(A, [numbered(1)], LIMIT)
    before = (directory / f"{A}.ndjson").read_bytes()
    whole = os.write

    def half(descriptor: int, data: memoryview) -> int:
        if len(data) < 100:
            raise OSError(28, "No space left on device")
        return whole(descriptor, data[: len(data) // 2])

    monkeypatch.setattr("divertor.recording.archive.os.write", half)
    with pytest.raises(OSError, match="No space"):
        archive.append(A, [numbered(2)], LIMIT)
    monkeypatch.undo()
    assert (directory / f"{A}.ndjson").read_bytes() == before
    assert archive.append(A, [numbered(2)], LIMIT) == 1


def test_no_attacker_names_a_file(archive: Archive) -> None:
    with pytest.raises(ValueError, match="no file"):
        archive.append("../../etc/passwd", [numbered(1)], LIMIT)


def test_the_index_does_not_grow_without_end(archive: Archive, directory: Path) -> None:
    archive.append(A, [numbered(1)], LIMIT)
    for number in range(20_000):
        archive.describe(A, replace(isolation(A), reason=f"{number}"))
    assert (directory / "index.ndjson").stat().st_size < 2 << 20
    assert json.loads((directory / "index.ndjson").read_bytes().splitlines()[-1])
