"""Lists for blacklist and whitelist: what an entry stands for, and files that change."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from divertor.errors import UnavailableError
from divertor.rules.reading.files import load_file, load_rules
from divertor.rules.reading.lists import Listed, Reader, parse_entries, parse_literally, readers
from divertor.rules.types.blacklist import Blacklist

CASES: list[tuple[str, Any, bool]] = [
    ("a", "a", True),
    ("a", "A", False),
    ("5", 5, True),
    ("5", "5", True),
    ("5", 5.0, True),
    ("5.0", 5, True),
    ("1", True, False),
    ("true", True, True),
    ("10.0.0.0/8", "10.1.2.3", True),
    ("10.0.0.0/8", "11.1.2.3", False),
    ("10.1.2.3/8", "10.9.9.9", True),
    ("10.0.0.0/8", "10.0.0.0/8", True),
    ("2001:db8::/32", "2001:db8:1::1", True),
    ("2001:db8::1", "2001:0db8:0:0::1", True),
    ("10.0.0.0/8", "::ffff:10.1.2.3", True),
    ("10.0.0.1", "10.0.0.1", True),
    ("0.0.0.0/0", "10.0.0.1", True),
    ("0.0.0.0/0", "::1", False),
    ("adm*", "admin", True),
    ("adm*", "Admin", False),
    ("a?c", "abc", True),
    (r"a\*", "a*", True),
    (r"a\*", "ab", False),
    (r"C:\Windows", r"C:\Windows", True),
    ("/adm(in)?/", "admin", True),
    ("/adm(in)?/", "admins", False),
    ("/", "/", True),
    ("/a/b", "/a/b", True),
    ("nan", float("nan"), True),
    ("1_000", 1000, False),
    ("", "", True),
]


@pytest.mark.parametrize(("entry", "value", "expected"), CASES)
def test_an_entry_stands_for(entry: str, value: Any, expected: bool) -> None:
    assert parse_entries(["other", entry]).has(value) == expected


def test_all_entries_are_looked_at() -> None:
    assert len(CASES) == 31


@given(st.lists(st.text(max_size=5)), st.text(max_size=5))
def test_literally_a_text_is_on_the_list_when_it_is_in_it(entries: list[str], value: str) -> None:
    entries = [entry for entry in entries if not (entry.startswith("/") and entry.endswith("/"))]
    assert parse_literally(entries).has(value) == (value in entries)


@pytest.mark.parametrize(
    ("entries", "message"),
    [(["/(/"], r"'/\(/': "), (["!file "], "without a path"), (["*"] * 1001, "at most 1000")],
)
def test_entries_that_make_no_sense_are_refused(entries: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Listed.of(entries)


def reader(tmp_path: Path, *more: str) -> Reader:
    listed = Listed.of([*more, "!file names.txt"])
    return Reader(listed, tmp_path)


def test_a_files_lines_join_the_rules_own_entries(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("a\n\n10.0.0.0/8  \n")
    read = reader(tmp_path, "own")
    assert read.refresh()
    entries = read.listed.entries
    assert all(entries.has(value) for value in ("own", "a", "10.1.1.1"))
    assert not entries.has("")


def test_a_file_is_read_again_when_it_changed_and_only_then(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("a\n")
    read = reader(tmp_path)
    assert (read.refresh(), read.refresh()) == (True, False)
    file.write_text("bb\n")
    assert read.refresh()
    assert read.listed.entries.has("bb")
    assert not read.listed.entries.has("a")


def test_a_file_that_was_put_in_its_place_is_read(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("a\n")
    read = reader(tmp_path)
    read.refresh()
    mark = file.stat()
    (tmp_path / "next").write_text("b\n")
    os.utime(tmp_path / "next", ns=(mark.st_atime_ns, mark.st_mtime_ns))
    (tmp_path / "next").replace(file)
    assert read.refresh()
    assert read.listed.entries.has("b")


@pytest.mark.parametrize("content", [None, b"/(/\n"])
def test_a_file_that_became_unusable_leaves_the_list_as_it_was(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "names.txt"
    file.write_text("a\n")
    read = reader(tmp_path)
    read.refresh()
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UnavailableError, match="names.txt"):
        read.refresh()
    assert read.listed.entries.has("a")


def test_a_pipe_is_no_list_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "names.txt")
    with pytest.raises(UnavailableError, match="no file"):
        Reader(Listed.of(["!file names.txt"]), tmp_path).refresh()


def test_only_rules_with_files_need_a_reader(tmp_path: Path) -> None:
    plain, filed = Blacklist(("a",), Listed.of(["x"])), Blacklist(("a",), Listed.of(["!file names.txt"]))
    assert readers(plain, "r.yaml") == []
    (found,) = readers(filed, str(tmp_path / "r.yaml"))
    assert found.base == tmp_path


RULE = """
type: whitelist
index: logs
alert: debug
compare_key: user
whitelist: ["!file names.txt"]
"""


def test_a_rule_file_is_loaded_with_its_lists(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("a\n")
    (tmp_path / "r.yaml").write_text(RULE)
    for rule in (load_file(tmp_path / "r.yaml"), *load_rules(tmp_path)):
        assert rule.behaviour.listed.entries.has("a")  # type: ignore[attr-defined]


def test_a_rule_file_without_its_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RULE)
    with pytest.raises(UnavailableError, match=r"names\.txt"):
        load_rules(tmp_path)
