"""Header injection, response splitting (CWE-113; OWASP A03:2021 Injection; CAPEC-34).

Rule: no line break and no NUL in a response header's name or value may come from an input. With something
after it, it is an attack: another header, or another response. At the end of an input it shows that nothing
is checked, a vulnerability.

What it does not do: judge what an input says within a header's value (`open_redirect` does for addresses).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from divertor_sensor.detectors import UNTOUCHED, Candidate, Detector, Finding, Judgement, worst
from divertor_sensor.sources.derived import derived_values
from divertor_sensor.work import Work

_BREAK = re.compile(r"[\r\n\0]")
_HARMLESS_END = re.compile(r"[\r\n]++\s*+")
_SEARCH = 16


def select(value: str) -> list[str]:
    """The forms of an input with a line break or NUL in them."""
    return [form for form in derived_values(value) if _BREAK.search(form)]


def judge(statement: str, candidates: Sequence[Candidate], work: Work) -> Judgement:
    """Whether a candidate breaks the header line `statement`.

    :raises Spent: there is too much to look at.
    """
    if not _BREAK.search(statement):
        return UNTOUCHED
    touched, finding = False, None
    for candidate in candidates:
        work.spend(2 + (len(statement) + len(candidate.text)) // _SEARCH)
        if candidate.text not in statement:
            continue
        touched = True
        first = _BREAK.search(candidate.text)
        ends = first is not None and _HARMLESS_END.fullmatch(candidate.text, first.start())
        finding = worst(finding, Finding(candidate.origin, not ends))
    return Judgement(touched, finding)


def _is_innocent(line: str) -> bool:
    """Whether it is one line."""
    return _BREAK.search(line) is None


def _marks(line: str) -> list[str]:
    """The breaks, as they or their encoded forms stand in a request."""
    return ["\r", "\n", "\0", "%0", "\\n", "\\r", "\\u0"]


DETECTOR = Detector(
    type="header_injection",
    cwe="CWE-113",
    owasp="A03:2021",
    select=select,
    judge=judge,
    is_innocent=_is_innocent,
    marks=_marks,
)
