"""What comes inside other values: operator documents, JSON, tokens, GraphQL, XML."""

from __future__ import annotations

import base64
import json
import time

import pytest

from divertor_sensor.sources.bodies import read_body
from divertor_sensor.sources.documents import canonical
from divertor_sensor.sources.inputs import Inputs, read_cookies, read_headers, read_pairs

ATTACK = "' or 1=1 --"


def of_query(text: str) -> Inputs:
    inputs = Inputs()
    read_pairs(inputs, "query", text)
    return inputs


def of_body(body: str | bytes, kind: str = "application/json") -> Inputs:
    inputs = Inputs()
    read_body(inputs, kind, body.encode() if isinstance(body, str) else body, True)
    return inputs


def operators(inputs: Inputs) -> set[tuple[str, str, str]]:
    """The inputs that are operator documents, or could be."""
    return {
        (source, name, value) for source, name, value in inputs.values if '{"$' in value[:3] or name == ""
    }


def values(inputs: Inputs) -> set[str]:
    return {value for _, _, value in inputs.values}


OPERATORS: dict[str, tuple[Inputs, set[tuple[str, str, str]]]] = {
    "in a field": (of_body('{"user": {"$ne": null}}'), {("json", "user", '{"$ne":null}')}),
    "at the top": (of_body('{"$where": "1"}'), {("json", "", '{"$where":"1"}')}),
    "in a list": (of_body('[{"a": [{"$gt": 1.5}]}]'), {("json", "[0].a[0]", '{"$gt":1.5}')}),
    "with an escaped sign": (of_body('{"a": {"\\u0024ne": "é"}}'), {("json", "a", '{"$ne":"\\u00e9"}')}),
    "in each other": (
        of_body('{"b": {"$not": {"$in": [2, 1], "$a": true}}}'),
        {("json", "b", '{"$not":{"$a":true,"$in":[2,1]}}'), ("json", "b.$not", '{"$a":true,"$in":[2,1]}')},
    ),
    "in a parameter": (of_query('f={"a":{"$ne":1}}'), {("query", "f.a", '{"$ne":1}')}),
    "in brackets": (of_query("user[$ne]=x&z=1"), {("query", "user", '{"$ne":"x"}')}),
    "in encoded brackets": (of_query("user%5B%24ne%5D="), {("query", "user", '{"$ne":""}')}),
    "in deep brackets": (of_query("a[b][$gt]=&a[b][$lt]=z"), {("query", "a.b", '{"$gt":"","$lt":"z"}')}),
    "of a list in brackets": (of_query("a[$in][]=x&a[$in][]=y"), {("query", "a", '{"$in":["x","y"]}')}),
    "with a number in brackets": (
        of_query("a[$gt]=0"),
        {("query", "a", '{"$gt":"0"}'), ("query", "a", '{"$gt":0}')},
    ),
    "as a field's name": (
        of_query("n=x&$where=1y"),
        {("query", "", '{"$where":"1y","n":"x"}'), ("query", "", '{"$where":"1y"}')},
    ),
    "in a multipart form": (
        of_body(
            '--b\r\ncontent-disposition: form-data; name="u[$ne]"\r\n\r\nx\r\n--b--',
            "multipart/form-data; boundary=b",
        ),
        {("form", "u", '{"$ne":"x"}')},
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_document_is_an_input(name: str) -> None:
    inputs, expected = OPERATORS[name]
    assert operators(inputs) == expected


def test_every_place_of_an_operator_document_is_tried() -> None:
    assert len(OPERATORS) == 13


def test_the_text_of_an_operator_document_is_canonical() -> None:
    document = {"$in": [1, "é", None, 1.5, {"b": False, "a": []}], "$a": {}}
    assert ("json", "q", canonical(document)) in operators(of_body(json.dumps({"q": document})))


def test_an_honest_document_is_no_operator_document() -> None:
    assert operators(of_body('{"price": {"amount": "$5", "cur$": 1}}')) == set()


def test_operators_nested_without_end_are_bounded_and_told() -> None:
    inputs = of_body('{"$a":' * 60 + '"' + "x" * 100_000 + '"' + "}" * 60)
    assert not inputs.complete and sum(map(len, values(inputs))) < 400_000


def read(document: str | bytes) -> set[tuple[str, str]]:
    """Names and values of an XML body."""
    inputs = of_body(document, "application/xml")
    return {(name, value) for source, name, value in inputs.values if source == "xml"}


#: What an app's parser makes of each document: a name and the value it must have been given.
DOCUMENTS: dict[str, tuple[str | bytes, tuple[str, str]]] = {
    "an element": ("<a><b>' or 1</b></a>", ("a.b", "' or 1")),
    "an attribute": ("<a b = '\" or 1'/>", ("a@b", '" or 1')),
    "an attribute over two lines": ('<a b="\' or\n1"/>', ("a@b", "' or 1")),
    "a CDATA section": ("<a>x<![CDATA[' or <1>]]>y</a>", ("a", "x' or <1>y")),
    "an escaped text": ("<a>&apos; or &#49;&#x3d;1 &lt; 2</a>", ("a", "' or 1=1 < 2")),
    "a text around a comment": ("<a>' o<!-- > -->r 1</a>", ("a", "' or 1")),
    "a text before a comment": ("<a>' or 1<!-- -->x</a>", ("a", "' or 1")),
    "a text around elements": ("<a>' <i>or</i> 1</a>", ("a", "' or 1")),
    "a tail": ("<a><i/>' or 1</a>", ("a", "' or 1")),
    "an entity": ('<!DOCTYPE a [<!ENTITY e "\' or 1">]><a>x&e;</a>', ("a", "x' or 1")),
    "an entity within one": (
        "<!DOCTYPE a [<!ENTITY e '&#38;#39;'><!ENTITY f '&e; or 1'>]><a>&f;</a>",
        ("a", "' or 1"),
    ),
    "an entity that holds elements": (
        '<!DOCTYPE a [<!ENTITY e "<b>\' or 1</b>">]><a>&e;</a>',
        ("b", "' or 1"),
    ),
    "an entity declared by another": (
        "<!DOCTYPE a [<!ENTITY % p '<!ENTITY e \"&#39; or 1\">'> %p;]><a>&e;</a>",
        ("a", "' or 1"),
    ),
    "a default of the document type": (
        "<!DOCTYPE a [<!-- ' --><!ATTLIST a b CDATA \"' or 1\">]><a/>",
        ("(dtd)", "' or 1"),
    ),
    "a document after a byte order mark": ("\ufeff<a>' or 1</a>".encode(), ("a", "' or 1")),
    "a document in UTF-16": ("<a>' or \u00e9</a>".encode("utf-16"), ("a", "' or \u00e9")),
    "a document in UTF-16 without a mark": ("<a>' or \u00e9</a>".encode("utf-16-be"), ("a", "' or \u00e9")),
    "a document in UTF-32": ("<a>' or \u00e9</a>".encode("utf-32"), ("a", "' or \u00e9")),
    "a document in Latin-1": (
        '<?xml version="1.0" encoding="ISO-8859-1"?><a>\' or \u00e9</a>'.encode("latin-1"),
        ("a", "' or \u00e9"),
    ),
    "a document in UTF-7": (b'<?xml version="1.0" encoding="utf-7"?><a>+ACc- or 1</a>', ("a", "' or 1")),
    "a document that breaks off": ("<a><b>' or 1", ("a.b", "' or 1")),
    "a document with a stray sign": ("<a>x < ' or 1</a>", ("a", "x < ' or 1</a>")),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_values_of_an_xml_document_are_inputs(name: str) -> None:
    document, expected = DOCUMENTS[name]
    assert expected in read(document)


def test_every_kind_of_xml_document_is_read() -> None:
    assert len(DOCUMENTS) == 22


def test_entities_that_explode_are_bounded_and_told() -> None:
    declared = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    inputs = of_body(f'<!DOCTYPE a [<!ENTITY e0 "lol">{declared}]><a>&e11;</a>', "text/xml")
    assert not inputs.complete and sum(map(len, values(inputs))) < 2_000_000


def test_elements_without_end_are_bounded_and_told() -> None:
    assert not of_body("<a>x" * 100_000, "text/xml").complete


def token(**claims: object) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "none", "kid": "../k"}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."


def test_the_claims_and_header_fields_of_a_token_are_inputs() -> None:
    inputs = Inputs()
    read_headers(inputs, [("authorization", "Bearer " + token(sub=ATTACK, roles=[{"n": "a b"}]))])
    found = {(source, name.partition(".")[2], value) for source, name, value in inputs.values}
    assert {("jwt", "sub", ATTACK), ("jwt", "roles[0].n", "a b"), ("jwt", "kid", "../k")} <= found


def test_a_token_in_a_cookie_a_parameter_or_a_document_is_read() -> None:
    inputs, text = of_query(f"next=x&t={token(sub=ATTACK)}"), token(sub="' or 2")
    read_cookies(inputs, f"a=b; session={text}")
    inputs.values += of_body(json.dumps({"id": [token(sub="' or 3")]})).values
    assert {ATTACK, "' or 2", "' or 3"} <= values(inputs)


def test_a_token_whose_parts_begin_with_blanks_is_read() -> None:
    head, claims = (base64.b64encode(part).decode() for part in (b' {"a":1}', b'\n{"s":"\' or"}'))
    inputs = Inputs()
    read_headers(inputs, [("authorization", f"Bearer {head.rstrip('=')}.{claims.rstrip('=')}.x")])
    assert "' or" in values(inputs)


def test_an_operator_document_in_a_token_is_an_input() -> None:
    assert ("jwt", "t.user", '{"$ne":""}') in set(of_query("t=" + token(user={"$ne": ""})).values)


GRAPHQL = r'''
# "not this"
query Find($id: ID!, $f: F) {
  user(name: "' or \u0031=1", id: $id, note: """
    first "quoted"
      second \"""
  """) { id, posts(tags: ["a b", "c'"]) }
}'''


def test_graphql_in_json_gives_its_strings_and_its_variables() -> None:
    inputs = of_body(json.dumps({"query": GRAPHQL, "variables": {"f": {"n": ATTACK}}}))
    found = {(source, name, value) for source, name, value in inputs.values if name != "query"}
    assert found == {
        ("graphql", "name", "' or 1=1"),
        ("graphql", "note", '\n    first "quoted"\n      second """\n  '),
        ("graphql", "note", 'first "quoted"\n  second """'),
        ("graphql", "", "a b"),
        ("graphql", "", "c'"),
        ("json", "variables.f.n", ATTACK),
    }


def test_graphql_in_a_body_of_its_own_or_in_the_query_is_read() -> None:
    inputs = of_query('query={user(name:"%27%20or%201"){id}}')
    inputs.values += of_body('{user(name:"\' or 2"){id}}', "application/graphql").values
    assert {"' or 1", "' or 2"} <= values(inputs)


def test_json_inside_json_inside_a_parameter_is_read() -> None:
    inner = json.dumps({"a": ["x", {"b": ATTACK}]})
    assert ("query", "f.data.a[1].b", ATTACK) in set(of_query("f=" + json.dumps({"data": inner})).values)


def test_xml_in_a_parameter_is_read_also_in_base64() -> None:
    document = "<saml><id>' or 1</id></saml>"
    encoded = base64.b64encode(document.encode()).decode()
    assert ("query", "x.saml.id", "' or 1") in set(of_query(f"x={document}").values)
    assert ("query", "x.saml.id", "' or 1") in set(of_query(f"x={encoded}").values)


@pytest.mark.parametrize(
    "text",
    [
        "<" * 400_000,
        "<!--" * 100_000,
        "<a " + "b" * 400_000,
        "<a " + 'b="' * 130_000,
        "<!DOCTYPE a [" + "<!ENTITY a 'b" * 30_000,
        "<!DOCTYPE a [" + "<!ENTITY a 'b'>" * 30_000,
        "<!DOCTYPE a [<!ATTLIST a b CDATA" + " 'c'" * 100_000,
        "<a>" * 130_000,
        "<a>b" * 30_000 + "</a>" * 30_000,
        "&" * 400_000,
        "<a>&#" * 80_000,
        '{"a":' * 60 + '"\\' * 100_000,
        "{query" + 'a:"' * 130_000,
        "{" + "a" * 400_000 + '"',
        "{a" + ": " * 200_000 + '"',
        "eyJ" * 130_000,
        "eyJhIjoi." * 40_000,
        '{"""' + 'a\\"""' * 60_000,
        "[" * 400_000,
        '{"$a":[' * 50_000,
        "a[$b]" * 80_000 + "=x",
        "a[b]=x&" * 50_000,
        "&".join(f"a{'[$b]' * (n % 20)}=x" for n in range(10_000)),
    ],
)
def test_reading_takes_linear_time(text: str) -> None:
    started = time.process_time()
    for kind in ("", "application/json", "text/xml"):
        of_body(text, kind)
    assert time.process_time() - started < 3
