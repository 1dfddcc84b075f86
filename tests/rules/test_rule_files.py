"""Rules in a directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from divertor.errors import InputError, UnavailableError
from divertor.rules import load_rules

RULE = "type: any\nindex: logs\nalert: debug\n"


def test_every_rule_file_is_loaded_by_path(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.yaml", "a.yml", "sub/c.yaml", ".hidden.yaml", "notes.txt"):
        (tmp_path / name).write_text(RULE)
    assert [rule.name for rule in load_rules(tmp_path)] == ["a", "b", "c"]


def test_one_bad_rule_refuses_them_all_and_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(RULE)
    (tmp_path / "bad.yaml").write_text(RULE + "typo: 1\n")
    with pytest.raises(InputError, match=r"bad\.yaml:4:1"):
        load_rules(tmp_path)


def test_two_rules_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RULE + "name: same\n")
    (tmp_path / "b.yaml").write_text(RULE + "name: same\n")
    with pytest.raises(InputError, match="second rule named 'same'"):
        load_rules(tmp_path)


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        load_rules(tmp_path / "gone")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InputError, match="UTF-8"):
        load_rules(tmp_path)
