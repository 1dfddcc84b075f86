"""What the detectors of paths and of programs' options promise beyond their vectors."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor_sensor.detectors import Candidate, Finding, arguments, path
from divertor_sensor.sources.inputs import Input
from divertor_sensor.work import Spent, Work

WORDS = st.lists(
    st.sampled_from(["-o", "--", "-x y", "a'b", "file", "-", "--upload-pack=id", ""]), max_size=6
)


def finding(words: list[str], value: str) -> Finding | None:
    if not arguments.is_steerable(words):
        return None
    origin = Input("query", "q", value)
    candidates = [Candidate(text, origin) for text in arguments.select(value)]
    return arguments.judge(arguments.joined(words), candidates, Work()).finding


@given(WORDS, st.sampled_from(["-o", "--upload-pack=id", "-x y", "file"]))
@settings(max_examples=300, deadline=None)
def test_an_option_of_an_input_is_found_before_the_end_of_options_and_never_after(
    words: list[str], value: str
) -> None:
    before = words[: words.index("--")] if "--" in words else words
    is_option = value.startswith("-") and any(word.startswith(value) for word in before)
    assert (finding(["git", *words], value) is not None) == is_option


NAMES = {
    "/usr/bin/git": True,
    "git": True,
    "python3.11": True,
    "chromium-browser": True,
    "gitk": False,
    "./mytool": False,
    "": False,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_program_is_known_by_its_name(name: str) -> None:
    assert arguments.is_steerable([name, "-x"]) is NAMES[name]


def test_a_program_is_found_behind_those_that_start_it() -> None:
    assert arguments.is_steerable(["sudo", "-u", "backup", "/usr/bin/tar", "-x"])
    assert not arguments.is_steerable(["sudo", "-u", "backup", "mytool", "-x"])


@pytest.mark.parametrize("piece", ["-", "'", "- ", "-a ", "\\", '"'])
def test_a_long_line_takes_linear_time(piece: str) -> None:
    value, started = "-" + piece * 2_000, time.process_time()
    with suppress(Spent):
        finding(["git", *([value] * 200)], value)
    assert time.process_time() - started < 3


@pytest.mark.parametrize("piece", ["/", "../", "..", "\\", "..\\", ";", "%2e", "a/", "/.", "file:", "\0"])
def test_a_long_path_takes_linear_time(piece: str) -> None:
    value, started = piece * 100_000, time.process_time()
    origin = Input("query", "q", value)
    with suppress(Spent):
        candidates = [Candidate(text, origin) for text in path.select(value)]
        path.judge(f"/srv/{value}", candidates, Work())
        path.judge(f"/srv/{value[:4000]}", [Candidate(value[:3900], origin)], Work())
    assert time.process_time() - started < 3
