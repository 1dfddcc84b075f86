"""Documents that have their parser fetch something or grow: stopped when this parser would."""

from __future__ import annotations

import io
import time
import xml.dom.minidom
import xml.dom.pulldom
import xml.etree.ElementTree as ElementTree
import xml.sax
import xml.sax.expatreader  # here, so that no other test takes its patch back
import xml.sax.handler
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from lxml import etree, objectify  # type: ignore[import-untyped, unused-ignore]

from divertor_sensor import AttackInterrupted, context
from divertor_sensor.detectors import Candidate
from divertor_sensor.detectors import xml as detector
from divertor_sensor.reports.detection import Detection
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor
from divertor_sensor.sources.inputs import Input
from divertor_sensor.work import Spent, Work

MakeSensor = Callable[..., Sensor]
LAUGHS = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "lol" * 10}">' for n in range(8))
BOMB = f"<!DOCTYPE l [{LAUGHS}]><l>&e7;</l>"


def request(sensor: Sensor, document: str) -> Request:
    made = Request(sensor, lambda: Head("POST", "/", "", {"content-type": "application/xml"}, ""))
    made.body.record(document.encode())
    return made


def fetching() -> Any:
    return etree.XMLParser(resolve_entities=True)


def sax(document: str, external: bool) -> None:
    reader = xml.sax.make_parser()
    reader.setFeature(xml.sax.handler.feature_external_ges, external)
    reader.parse(io.StringIO(document))


FETCHING: dict[str, Callable[[str], Any]] = {
    "lxml fromstring": lambda text: etree.fromstring(text, fetching()),
    "lxml fromstring by name": lambda text: etree.fromstring(text=text.encode(), parser=fetching()),
    "lxml XML": lambda text: etree.XML(text, fetching()),
    "lxml parse": lambda text: etree.parse(io.BytesIO(text.encode()), fetching()),
    "objectify fromstring": lambda text: objectify.fromstring(
        text, objectify.makeparser(resolve_entities=True)
    ),
    "objectify XML by name": lambda text: objectify.XML(xml=text, parser=fetching()),
    "objectify parse": lambda text: objectify.parse(io.BytesIO(text.encode()), fetching()),
    "sax": lambda text: sax(text, external=True),
}
NOT_FETCHING: dict[str, Callable[[str], Any]] = {
    "lxml": lambda text: etree.fromstring(text, etree.XMLParser(resolve_entities=False)),
    "lxml parse": lambda text: etree.parse(io.StringIO(text), etree.XMLParser(resolve_entities=False)),
    "sax": lambda text: sax(text, external=False),
    "minidom": lambda text: xml.dom.minidom.parseString(text),
}
READING: dict[str, Callable[[str], Any]] = {
    "ElementTree.fromstring": lambda text: ElementTree.fromstring(text),
    "ElementTree.XML": lambda text: ElementTree.XML(text=text),
    "minidom": lambda text: xml.dom.minidom.parseString(text),
    "pulldom": lambda text: list(xml.dom.pulldom.parseString(text)),
    "sax": lambda text: xml.sax.parseString(text, xml.sax.handler.ContentHandler()),
    "lxml": lambda text: etree.fromstring(text),
    "objectify": lambda text: objectify.fromstring(text),
}


@pytest.fixture
def document(tmp_path: Path) -> str:
    """One that has a file read into itself."""
    (tmp_path / "secret").write_text("the secret")
    return f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{tmp_path}/secret">]><a>&x;</a>'


@pytest.mark.parametrize("name", FETCHING)
def test_a_fetch_is_stopped(name: str, document: str, make_sensor: MakeSensor, kept: list[Detection]) -> None:
    with pytest.raises(AttackInterrupted):
        context.run_in(request(make_sensor(), document), FETCHING[name], document)
    assert [(found.type, found.signal) for found in kept] == [("xml_external_entity", "attack")]


@pytest.mark.parametrize("name", FETCHING)
def test_a_document_of_the_app_may_fetch(
    name: str, document: str, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    """Also outside of a request."""
    FETCHING[name](document)
    context.run_in(request(make_sensor(), "<a>hello</a>"), FETCHING[name], document)
    assert kept == []


@pytest.mark.parametrize("name", NOT_FETCHING)
def test_a_parser_that_fetches_nothing_is_left_alone(
    name: str, document: str, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    context.run_in(request(make_sensor(), document), NOT_FETCHING[name], document)
    assert kept == []


def test_parameter_entities_are_seen(document: str, make_sensor: MakeSensor) -> None:
    outer = document.replace("ENTITY x", "ENTITY % x").replace('">]>', '"> %x;]>').replace("&x;", "")
    with pytest.raises(AttackInterrupted):
        context.run_in(request(make_sensor(), outer), FETCHING["lxml fromstring"], outer)


@pytest.mark.parametrize("name", READING)
def test_a_document_that_grows_is_stopped(name: str, make_sensor: MakeSensor, kept: list[Detection]) -> None:
    with pytest.raises(AttackInterrupted):
        context.run_in(request(make_sensor(), BOMB), READING[name], BOMB)
    assert len(kept) == 1


@pytest.mark.parametrize("name", [*READING, *FETCHING])
def test_an_honest_document_is_left_alone(name: str, make_sensor: MakeSensor, kept: list[Detection]) -> None:
    honest = '<!DOCTYPE a [<!ENTITY company "Smith and Sons">]><a b="c">&company; &#38; you</a>'
    context.run_in(request(make_sensor(), honest), {**READING, **FETCHING}[name], honest)
    assert kept == []


def test_the_parser_is_left_as_it_was(document: str, make_sensor: MakeSensor) -> None:
    parser = fetching()
    with pytest.raises(AttackInterrupted):
        context.run_in(request(make_sensor(), document), etree.fromstring, document, parser)
    assert etree.fromstring(document, parser).text == "the secret"


def test_a_resolver_of_the_app_is_still_asked(document: str, make_sensor: MakeSensor) -> None:
    class Catalogue(etree.Resolver):  # type: ignore[misc]
        def resolve(self, system_url: str, public_id: str, context: Any) -> Any:
            return self.resolve_string("from the catalogue", context)

    parser = fetching()
    parser.resolvers.add(Catalogue())
    found = context.run_in(request(make_sensor(), "<a/>"), etree.fromstring, document, parser)
    assert found.text == "from the catalogue"


PIECES = [
    "<!ENTITY ",
    '<!ENTITY a "',
    "<!ENTITY a '&a;'>",
    "&a;",
    "<!DOCTYPE a ",
    "<!DOCTYPE a PUBLIC '",
    "%a;<",
]


@pytest.mark.parametrize("piece", PIECES)
def test_a_long_document_takes_linear_time(piece: str) -> None:
    value, started = "<!ENTITY" + piece * 30_000, time.process_time()
    with suppress(Spent):
        origin = Input("form", "q", value)
        found = [Candidate(text, origin) for text in detector.select(value)]
        detector.judge(value, found, Work())
        detector.judge("SYSTEM file:///a", found, Work())
    assert time.process_time() - started < 2


@pytest.mark.parametrize("blank", ["\n", "\x1f", " "])
def test_blanks_in_what_may_be_base64_are_passed_over_once(blank: str) -> None:
    started = time.process_time()
    assert detector.select("a" + blank * 200_000 + ">") == []
    assert time.process_time() - started < 2  # minutes, when each blank was looked at again and again
