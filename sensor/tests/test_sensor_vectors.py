"""The vectors that stand beside the detectors, all of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from divertor_sensor import detectors
from divertor_sensor.detectors import (
    Candidate,
    Detector,
    archive,
    arguments,
    code,
    deserialisation,
    header,
    ldap,
    nosql,
    path,
    redirect,
    shell,
    sql,
    ssrf,
    template,
    xml,
    xss,
)
from divertor_sensor.sources.inputs import Input
from divertor_sensor.work import Work

FOLDER = Path(detectors.__file__).parent
#: The detectors, each with the number of its vectors: one that silently stops being read is a failure.
COUNTED: dict[str, tuple[ModuleType, int]] = {
    "archive": (archive, 29),
    "arguments": (arguments, 46),
    "code": (code, 86),
    "deserialisation": (deserialisation, 35),
    "header": (header, 19),
    "ldap": (ldap, 96),
    "nosql": (nosql, 94),
    "path": (path, 37),
    "redirect": (redirect, 57),
    "shell": (shell, 57),
    "sql": (sql, 213),
    "ssrf": (ssrf, 137),
    "template": (template, 38),
    "xml": (xml, 21),
    "xss": (xss, 141),
}
DETECTORS = {name: module for name, (module, _) in COUNTED.items()}
VERDICTS = {"attack": True, "vulnerability": False, "benign": None}


def cases() -> list[tuple[str, str, str, str, str]]:
    """(detector, its dialect if it has some, verdict, statement, input) of every vector."""
    found = []
    for name in DETECTORS:
        vectors = json.loads((FOLDER / f"{name}.vectors.json").read_text(encoding="utf-8"))
        for verdict in VERDICTS:
            for place, values in vectors.get(verdict, {}).items():
                statement = vectors["templates"][place]
                dialect = vectors.get("dialects", {}).get(place, "")
                found += [(name, dialect, verdict, statement.replace("{}", value), value) for value in values]
    return found


CASES = cases()


def judged(detector: Detector, statement: str, value: str) -> bool | None:
    origin = Input("query", "q", value)
    candidates = [Candidate(text, origin) for text in detector.select(value)]
    finding = detector.judge(statement, candidates, Work()).finding
    return None if finding is None else finding.hostile


def test_every_vector_file_is_read_and_holds_what_it_should() -> None:
    assert {file.name.split(".")[0] for file in FOLDER.glob("*.vectors.json")} == set(DETECTORS)
    assert Counter(name for name, *_ in CASES) == {name: count for name, (_, count) in COUNTED.items()}


@pytest.mark.parametrize(("name", "dialect", "verdict", "statement", "value"), CASES)
def test_a_vector_is_judged_as_it_says(
    name: str, dialect: str, verdict: str, statement: str, value: str
) -> None:
    detector = sql.dialect(dialect) if dialect else DETECTORS[name].DETECTOR
    assert judged(detector, statement, value) is VERDICTS[verdict]
