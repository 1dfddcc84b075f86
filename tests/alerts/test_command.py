"""`command` with real processes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from divertor.alerts import DeliveryError
from divertor.alerts.command import MAX_ARGUMENT, Command, argument_vector
from divertor.alerts.contract import Delivery
from divertor.rules import Match, Notification

Matches = Callable[..., Match]
LOG = logging.getLogger("test.command")


def run(match: Match) -> None:
    asyncio.run(Command(LOG).deliver(Delivery(Notification.of(match), match.rule.alerts[0].options)))


def vector(match: Match) -> list[str]:
    return argument_vector(match, match.rule.alerts[0].options["command"])


def test_the_match_arrives_as_a_json_array_and_a_line_end(match: Matches, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = match({"a": 1}, alert="command", command=f"cat > {out}", pipe_match_json=True)
    run(found)
    assert out.read_text() == json.dumps([found.document]) + "\n"


def test_the_text_arrives_when_asked_for(match: Matches, tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = {"alert_text": "hi", "alert_text_type": "alert_text_only"}
    run(match(alert="command", command=["/bin/sh", "-c", f"cat > {out}"], pipe_alert_text=True, **text))
    assert out.read_text() == "hi\n\n"


def test_without_a_pipe_standard_input_is_empty(match: Matches) -> None:
    run(match(alert="command", command=["/bin/cat"], command_timeout=5, fail_on_non_zero_exit=True))


def test_a_shell_script_is_run_as_written(match: Matches, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(match({"a": "x"}, alert="command", command=f"echo '{{a}}' `echo b` $(echo c) > {out}"))
    assert out.read_text() == "{a} b c\n"


FORMATS: list[tuple[str, str]] = [
    ("%(a.b)s", "deep"),
    ("{user}", "u"),
    ("{a[b]}", "deep"),
    ("{list[1]}", "y"),
    ("{a.b}-%(user)s", "deep-u"),
    ("{gone}", "<MISSING VALUE>"),
    ("%(gone)s", "<MISSING VALUE>"),
    ("{print $1}", "{print $1}"),
    ("100%", "100%"),
    ("100%%", "100%"),
    ("{{user}} %%(user)s", "{user} %(user)s"),
    ("{}", "{}"),
    ("%(nested)s", "{user}"),
    ("%(evil)s", "$(id); `id` && x"),
    ("%(nul)s", "ab"),
]


@pytest.mark.parametrize(("written", "made"), FORMATS)
def test_an_argument_is_formatted_once_as_data(match: Matches, written: str, made: str) -> None:
    fields = {
        "a": {"b": "deep"},
        "user": "u",
        "list": ["x", "y"],
        "nested": "{user}",
        "evil": "$(id); `id` && x",
        "nul": "a\0b",
    }
    assert vector(match(fields, alert="command", command=["prog", written])) == ["prog", made]


def test_formats_are_all_there() -> None:
    assert len(FORMATS) == 15


def test_an_attackers_value_is_one_argument_of_a_bounded_length(match: Matches, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = f"import sys; open({str(out)!r}, 'w').write(repr([len(one) for one in sys.argv[1:]]))"
    value = "' ; touch /x $(id) \n" * 100_000
    run(match({"v": value}, alert="command", command=[sys.executable, "-c", script, "{v}", "end"]))
    assert out.read_text() == f"[{MAX_ARGUMENT}, 3]"


def test_the_exit_status_matters_only_when_asked(match: Matches) -> None:
    run(match(alert="command", command="exit 3"))
    with pytest.raises(DeliveryError, match="exited with 3") as caught:
        run(match(alert="command", command="exit 3", fail_on_non_zero_exit=True))
    assert caught.value.again


def test_a_missing_program_is_told(match: Matches) -> None:
    with pytest.raises(DeliveryError, match="cannot start") as caught:
        run(match(alert="command", command=["/nonexistent/program"]))
    assert not caught.value.again


def test_a_command_that_hangs_is_killed_with_its_children(match: Matches, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 300 & echo $! $$ > {pids}; wait"
    with pytest.raises(DeliveryError, match="still running after 0.5 s"):
        run(match(alert="command", command=script, command_timeout=0.5))
    assert not any(is_alive(int(pid)) for pid in pids.read_text().split())


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_output_is_logged_quoted_and_bounded(match: Matches, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run(match(alert="command", command="echo one; echo two >&2; head -c 1000000 /dev/zero | tr '\\0' x"))
    (record,) = [record for record in caplog.records if record.name == LOG.name]
    assert '"one\\ntwo\\nxxx' in record.getMessage()
    assert len(record.getMessage()) < 20_000 and "bytes more" in record.getMessage()


def test_a_command_that_reads_nothing_has_not_failed(match: Matches) -> None:
    big: dict[str, Any] = {"a": "x" * 1_000_000}
    run(match(big, alert="command", command="exec true", pipe_match_json=True, fail_on_non_zero_exit=True))


def test_something_left_running_does_not_hold_the_alert(match: Matches, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    run(match(alert="command", command=f"sleep 300 & echo $! > {pid}", command_timeout=20))
    os.kill(int(pid.read_text()), 9)
