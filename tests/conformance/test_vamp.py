"""The manual's tables of Vamp's rules: every test they name exists, with as many cases as they say.

The tests themselves run where they are; here they are only collected, once.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.conformance.examples import EXAMPLES, RAW

ROOT = Path(__file__).parents[2]
MANUAL = ROOT / "docs/reference/vamp.md"
_CELL = re.compile(r"(?<!\\)\|")
_LINK = re.compile(r"\]\(([a-z]+\.md)#([a-z-]+)\)")


@dataclass(frozen=True, slots=True)
class Row:
    """One rule: what became of it, the tests that prove it, and how many cases they have together."""

    rule: str
    here: str
    tests: tuple[str, ...]
    cases: int


def rows() -> list[Row]:
    lines = MANUAL.read_text(encoding="utf-8").splitlines()
    return [row_of(line) for line in lines if re.match(r"\| 1\.\d", line)]


def row_of(line: str) -> Row:
    cells = [cell.strip().replace("\\|", "|") for cell in _CELL.split(line)]
    _, rule, _, here, proof, cases, _ = cells
    return Row(rule, here, tuple(re.findall(r"`([^`]+)`", proof)), int(cases))


@pytest.fixture(scope="module")
def collected() -> Mapping[str, int]:
    """How many cases each test has, under its own name and under that of each case."""
    files = sorted({test.partition("::")[0] for row in rows() for test in row.tests})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found: dict[str, int] = {}
    for case in (line for line in done.stdout.splitlines() if "::" in line):
        for name in {case, case.partition("[")[0]}:
            found[name] = found.get(name, 0) + 1
    return found


def test_every_rule_is_proven_by_tests_that_are_there(collected: Mapping[str, int]) -> None:
    missing = [(row.rule, test) for row in rows() for test in row.tests if test not in collected]
    assert missing == []
    assert all(row.tests for row in rows())


def test_every_rule_has_as_many_cases_as_it_says(collected: Mapping[str, int]) -> None:
    counted = {row.rule: sum(collected.get(test, 0) for test in row.tests) for row in rows()}
    assert counted == {row.rule: row.cases for row in rows()}


def test_no_rule_and_no_case_is_missing() -> None:
    found = rows()
    assert (len(found), sum(row.cases for row in found)) == (196, 856)
    assert len({row.rule for row in found}) == len(found)
    by_section = [sum(row.rule.startswith(f"1.{section}-") for row in found) for section in range(1, 7)]
    assert by_section == [34, 18, 98, 12, 10, 24]


def test_every_example_of_vamps_specifications_has_its_row() -> None:
    ruled = {row.rule: row.tests for row in rows()}
    assert [example.number for example in EXAMPLES if len(ruled.get(example.number, ())) != 2] == []
    assert [number for number, _ in RAW if number not in ruled] == []


def test_what_is_different_says_why() -> None:
    here = [row.here for row in rows()]
    assert all(re.match(r"same|different: .{7}", said) for said in here), here
    assert [sum(said.startswith(word) for said in here) for word in ("same", "different")] == [167, 29]


def test_every_link_leads_to_a_heading() -> None:
    links = set(_LINK.findall(MANUAL.read_text(encoding="utf-8")))
    for name, anchor in links:
        titles = re.findall(r"^#+ (.+)$", (MANUAL.parent / name).read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-") for title in titles}
    assert len(links) == 3
