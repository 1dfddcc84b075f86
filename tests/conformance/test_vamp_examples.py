"""Vamp's own examples of conditions, asked of the predicate and, with real requests, of a real gateway.

A gateway for each example leads what matches to one version and the rest to the other. What an example means
is written down in `examples`, independently of both.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
from tests.conditions import test_conditions_parser as parser_cases
from tests.conformance.conftest import versions
from tests.conformance.examples import BOOLEANS, DEFINITIONS, EXAMPLES, OTHERS, RAW, Example, Sent
from tests.gateway.conftest import Gateway, new_port, over
from tests.gateway.worlds import blueprint, cluster

from divertor.conditions import RequestView, matches, parse
from divertor.errors import InputError
from divertor.model.reading import read_gateway

BY_NUMBER = [pytest.param(example, id=example.number) for example in EXAMPLES]


def lines_of(sent: Sent) -> list[tuple[str, str]]:
    """The request's headers."""
    named = [("User-Agent", sent.agent)] if sent.agent else []
    jar = "; ".join(f"{name}={value}" for name, value in sent.cookies.items())
    return [*named, *sent.headers.items(), *([("Cookie", jar)] if jar else [])]


def gateway_of(example: Example, port: int) -> str:
    """As somebody would write it: the text stands in the document as it is."""
    beta = f"{{weight: 0%, condition: {json.dumps(example.text)}}}"
    routes = f"{{shop/web/web:1/port: {{weight: 100%}}, shop/web/web:2/port: {beta}}}"
    return f"{{name: 'g{port}', port: {port}, routes: {routes}}}"


@pytest.fixture(scope="module")
def ports(gateway: Gateway) -> Iterator[dict[str, int]]:
    """Where each example's gateway listens."""
    found = {example.number: new_port() for example in EXAMPLES}
    with versions(gateway) as world:
        texts = (gateway_of(example, found[example.number]) for example in EXAMPLES)
        world.serve(blueprint(cluster("web", "1", "2")), *texts)
        yield found


@pytest.mark.parametrize("example", BY_NUMBER)
def test_the_predicate_answers_as_vamp_says(example: Example) -> None:
    condition = parse(example.text)
    for sent in example.requests:
        headers = tuple((name.lower(), value) for name, value in lines_of(sent))
        assert matches(condition, RequestView(host=sent.host, headers=headers)) is example.holds(sent), sent


@pytest.mark.parametrize("example", BY_NUMBER)
def test_the_gateway_routes_as_vamp_says(ports: dict[str, int], example: Example) -> None:
    with socket.create_connection(("127.0.0.1", ports[example.number]), timeout=10) as connection:
        for sent in example.requests:
            lines = ["GET / HTTP/1.1", f"Host: {sent.host}", *map(": ".join, lines_of(sent)), "", ""]
            reply = over(connection, "\r\n".join(lines).encode())
            assert reply.by == ("web:2" if example.holds(sent) else "web:1"), sent


@pytest.mark.parametrize("text", [pytest.param(text, id=number) for number, text in RAW])
def test_a_raw_rule_is_refused_in_a_gateway(text: str) -> None:
    with pytest.raises(InputError, match=r"^g\.yaml:1:\d+: (raw HAProxy|unexpected 'hdr_sub')"):
        read_gateway(f"{{name: g, port: 80, routes: {{a/b: {{condition: {json.dumps(text)}}}}}}}", "g.yaml")


def test_every_example_is_asked_with_requests_it_takes_and_requests_it_leaves() -> None:
    """But for those that mean always, or never."""
    for example in EXAMPLES:
        answers = {example.holds(sent) for sent in example.requests}
        assert len(answers) == (1 if example.constant else 2), example.number
    assert sum(example.constant for example in EXAMPLES) == 12


def test_every_example_is_also_a_case_of_the_parser() -> None:
    """Which says what it is read as."""
    parsed = {text for text, _ in parser_cases.OPERANDS + parser_cases.OTHERS}
    parsed |= {text.replace("%", "has cookie ") for text, _ in parser_cases.BOOLEANS}
    own_names = {example.text for example in OTHERS if example.number.startswith("1.3-u")}
    assert {example.text for example in EXAMPLES} - own_names == parsed - own_names
    assert {text for _, text in RAW} == set(parser_cases.RAW)


def test_no_example_is_missing() -> None:
    assert (len(DEFINITIONS), len(BOOLEANS), len(OTHERS), len(RAW)) == (32, 31, 12, 6)
    assert len({example.number for example in EXAMPLES} | {number for number, _ in RAW}) == 81
