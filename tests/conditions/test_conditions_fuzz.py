"""The fuzzer itself: it begins with what is right, and a short run of it finds nothing."""

from __future__ import annotations

import signal

import pytest
from bench.fuzz.__main__ import (
    TARGETS,
    TimeLimit,
    at_most,
    run,
    try_blueprint,
    try_condition,
    try_selector,
)
from bench.fuzz.inputs import BLUEPRINTS, CONDITIONS, SELECTORS
from bench.fuzz.queries import EQL, EXPRESSIONS, FILTERS, QUERIES


def test_the_fuzzer_begins_with_texts_that_are_read() -> None:
    for text in CONDITIONS:
        try_condition(text)
    for text in BLUEPRINTS:
        try_blueprint(text)
    for text in SELECTORS:
        try_selector(text)
    assert (len(CONDITIONS), len(BLUEPRINTS), len(SELECTORS)) == (12, 4, 5)


def test_the_fuzzer_of_filters_begins_with_texts_that_are_read() -> None:
    texts = {"queries": QUERIES, "expressions": EXPRESSIONS, "eql": EQL, "filters": FILTERS}
    read = 0
    for target, right in texts.items():
        for text in right:
            TARGETS[target][1](text)
            read += 1
    assert read == 17


@pytest.mark.parametrize("target", TARGETS)
def test_a_short_run_crashes_and_hangs_nowhere(target: str) -> None:
    counts = run(target, 1500, seed=0, limit=5.0)
    assert counts.shown == []
    assert counts.inputs == 1500 and counts.read > 50 and counts.refused > 500


def test_what_takes_too_long_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def forever(text: str) -> None:
        while True:
            pass

    before = signal.getsignal(signal.SIGVTALRM)
    monkeypatch.setitem(TARGETS, "forever", (lambda rng: "x", forever))
    assert run("forever", 2, seed=0, limit=0.01).hung == 2
    with pytest.raises(TimeLimit), at_most(0.01):
        forever("x")
    assert signal.getsignal(signal.SIGVTALRM) is before
