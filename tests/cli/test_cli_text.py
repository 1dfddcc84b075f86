"""Text on a terminal: nothing an attacker wrote is obeyed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from divertor.cli.text import clean, print_json, print_table, short_time


@given(st.text())
def test_cleaned_text_holds_nothing_a_terminal_acts_upon(text: str) -> None:
    assert clean(text).isprintable()


@given(st.text())
def test_printable_text_is_left_as_it_is(text: str) -> None:
    assert not text.isprintable() or clean(text) == text


def test_an_escape_sequence_is_spelt_out() -> None:
    assert clean("\x1b[2Jhello\n") == "\\x1b[2Jhello\\n"


def test_nothing_is_shown_for_none() -> None:
    assert clean(None) == ""


def test_json_is_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "\x1b[31m‮é"})
    printed = capsys.readouterr().out
    assert printed.isascii() and "\x1b" not in printed
    assert json.loads(printed) == {"name": "\x1b[31m‮é"}


def test_brackets_are_text_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["WHAT"], [["[red]x[/red] :smile:"]], empty="")
    assert "[red]x[/red] :smile:" in capsys.readouterr().out


def test_a_pipe_gets_long_values_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["A", "B"], [["x" * 300, "y" * 300]], empty="")
    assert "x" * 300 in capsys.readouterr().out


def test_an_empty_table_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["A"], [], empty="Nothing here.")
    assert capsys.readouterr().out == "Nothing here.\n"


def test_a_time_is_shown_to_the_second() -> None:
    assert short_time("2026-01-02T03:04:05.678Z") == "2026-01-02 03:04:05"
    assert short_time(None) == ""
