"""XML external entities (CWE-611; CAPEC-221) and entity expansion (CWE-776; CAPEC-197); OWASP A05:2021.

Rule: a document from a request must not have its parser fetch anything. The statement `SYSTEM url` is what a
parser is about to fetch: when such a document names it, that is an attack, unless it is the DTD of a document
type at an address of the web, which honest documents name too and which shows a vulnerability. Any other
statement is a document about to be parsed: it is an attack when the entities it declares would expand to more
than `MAX_EXPANDED` characters and twenty times its length.

What it does not do: judge a document whose parser fetches nothing, however hostile it is, or one that came
compressed.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from urllib.parse import unquote

from divertor_sensor.detectors import UNTOUCHED, Candidate, Detector, Finding, Judgement, windows, worst
from divertor_sensor.sources.derived import base64_text
from divertor_sensor.work import Work

#: Characters that a document may grow to.
MAX_EXPANDED = 5_000_000
_MAX_GROWTH = 20
FETCHES = "SYSTEM "
_MAX_DEPTH = 64
#: A plain search looks at this many characters in the time of one step.
_SEARCH = 16
_DECLARES = ("<!DOCTYPE", "<!ENTITY")
_UTF7 = re.compile(r"encoding\s*=\s*['\"]utf-?7", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]{24,}+(?:={1,2}\s*+)?+")
_ENTITY = re.compile(r"<!ENTITY\s++(?:(%)\s++)?+([^\s\"'>]++)\s++(?:\"([^\"]*+)\"|'([^']*+)')")
_REFERENCE = re.compile(r"[&%]([^\s&%;#<>\"']{1,256}+);")
_DOCTYPE = re.compile(
    r"<!DOCTYPE\s++[^\s\[>]++\s++(?:SYSTEM|PUBLIC\s++(?:\"[^\"]*+\"|'[^']*+'))\s*+(?:\"([^\"]*+)\"|'([^']*+)')"
)


def declares(document: str) -> bool:
    """Whether a document has a document type or an entity of its own; most have none."""
    return any(mark in document for mark in _DECLARES)


def select(value: str) -> list[str]:
    """The documents in an input that declare anything: as they are, in UTF-7 or UTF-16, percent-encoded,
    escaped, or in base64.
    """
    forms = [value.replace("\0", "")]
    if _UTF7.search(value):
        forms.append(value.encode("utf-8", "replace").decode("utf-7", "replace"))
    if "%3" in value:
        forms.append(unquote(value))
    if "&lt;" in value:
        forms.append(html.unescape(value))
    if _BASE64.fullmatch(value):
        forms.append(base64_text("".join(value.split())))
    return [form for form in dict.fromkeys(forms) if declares(form)]


def judge(statement: str, candidates: Sequence[Candidate], work: Work) -> Judgement:
    """Whether a candidate has its parser fetch something, or grow without measure.

    :raises Spent: there is too much to look at.
    """
    work.spend(sum(8 + len(candidate.text) // _SEARCH for candidate in candidates))
    if statement.startswith(FETCHES):
        return _judge_fetch(statement.removeprefix(FETCHES), candidates, work)
    for candidate in candidates:
        if candidate.text in statement:
            hostile = expanded_length(statement, work) > max(MAX_EXPANDED, _MAX_GROWTH * len(statement))
            return Judgement(True, Finding(candidate.origin, True) if hostile else None)
    return UNTOUCHED


def _judge_fetch(url: str, candidates: Sequence[Candidate], work: Work) -> Judgement:
    touched, finding = False, None
    # A relative address was completed by the parser.
    name = url.rpartition("/")[2] or url
    for candidate in candidates:
        if url in candidate.text or name in candidate.text:
            touched = True
            work.spend(len(candidate.text))
            finding = worst(finding, Finding(candidate.origin, not _is_web_dtd(candidate.text, url)))
    return Judgement(True, finding) if touched else UNTOUCHED


def _is_web_dtd(document: str, url: str) -> bool:
    doctype = _DOCTYPE.search(document)
    named = doctype is not None and url in (doctype[1], doctype[2])
    return named and url.startswith(("http://www.", "https://www."))


def expanded_length(document: str, work: Work) -> int:
    """How many characters a document's entities grow to, all references in it resolved.

    :raises Spent: there are too many.
    """
    work.spend(2 * len(document))
    bodies = {match[2]: match[3] or match[4] or "" for match in _ENTITY.finditer(document)}
    if not bodies:
        return len(document)
    lengths = _Lengths(bodies, work)
    content = _ENTITY.sub("", document)
    return sum(lengths.of(name, 0) for name in _REFERENCE.findall(content)) + max(
        lengths.of(name, 0) for name in bodies
    )


class _Lengths:
    """How long each entity is once resolved."""

    def __init__(self, bodies: dict[str, str], work: Work) -> None:
        self._bodies = bodies
        self._work = work
        self._known: dict[str, int] = {}

    def of(self, name: str, depth: int) -> int:
        """The length of one entity; of a cycle, which no parser resolves, what it has until it closes."""
        if name in self._known or name not in self._bodies or depth > _MAX_DEPTH:
            return self._known.get(name, 0)
        self._known[name] = 0
        body = self._bodies[name]
        self._work.spend(8 + len(body))
        inner = sum(self.of(other, depth + 1) for other in _REFERENCE.findall(body))
        self._known[name] = len(body) + inner
        return self._known[name]


def is_innocent(statement: str) -> bool:
    """Whether nothing is fetched and nothing declared."""
    return not statement.startswith(FETCHES) and not declares(statement)


def marks(statement: str) -> list[str]:
    """What a document that has something fetched holds: the name of it."""
    if statement.startswith(FETCHES):
        return [statement.rpartition("/")[2].lower() or statement.lower()]
    return windows(statement[:1024])


DETECTOR = Detector(
    type="xml_external_entity",
    cwe="CWE-611",
    owasp="A05:2021",
    select=select,
    judge=judge,
    is_innocent=is_innocent,
    marks=marks,
)
