"""Templates."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.rules.wording.template import literal, parse_template


def filled(text: str, *fields: str) -> str:
    return parse_template(text, fields, {"who": "user"}).render(lambda field: f"<{field}>")


def test_holes_are_filled_in_order_by_number_or_by_name() -> None:
    assert filled("{} and {}", "a", "b") == "<a> and <b>"
    assert filled("{1} {0} {1}", "a", "b") == "<b> <a> <b>"
    assert filled("{who} {{}}") == "<user> {}"


def test_values_are_never_read_as_templates() -> None:
    assert parse_template("{}", ("a",)).render(lambda _field: "{} {0.__class__}") == "{} {0.__class__}"


def test_a_literal_has_no_holes() -> None:
    assert literal("{} {x}").render(str) == "{} {x}"


@pytest.mark.parametrize(
    "text",
    [
        "{} {0}",
        "{0} {}",
        "{1}",
        "{x}",
        "{0.a}",
        "{0[a]}",
        "{0!r}",
        "{0:>5000}",
        "{0:{0}}",
        "{0:%Y}",
        "{",
        "}",
        "{²}",
    ],
)
def test_a_hole_that_asks_for_more_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_template(text, ("a",))


FORMATS = [
    ("{:.2f}", 3.14159, "3.14"),
    ("{0:>5}", "a", "    a"),
    ("{:,}", 1234567, "1,234,567"),
    ("{:.1%}", 0.256, "25.6%"),
    ("{:03d}", 7, "007"),
    ("{:.2f}", "no number", "no number"),
    ("{:d}", None, "None"),
    ("{:c}", 2**70, str(2**70)),
    ("{:>9}", ["a"], "['a']"),
]


@pytest.mark.parametrize(("text", "value", "shown"), FORMATS)
def test_a_format_shapes_what_it_fits_and_leaves_the_rest(text: str, value: object, shown: str) -> None:
    template = parse_template(text, ("a",))
    assert template.render(str, lambda hole: hole.formatted(value)) == shown


@settings(max_examples=300, deadline=None)
@given(st.text("{}0a.[]!:² ", max_size=12))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    try:
        template = parse_template(text, ("a", "b"))
    except ValueError:
        return
    assert isinstance(template.render(lambda _field: "{"), str)
