"""Jinja templates of rules: a payload is data, and nothing makes rendering fail badly or last."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.rules.wording.jinja import MAX_OUTPUT, RenderError, parse_jinja

RENDERED = [
    ("{{ user }} {{ _data['a.b'] }}", "x 5"),
    ("{{ host.name | upper }}{{ gone }}", "H"),
    ("{% for one in tags %}{{ loop.index }}{{ one }} {% endfor %}", "1a 2b "),
    ("{{ 'yes' if user == 'x' else 'no' }} {{ tags | join('-') }}", "yes a-b"),
    ("{{ '{:.2f}'.format(3.14159) }} {{ '%d' % 3 }} {{ user ~ '!' ~ 1 }}", "3.14 3 x!1"),
    (
        "{% set n = namespace(s=0) %}{% for i in range(4) %}{% set n.s = n.s + i %}{% endfor %}{{ n.s }}",
        "6",
    ),
]
VALUES: dict[str, Any] = {
    "user": "x",
    "a.b": 5,
    "host": {"name": "h"},
    "tags": ["a", "b"],
    "many": list(range(999)),
}

STOPPED = [
    ("{{ ''.__class__.__mro__ }}", "unsafe"),
    ("{{ tags.append('c') }}", "unsafe"),
    ("{% for a in many %}{% for b in many %}{% endfor %}{% endfor %}", "turns of loops"),
    ("{{ 'x' * 10**9 }}", "too long"),
    ("{{ 10**9 * 'x' }}", "too long"),
    ("{{ 9**999999 }}", "too many digits"),
    (
        "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "too long",
    ),
    (
        "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "too long",
    ),
    ("{{ '{:999999999}'.format(1) }}", "too wide"),
    ("{{ '%999999999d' % 1 }}", "too wide"),
    ("{{ 'x' | center(999999999) }}", "more than"),
    ("{{ 'x'.ljust(999999999) }}", "more than"),
    ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "calls itself"),
    ("{{ gone.deeper }}", "undefined"),
    ("{{ 1 / 0 }}", "division by zero"),
    ("{{ range(10**9) }}", "range"),
    ("{{ '%999999999d' | format(1) }}", "too wide"),
    ("{{ '%*d' | format(999999999, 1) }}", "too wide"),
    ("{{ '%-*d' % (999999999, 1) }}", "too wide"),
    ("{{ [1] | tojson(indent=999999999) }}", "more than"),
    ("{{ [1] | tojson(999999999) }}", "more than"),
]


@pytest.mark.parametrize(("source", "text"), RENDERED)
def test_a_template_is_filled(source: str, text: str) -> None:
    assert parse_jinja(source).render(VALUES) == text


@pytest.mark.parametrize(("source", "why"), STOPPED)
def test_a_template_that_goes_too_far_is_stopped(source: str, why: str) -> None:
    with pytest.raises(RenderError, match=f"(?i){why}"):
        parse_jinja(source).render(VALUES)


def test_all_are_there() -> None:
    assert (len(RENDERED), len(STOPPED)) == (6, 21)


@pytest.mark.parametrize(
    "source", ["{{ a", "{% for %}", "{% include 'x' %}", "{% import 'x' as y %}", "{{ a | nope }}"]
)
def test_what_is_no_template_is_refused_when_it_is_read(source: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_jinja(source)


def test_values_are_escaped_and_the_authors_text_is_not() -> None:
    assert (
        parse_jinja("<b>{{ a }}</b>").render({"a": "<i>"}, lambda text: text.replace("<", "&lt;"))
        == "<b>&lt;i></b>"
    )


def test_output_is_bounded() -> None:
    assert len(parse_jinja("{% for i in range(50000) %}abcdef{% endfor %}").render({})) == MAX_OUTPUT


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_a_payload_is_never_read_as_a_template(payload: str) -> None:
    assert parse_jinja("[{{ a }}]").render({"a": payload}) == f"[{payload}]"


@settings(max_examples=60, deadline=None)
@given(st.text("{}%ab .|()[]'*+1", max_size=30))
def test_any_template_is_refused_stopped_or_rendered(source: str) -> None:
    try:
        parse_jinja(source).render(VALUES)
    except ValueError:
        pass
