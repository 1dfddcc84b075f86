"""Pages that escape as their template engine asks for repeat whatever they are given, without a finding."""

from __future__ import annotations

import flask
import pytest

from divertor_sensor.detectors import Candidate, xss
from divertor_sensor.sources.inputs import Input
from divertor_sensor.work import Work

PLACES = [
    "<title>{{ q }} - Shop</title>",
    '<meta content="{{ q }}">',
    "<script>var q = {{ q|tojson }};</script>",
    '<script>var s = {{ {"q": q}|tojson }}; if (s.q < 1) { go("x"); }</script>',
    '<script type="application/ld+json">{"name": {{ q|tojson }}}</script>',
    '<body onload="init({{ q|tojson|forceescape }})">',
    "<body onload='init({{ q|tojson }})'>",
    '<input value="{{ q }}">',
    "<textarea>{{ q }}</textarea>",
    '<option value="{{ q }}" selected>{{ q }}</option>',
    "<!-- {{ q }} -->",
    "<p data-x='{{ q }}'>{{ q|striptags }}{{ q|upper }}{{ q|truncate(10) }}</p>",
    '<a href="/x?q={{ q|urlencode }}&amp;p=2">next</a>',
    '<a href="/x/{{ q }}">',
]
VALUES = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    '" onmouseover="x',
    "javascript:void(0)",
    "');alert(1)//",
    "$HOME `ls`",
    "${alert(1)}",
    "</textarea><script>alert(1)</script>",
    "--><b onclick=x()>",
    'O\'Brien & "Sons"',
    "it's 3 < 4 && a > b",
    "&#39;);alert(1)//",
    '{"a": "<b>"}',
    "\\'; x = \\\"",
]
APP = flask.Flask("pages")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", VALUES)
def test_an_escaped_page_gives_no_finding(place: str, value: str) -> None:
    with APP.app_context():
        page = flask.render_template_string(f"<html>{place}</html>", q=value)
    origin = Input("query", "q", value)
    candidates = [Candidate(text, origin) for text in xss.select(value)]
    assert xss.judge(page, candidates, Work()).finding is None


def test_every_page_was_tried() -> None:
    assert len(PLACES) * len(VALUES) == 210
