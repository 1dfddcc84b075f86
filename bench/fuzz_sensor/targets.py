"""What is fuzzed: every detector there is, and every reader of a request.

A target gets a text and a choice (a byte), and raises what is a fault of the sensor: `Broken`, or any
exception that the function under test lets out. Detectors are found, not listed; their vectors give the
statements and the first inputs. Pure.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from divertor_sensor import detectors
from divertor_sensor.detectors import Candidate, Detector
from divertor_sensor.detectors.template import BOTTLE, MAKO, detector_for
from divertor_sensor.sources.bodies import read_body, read_late_part, read_message
from divertor_sensor.sources.derived import derived_values
from divertor_sensor.sources.graphql import read_graphql
from divertor_sensor.sources.inputs import (
    MAX_INPUTS,
    Input,
    Inputs,
    read_cookies,
    read_headers,
    read_line,
    read_pairs,
    read_path,
)
from divertor_sensor.sources.markup import read_xml
from divertor_sensor.sources.nested import read_nested, read_token
from divertor_sensor.sources.parts import head_of
from divertor_sensor.sources.raw import raw_text
from divertor_sensor.sources.recording import Body
from divertor_sensor.work import Spent, Work


class Broken(AssertionError):
    """Something that must hold does not."""


@dataclass(frozen=True, slots=True)
class Target:
    """`attempt` gets the text and the choice; `seeds` are inputs to begin with, `words` go into others."""

    name: str
    attempt: Callable[[str, int], object]
    seeds: tuple[tuple[int, str], ...]
    words: tuple[str, ...]


_WORDS = (
    """' " ` \\ ; -- # /* */ || && or 1=1 union select sleep(1) null % %27 %2527 + = == != <> < >"""
    """ ( ) [ ] { } {{ }} {% %} ${ <% %> $( ../ ..\\ / // : @ . , | & &amp; &#39; &lt; \\u0027 \\x27 %u0027"""
    """ $ne $$ $a$ E' x' N' U&' q'[ _utf8' <script> </script> <!-- --> <![CDATA[ ]]> <!DOCTYPE"""
    """ <!ENTITY onerror= javascript: data: http:// https:// 127.0.0.1 [::ffff:7f00:1] 0x7f.1 localhost"""
    """ \"\"\" \'\'\' \\n __import__ lambda (*)(|( *) \\2a eyJ e30. boundary= name= filename="""
    """ filename*=utf-8\'\' content-disposition:form-data; multipart/form-data application/json"""
    """ !!python/ gASV \u00e9 \uff07 \uff1c \u02bc"""
).split(" ")
_WORDS += [
    " ",
    "\n",
    "\r\n",
    "\r\n\r\n",
    "\t",
    "\0",
    "--b\r\n",
    "--b--",
    "\x1b",
    "\u2028",
    "\ud800",
    "\U0001f600",
]


def targets() -> dict[str, Target]:
    """All targets by name."""
    found = {name: _detector_target(name, *each) for name, each in _detectors().items()}
    for name, (attempt, seeds) in _READERS.items():
        name = f"read {name}"
        found[name] = Target(name, attempt, tuple((0, seed) for seed in seeds), tuple(_WORDS))
    return found


def _detectors() -> dict[str, tuple[Detector, str]]:
    """Every detector, with the name of the file that declares it."""
    found: dict[str, tuple[Detector, str]] = {}
    for info in pkgutil.iter_modules(detectors.__path__):
        module = importlib.import_module(f"{detectors.__name__}.{info.name}")
        if not isinstance(getattr(module, "DETECTOR", None), Detector):
            continue
        found[info.name] = (module.DETECTOR, info.name)
        for name, detector in getattr(module, "_DETECTORS", {}).items():
            if detector is not module.DETECTOR:
                found[f"{info.name}_{name}"] = (detector, info.name)
    found["template_mako"] = (detector_for(MAKO), "template")
    found["template_bottle"] = (detector_for(BOTTLE), "template")
    return found


def _detector_target(name: str, detector: Detector, declared_in: str) -> Target:
    file = Path(detectors.__file__).parent / f"{declared_in}.vectors.json"
    vectors = json.loads(file.read_text(encoding="utf-8"))
    numbers = {template: number for number, template in enumerate(vectors["templates"])}
    templates = list(vectors["templates"].values())
    examples: list[tuple[int, str]] = []
    for verdict in ("attack", "vulnerability", "benign"):
        for template, values in vectors.get(verdict, {}).items():
            examples += [(numbers[template], value) for value in values]

    def attempt(text: str, choice: int) -> None:
        judge(detector, templates[choice % len(templates)], text, choice // len(templates))

    short = {value for _, value in examples if 1 < len(value) <= 24}
    return Target(name, attempt, tuple(examples), tuple([*_WORDS, *sorted(short)]))


def judge(detector: Detector, template: str, value: str, form: int) -> None:
    """Judge `template` with one form of `value` in it: what the app put there, or made of it.

    :raises Broken: the quick answer for a statement's skeleton contradicts the judgement.
    """
    forms = derived_values(value) if value else [""]
    statement = template.replace("{}", forms[form % len(forms)])
    origin = Input("query", "q", value)
    candidates = [Candidate(text, origin) for text in (detector.select(value) if value else ())]
    try:
        detector.judge(statement, candidates, Work())
    except Spent:
        return
    detector.is_innocent(statement)
    list(detector.marks(statement))
    if detector.skeleton is not None:
        _check_skeleton(detector, detector.skeleton(statement), statement, candidates)


def _check_skeleton(
    detector: Detector, skeleton: str | None, statement: str, candidates: Iterable[Candidate]
) -> None:
    for candidate in candidates:
        if skeleton is None or "'" in candidate.text or head_of(candidate.text) in skeleton:
            continue
        if detector.judge(statement, [candidate], Work()).finding is not None:
            raise Broken(f"{statement!r} has the skeleton {skeleton!r}, which clears {candidate.text!r}")


def _reader(read: Callable[[Inputs, str, int], object]) -> Callable[[str, int], None]:
    """A target that reads inputs: whatever comes, there are no more than allowed, and none is empty."""

    def attempt(text: str, choice: int) -> None:
        inputs = Inputs()
        read(inputs, text, choice)
        if len(inputs.values) > MAX_INPUTS:
            raise Broken(f"{len(inputs.values)} inputs")
        if not all(isinstance(found.value, str) and found.value for found in inputs.values):
            raise Broken(f"an empty input of {text!r}")

    return attempt


def _derive(text: str, choice: int) -> None:
    forms = derived_values(text) if text else [""]
    if forms[0] != text or (text and not all(forms)):
        raise Broken(f"the forms of {text!r} are {forms!r}")


def _record(text: str, choice: int) -> None:
    """A body that comes in pieces, with parts behind the bound."""
    body, raw = Body(), text.encode("utf-8", "surrogatepass")
    body.record(b"x" * (1 << 20) * (choice & 1))
    for at in range(0, len(raw), (choice >> 1) + 1):
        body.record(raw[at : at + (choice >> 1) + 1])
    inputs = Inputs()
    for part in body.late_parts():
        read_late_part(inputs, part)


_TYPES = (
    "application/x-www-form-urlencoded",
    "application/json",
    "text/xml",
    "",
    "multipart/form-data; boundary=b",
    "text/plain",
)


def _read_any_body(into: Inputs, text: str, choice: int) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    read_body(into, _TYPES[choice % len(_TYPES)], raw, choice < 192)


def _read_request_line(into: Inputs, text: str, choice: int) -> None:
    read_path(into, text)
    read_line(into, text[:9], text)


def _read_typed_body(into: Inputs, text: str, choice: int) -> None:
    """The type is the attacker's too: what stands before the first line break."""
    kind, _, content = text.partition("\n")
    read_body(into, kind, content.encode("utf-8", "surrogatepass"), True)


def _read_wide_body(into: Inputs, text: str, choice: int) -> None:
    encoding = ("utf-16", "utf-16-be", "utf-32", "utf-32-le", "latin-1", "utf-7")[choice % 6]
    errors = "replace" if encoding in ("latin-1", "utf-7") else "surrogatepass"
    read_body(into, "", text.encode(encoding, errors), True)


def _raw(text: str, choice: int) -> None:
    head, _, rest = text.partition("\n")
    headers: Mapping[str, str] = {"cookie": rest}
    raw_text(head, rest, headers, text.encode("utf-8", "surrogatepass"))


_PARTS = '--b\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\nx\r\n--b--'
_XML = """<!DOCTYPE a [<!ENTITY e "x"><!ATTLIST a b CDATA 'd'>]>
<a b='c'>&e;&#39;<![CDATA[x]]><!-- y --><i/>t</a>"""
_GRAPHQL = 'query Q($a: B) { user(name: "x\\u0027", note: """a "b" \\""" c""") { id } } # "d"'
_TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiInIG9yIDE9MSJ9."
_JSON = '{"a": {"$ne": 1, "b": ["x\'", {"$gt": "", "c": null}]}, "a\\u0027": "\\ud800"}'

_READERS: dict[str, tuple[Callable[[str, int], object], list[str]]] = {
    "derived forms": (_derive, ["%2527 or 1", "JyBvciAxPTE=", "&#39;\\u0027", "a|b' c,d", "x.$(id).jpg"]),
    "query": (
        _reader(lambda into, text, choice: read_pairs(into, "query", text)),
        ["a=1%27&b[$ne]=x&c=%C3%A9+", "f=" + _JSON, "$where=1&a[b][]=c"],
    ),
    "cookies": (
        _reader(lambda into, text, choice: read_cookies(into, text)),
        ['a="x\\054\\"y"; b=c', f"s={_TOKEN}"],
    ),
    "headers": (
        _reader(
            lambda into, text, choice: read_headers(
                into, [("authorization", text), ("x-a" + text[:8], text), ("referer", text)]
            )
        ),
        [f"Bearer {_TOKEN}", "Basic YTpi", "text/html;q=0.9"],
    ),
    "request line": (
        _reader(_read_request_line),
        ["/a/b%2fc/../d", "/é/%ff"],
    ),
    "body": (_reader(_read_any_body), ["a=b&c=%27", _JSON, _XML, _PARTS]),
    "body of any type": (
        _reader(_read_typed_body),
        [f"multipart/form-data; boundary=b\n{_PARTS}", f"multipart/x; boundary*=utf-8''b\n{_PARTS}"],
    ),
    "body of any encoding": (_reader(_read_wide_body), [_JSON, _XML]),
    "late parts": (_record, [_PARTS, _PARTS * 3]),
    "web socket message": (
        _reader(lambda into, text, choice: read_message(into, text.encode("utf-8", "surrogatepass"))),
        [_JSON, _XML, "a=b"],
    ),
    "xml": (_reader(lambda into, text, choice: read_xml(into, "xml", "", text)), [_XML]),
    "graphql": (_reader(lambda into, text, choice: read_graphql(into, text)), [_GRAPHQL]),
    "tokens": (_reader(lambda into, text, choice: read_token(into, "t", text)), [_TOKEN]),
    "nested values": (
        _reader(lambda into, text, choice: read_nested(into, "query", "q", text)),
        [_JSON, _XML, _GRAPHQL, _TOKEN, "PHhtbD48YT4nIG9yIDE8L2E+PC94bWw+", '"{\\"a\\": \\"[1]\\"}"'],
    ),
    "raw text": (_raw, ["a=%27\nb", "\\u0027\n+"]),
}
