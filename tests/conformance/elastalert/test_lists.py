"""`type: blacklist` and `type: whitelist` beside ElastAlert's classes, and where they differ on purpose."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.conformance.elastalert.client import (
    START,
    Batch,
    Oracle,
    Seen,
    Stream,
    differential,
    our_matches,
    random_batches,
    their_matches,
    wire,
)

VALUES = ["a", "b", "A", "a ", "5", 5, 5.0, True, "true", None, "", "10.1.2.3", "10.0.0.0/8", "a*"]


def value(random: Random) -> dict[str, Any]:
    fields = {"user": random.choice(VALUES), "http": {"path": random.choice(VALUES)}}
    return {name: value for name, value in fields.items() if random.random() < 0.9}


def stream(seed: int) -> Stream:
    random = Random(seed)
    kind = random.choice(["blacklist", "whitelist"])
    words = [str(one) for one in VALUES if one is not None]
    options: dict[str, Any] = {
        "compare_key": random.choice(["user", "http.path", "missing"]),
        kind: random.sample(words, random.randint(1, 6)),
        "filter_by_list": random.random() < 0.5,
    }
    if kind == "whitelist":
        options["ignore_null"] = random.random() < 0.5
    return Stream(kind, options, random_batches(random, value))


def test_random_streams_have_the_same_matches(oracle: Oracle) -> None:
    compared = differential(oracle, [stream(seed) for seed in range(1000)])
    assert compared.streams == 1000
    assert compared.matches > 9000


def test_entries_of_a_file_are_the_same(oracle: Oracle, tmp_path: Path) -> None:
    file = tmp_path / "names"
    file.write_text("a\nb  \n10.1.2.3\n")
    random = Random(0)
    options = {"compare_key": "user", "blacklist": ["true", f"!file {file}"]}
    given = Stream("blacklist", options, random_batches(random, value, runs=50))
    assert differential(oracle, [given]).matches > 10


def one(kind: str, options: dict[str, Any], **fields: Any) -> Stream:
    return Stream(kind, options, (Batch((Seen(START, fields),), START),))


@pytest.mark.parametrize("kind", ["blacklist", "whitelist"])
def test_a_list_of_values_disables_their_rule_and_not_ours(oracle: Oracle, kind: str) -> None:
    given = one(kind, {"compare_key": "user", kind: ["a"], "ignore_null": False}, user=["a"])
    (answer,) = oracle.ask([wire(given)])
    assert answer["error"].startswith("TypeError")
    assert len(our_matches(given)[0]) == (kind == "whitelist")


def test_their_blacklist_never_finds_a_regular_expression_and_ours_does(oracle: Oracle) -> None:
    given = one("blacklist", {"compare_key": "user", "blacklist": ["/adm.*/"]}, user="admin")
    assert their_matches(oracle, [given]) == [[[]]]
    assert len(our_matches(given)[0]) == 1


def test_their_class_leaves_a_whitelists_regular_expressions_to_the_query(oracle: Oracle) -> None:
    given = one(
        "whitelist", {"compare_key": "user", "whitelist": ["/adm.*/"], "ignore_null": False}, user="admin"
    )
    assert len(their_matches(oracle, [given])[0][0]) == 1
    assert our_matches(given) == [[]]


def test_several_compare_keys_never_match_there_and_are_alternatives_here(oracle: Oracle) -> None:
    given = one("blacklist", {"compare_key": ["user", "by"], "blacklist": ["a"]}, user="b", by="a")
    assert their_matches(oracle, [given]) == [[[]]]
    assert len(our_matches(given)[0]) == 1
