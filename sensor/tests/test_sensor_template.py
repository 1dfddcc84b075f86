"""Templates made from text in a request, by each engine: an input may be text in them, and nothing more."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import bottle  # type: ignore[import-untyped, unused-ignore]
import django  # type: ignore[import-untyped, unused-ignore]
import flask
import jinja2
import pytest
from django.conf import settings as django_settings  # type: ignore[import-untyped, unused-ignore]
from django.template import Context, Engine, Template  # type: ignore[import-untyped, unused-ignore]
from jinja2.sandbox import SandboxedEnvironment
from mako.template import Template as MakoTemplate  # type: ignore[import-untyped, unused-ignore]
from tornado.template import DictLoader
from tornado.template import Template as TornadoTemplate

from divertor_sensor import AttackInterrupted, context
from divertor_sensor.detectors import Candidate
from divertor_sensor.detectors.template import BOTTLE, BRACES, MAKO, Syntax, detector_for
from divertor_sensor.reports.detection import Detection
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor
from divertor_sensor.sources.inputs import Input
from divertor_sensor.work import Spent, Work

MakeSensor = Callable[..., Sensor]
BRACKETS: dict[str, Any] = {"variable_start_string": "[[", "variable_end_string": "]]"}


def request(sensor: Sensor, value: str) -> Request:
    made = Request(sensor, lambda: Head("POST", "/", "", {"content-type": "text/plain"}, ""))
    made.body.record(value.encode())
    return made


def render_flask(source: str) -> str:
    app = flask.Flask("shop")
    with app.app_context():
        return flask.render_template_string(source)


#: What makes a template, and an input that is code in its language.
ENGINES: dict[str, tuple[Callable[[str], Any], str]] = {
    "jinja2.Template": (lambda text: jinja2.Template(text).render(), "{{ 7*7 }}"),
    "Environment.from_string": (
        lambda text: jinja2.Environment().from_string(text).render(),
        "{% set x=1 %}",
    ),
    "Environment.from_string by name": (
        lambda text: jinja2.Environment().from_string(source=text),
        "{{7*7}}",
    ),
    "Environment.compile": (lambda text: jinja2.Environment().compile(text), "{{7*7}}"),
    "an environment with other tags": (
        lambda text: jinja2.Environment(**BRACKETS).from_string(text),
        "[[7*7]]",
    ),
    "a sandbox": (lambda text: SandboxedEnvironment().from_string(text), "{{7*7}}"),
    "render_template_string": (render_flask, "{{ config }}"),
    "mako": (lambda text: MakoTemplate(text).render(), "${7*7}"),
    "mako by name": (lambda text: MakoTemplate(text=text).render(), "<% import os %>"),
    "mako line": (lambda text: MakoTemplate("x\n" + text).render(), "% for i in range(9):\n% endfor"),
    "django": (lambda text: Engine().from_string(text).render(Context()), "{{ settings.SECRET_KEY }}"),
    "django.Template": (lambda text: Template(text, engine=Engine()).render(Context()), "{% debug %}"),
    "tornado": (lambda text: TornadoTemplate(text).generate(), "{{ 7*7 }}"),
    "tornado bytes": (lambda text: TornadoTemplate(text.encode()).generate(), "{% import os %}"),
    "bottle": (lambda text: bottle.SimpleTemplate(text).render(), "{{7*7}}"),
    "bottle line": (lambda text: bottle.template("x\n" + text), "% import os\n"),
}
EXPRESSIONS = ["config.items()", "7*7", "''.__class__"]


@pytest.fixture(scope="module", autouse=True)
def _django() -> None:
    if not django_settings.configured:
        django_settings.configure()
    django.setup()


@pytest.mark.parametrize("name", ENGINES)
def test_a_tag_from_an_input_is_stopped(name: str, make_sensor: MakeSensor, kept: list[Detection]) -> None:
    make, attack = ENGINES[name]
    with pytest.raises(AttackInterrupted):
        context.run_in(request(make_sensor(), attack), make, f"{attack} is what you asked for")
    assert [(found.type, found.signal) for found in kept] == [("template_injection", "attack")]


@pytest.mark.parametrize("name", ENGINES)
def test_text_from_an_input_is_left_alone(name: str, make_sensor: MakeSensor, kept: list[Detection]) -> None:
    make, _ = ENGINES[name]
    honest = "O'Brien, 100% sure: 5 > 3 & {so on}"
    context.run_in(request(make_sensor(), honest), make, f"Hello {honest}")
    assert kept == []


@pytest.mark.parametrize("name", ENGINES)
def test_a_template_of_the_app_is_left_alone(
    name: str, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    """Also outside of a request."""
    make, attack = ENGINES[name]
    with suppress(Exception):
        make(attack)
    with suppress(Exception):
        context.run_in(request(make_sensor(), "hello there"), make, attack)
    assert kept == []


def test_a_constant_that_equals_an_input_is_left_alone(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    made = context.run_in(request(make_sensor(), "{{ 7*7 }}"), lambda: jinja2.Template("{{ 7*7 }}"))
    assert made.render() == "49" and kept == []


def test_a_template_that_a_loader_brings_is_left_alone(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    tag = "".join(["{{ 7", "*7 }}"])
    environment = jinja2.Environment(loader=jinja2.DictLoader({"x": tag}))
    assert context.run_in(request(make_sensor(), tag), environment.get_template, "x").render() == "49"
    loader = DictLoader({"x": tag})
    assert context.run_in(request(make_sensor(), tag), loader.load, "x").generate() == b"49"
    assert kept == []


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_from_an_input_is_stopped(expression: str, make_sensor: MakeSensor) -> None:
    with pytest.raises(AttackInterrupted):
        context.run_in(
            request(make_sensor(), expression), jinja2.Environment().compile_expression, expression
        )


def hostile(syntax: Syntax, source: str, value: str) -> bool:
    detector, origin = detector_for(syntax), Input("query", "q", value)
    candidates = [Candidate(text, origin) for text in detector.select(value)]
    finding = detector.judge(source, candidates, Work()).finding
    return finding is not None and finding.hostile


LANGUAGES: list[tuple[Syntax, str, bool]] = [
    (MAKO, "${7*7}", True),
    (MAKO, "<%! import os %>", True),
    (MAKO, "x\n% for a in b:", True),
    (MAKO, "{{ 7*7 }}", False),
    (MAKO, "100% of it, $5", False),
    (MAKO, "%% escaped", False),
    (BOTTLE, "{{!x}}", True),
    (BOTTLE, "<% import os %>", True),
    (BOTTLE, "% import os", True),
    (BOTTLE, "${x}", False),
    (BRACES, "{{x}}", True),
    (BRACES, "${x} <% y %>", False),
]


@pytest.mark.parametrize(("syntax", "value", "expected"), LANGUAGES)
def test_each_language_has_its_own_tags(syntax: Syntax, value: str, expected: bool) -> None:
    assert hostile(syntax, f"{value} and so on", value) is expected


@pytest.mark.parametrize("piece", ["{{", "{%", "{# ", "}}", "{{x}}", "'{{", "${"])
def test_a_long_template_takes_linear_time(piece: str) -> None:
    text = piece * 20_000
    started = time.process_time()
    for syntax in (BRACES, MAKO, BOTTLE):
        with suppress(Spent):
            hostile(syntax, text, text[: len(text) // 2] + " ")
    assert time.process_time() - started < 3
