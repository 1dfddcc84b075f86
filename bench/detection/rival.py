"""Another detector as a process: `python rival.py NAME` answers questions on stdin. Started by `peers`, in
the environment that has the detector; needs nothing of the project.

A line in is a JSON list of `[dialect, statement, input]`, a line out the list of verdicts, true for an
attack. The first line out is the detector's version, or `null` when it is not installed.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

Verdict = Callable[[str, str, str], bool]


def zen() -> Verdict:
    """Aikido Zen's own function, with the dialect's name as it has them."""
    detect = importlib.import_module("aikido_zen.vulnerabilities.sql_injection").detect_sql_injection
    names = {"postgresql": "postgres"}
    return lambda dialect, statement, value: bool(detect(statement, value, names.get(dialect, dialect)))


def libddwaf() -> Verdict:
    """ddtrace's rule for SQL injection at a sink (rasp-942-100) alone, run as its hooks do."""
    package = importlib.import_module("ddtrace.appsec")
    ddwaf = importlib.import_module("ddtrace.appsec._ddwaf")
    document = json.loads((Path(package.__path__[0]) / "rules.json").read_text())
    document["rules"] = [rule for rule in document["rules"] if rule["id"] == "rasp-942-100"]
    for name in ("processors", "scanners"):
        document.pop(name, None)
    waf = ddwaf.DDWaf(json.dumps(document).encode(), b"", b"")

    def verdict(dialect: str, statement: str, value: str) -> bool:
        context = waf._at_request_start()
        waf.run(context, {"server.request.query": {"q": value}}, timeout_ms=1000)
        sink: dict[str, Any] = {"server.db.statement": statement, "server.db.system": dialect}
        found = waf.run(waf.new_subcontext(context), sink, timeout_ms=1000)
        return bool(found.data)

    return verdict


def libinjection() -> Verdict:
    """libinjection looks at the input alone."""
    detect = importlib.import_module("libinjection").is_sql_injection

    def verdict(dialect: str, statement: str, value: str) -> bool:
        found = detect(value)
        return bool(found["is_sqli"] if isinstance(found, dict) else found)

    return verdict


#: By name: the package whose version is told, and what makes the function.
RIVALS: dict[str, tuple[str, Callable[[], Verdict]]] = {
    "zen": ("aikido-zen", zen),
    "libddwaf": ("ddtrace", libddwaf),
    "libinjection": ("libinjection-python", libinjection),
}


def main(name: str) -> None:
    answers, sys.stdout = sys.stdout, sys.stderr
    package, make = RIVALS[name]
    try:
        verdict, version = make(), metadata.version(package)
    except (ImportError, metadata.PackageNotFoundError) as problem:
        print(problem, file=sys.stderr)
        print("null", file=answers, flush=True)
        return
    print(json.dumps(version), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps([verdict(*question) for question in json.loads(line)]), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
