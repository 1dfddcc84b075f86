"""A detection as a trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from divertor.cli.trace import finding, trace

SOURCE = "import x\n\n\ndef login():\n    # hole\n    run(query)\n    return 1\n"


def detection(file: str, source: str = "run(query)", **changes: Any) -> dict[str, Any]:
    return {
        "id": "d1",
        "timestamp": "2026-01-01T00:00:00.000000Z",
        "type": "sql_injection",
        "cwe": "CWE-89",
        "signal": "attack",
        "outcome": "diverted",
        "source": "form",
        "parameter": "username",
        "payload": "' union select 1",
        "sink": "sqlite3.Connection.execute",
        "statement": "SELECT 1",
        "service": "shop",
        "version": "shop:2",
        "request": {"method": "POST", "path": "/login", "address": "10.0.0.1", "user_agent": "curl"},
        "frames": [
            {"file": file, "line": 6, "function": "login", "source": source},
            {"file": "/app/main.py", "line": 3, "function": "main", "source": ""},
            {"file": "/x/site-packages/flask/app.py", "line": 1, "function": "call", "source": ""},
        ],
        "event": {"body": {"detections": {"type": "SQL Injection"}}},
        **changes,
    }


def lines(data: dict[str, Any]) -> str:
    return "\n".join(line for _, line in trace(finding(data)))


def test_a_simulation_tells_what_would_have_happened() -> None:
    told = lines(detection("/x/app.py", outcome="reported", simulated="diverted"))
    assert "NOT stopped: simulated, it would have been diverted" in told


def test_a_probe_tells_that_it_reached_nothing() -> None:
    assert "reached nothing" in lines(detection("/x/app.py", outcome="reported", signal="probe"))


def written(tmp_path: Path, text: str = SOURCE) -> str:
    path = tmp_path / "app.py"
    path.write_text(text)
    return str(path)


def test_it_tells_request_parameter_payload_and_what_was_done(tmp_path: Path) -> None:
    told = lines(detection(written(tmp_path)))
    for part in (
        "SQL Injection attack · CWE-89",
        "POST /login",
        "form username",
        "' union select 1",
        "10.0.0.1",
    ):
        assert part in told
    assert "stopped before it ran" in told


def test_it_names_file_line_and_function(tmp_path: Path) -> None:
    file = written(tmp_path)
    assert f"{file}:6 in login" in lines(detection(file))


def test_it_quotes_the_lines_around(tmp_path: Path) -> None:
    told = lines(detection(written(tmp_path)))
    assert "→     6 │     run(query)" in told
    assert "      4 │ def login():" in told


def test_a_file_that_does_not_read_as_reported_is_not_quoted(tmp_path: Path) -> None:
    told = lines(detection(written(tmp_path, "secret\n" * 9)))
    assert "secret" not in told and "run(query)" in told


def test_a_file_that_is_no_code_is_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "shadow"
    path.write_text(SOURCE)
    assert "def login" not in lines(detection(str(path)))


def test_callers_are_the_apps_own(tmp_path: Path) -> None:
    told = lines(detection(written(tmp_path)))
    assert "/app/main.py:3 in main" in told and "site-packages" not in told


def test_what_an_attacker_wrote_is_spelt_out(tmp_path: Path) -> None:
    assert "a\\x1b[2J\\nb" in lines(detection(written(tmp_path), payload="a\x1b[2J\nb"))


def test_an_empty_detection_is_still_shown() -> None:
    assert lines({"id": "d1"})
