"""A command that is one text, with values of a match in it: real shells, hostile values, never another
command.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from divertor.alerts.command import argument_vector, environment
from divertor.errors import InputError
from divertor.rules import Match, load_rule
from divertor.rules.alerters.shell import with_variables

Matches = Callable[..., Match]

ACCEPTED: list[tuple[str, str]] = [
    ("notify %(user)s", 'notify "${DIVERTOR_FIELD_1}"'),
    ('notify "user %(user)s"', 'notify "user ${DIVERTOR_FIELD_1}"'),
    ("notify --user=%(user)s -v", 'notify --user="${DIVERTOR_FIELD_1}" -v'),
    ('echo x | mail -s "on %(a)s" root', 'echo x | mail -s "on ${DIVERTOR_FIELD_1}" root'),
    ("perl -e 'print @ARGV' %(a)s", "perl -e 'print @ARGV' \"${DIVERTOR_FIELD_1}\""),
    (
        "notify %(a)s %(b.c)s %(a)s",
        'notify "${DIVERTOR_FIELD_1}" "${DIVERTOR_FIELD_2}" "${DIVERTOR_FIELD_1}"',
    ),
    ("cd /opt && ./notify %(a)s", 'cd /opt && ./notify "${DIVERTOR_FIELD_1}"'),
    ("echo %(a)s >> /var/log/x 2>&1", 'echo "${DIVERTOR_FIELD_1}" >> /var/log/x 2>&1'),
    (
        'echo "$(date +%%F) %(a)s" | logger -t alert',
        'echo "$(date +%F) ${DIVERTOR_FIELD_1}" | logger -t alert',
    ),
    ("printf '%%s\\n' %(a)s", "printf '%s\\n' \"${DIVERTOR_FIELD_1}\""),
    ("/bin/bash /opt/x.sh %(a)s", '/bin/bash /opt/x.sh "${DIVERTOR_FIELD_1}"'),
    ("python3 -u /opt/x.py %(a)s; true", 'python3 -u /opt/x.py "${DIVERTOR_FIELD_1}"; true'),
    ("sh -c 'echo \"$1\"' sh %(a)s", 'sh -c \'echo "$1"\' sh "${DIVERTOR_FIELD_1}"'),
    ("sudo /opt/notify %(a)s", 'sudo /opt/notify "${DIVERTOR_FIELD_1}"'),
    ("notify $HOST ${PORT} %(a)s", 'notify $HOST ${PORT} "${DIVERTOR_FIELD_1}"'),
    ("notify 100%% %(a)s", 'notify 100% "${DIVERTOR_FIELD_1}"'),
]

REFUSED = [
    "notify '%(a)s'",
    "%(a)s x",
    "/opt/%(a)s x",
    "$PROGRAM %(a)s",
    "x=%(a)s; $x",
    "eval echo %(a)s",
    'sh -c "echo %(a)s"',
    "bash -lc %(a)s",
    "bash %(a)s",
    "bash --rcfile f %(a)s",
    "python3 -W ignore %(a)s",
    "sudo bash -c %(a)s",
    "sudo -u bob %(a)s",
    "env X=%(a)s sh",
    "nohup sh %(a)s",
    "timeout 5 %(a)s",
    "ssh host notify %(a)s",
    "xargs notify %(a)s",
    "find / -name %(a)s",
    "awk /%(a)s/",
    "echo %(a)s | sh",
    "echo %(a)s | sudo bash -s",
    "echo %(a)s | tee f | python3",
    "echo %(a)s | $SHELL",
    "echo %(a)s | xargs touch",
    "echo %(a)s | while read x; do $x; done",
    "echo %(a)s > f; sh f",
    "echo %(a)s > $F",
    "echo x > %(a)s",
    "sh < %(a)s",
    "echo `echo %(a)s`",
    "echo $(echo %(a)s)",
    "echo ${x:-%(a)s}",
    "echo \\%(a)s",
    "echo $%(a)s",
    "cat <<E\n%(a)s\nE",
    "# %(a)s",
    "f() { $1; }; f %(a)s",
    "if test %(a)s; then x; fi",
    "test -v %(a)s",
    "[ %(a)s = x ]",
    "printf %(a)s",
    "printf -v x %(a)s",
    "alias n='sh -c'\nn %(a)s",
    "export X=%(a)s",
    "export %(a)s",
    "trap %(a)s EXIT",
    ". %(a)s",
    "{ echo %(a)s; }",
    "echo %(a)s {b}",
    'echo "%(a)s',
    "echo 'x %(a)s",
    "echo %(a)d",
    "echo %(a)s; alias x=y",
    "l\\s\\h -c %(a)s; s\\h -c %(a)s",
    "'sh' -c %(a)s",
    "/bin/b*h %(a)s",
    "notify %(a)s $DIVERTOR_FIELD_1",
    "echo %(a)s\r",
    "case %(a)s in x) y;; esac",
    "enable -f %(a)s x",
    "read %(a)s",
    "unset %(a)s",
    "exec %(a)s",
    "perl -ne print %(a)s",
    "perl -pe 's/x/y/' %(a)s",
    "perl -lane print %(a)s",
    "notify %(a)s; $_",
    "notify %(a)s; ${_}",
    "notify %(a)s; printenv DIVERTOR_FIELD_1 | sh",
    'echo "%(a)s" | mail -s alert root',
    'echo x | mailx "%(a)s"',
    "mail -s %(a)s %(b)s",
    "mongosh --eval %(a)s",
    "ansible-playbook -e x=%(a)s x.yml",
]


@pytest.mark.parametrize(("script", "made"), ACCEPTED, ids=range(len(ACCEPTED)))
def test_a_field_becomes_a_quoted_variable(script: str, made: str) -> None:
    assert with_variables(script)[0] == made


@pytest.mark.parametrize("script", REFUSED, ids=range(len(REFUSED)))
def test_a_script_that_could_read_a_value_as_code_is_refused(script: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        with_variables(script)


def test_scripts_are_all_there() -> None:
    assert (len(ACCEPTED), len(REFUSED)) == (16, 75)


def test_a_refusal_names_the_place_the_reason_and_the_way_out() -> None:
    text = "type: any\nindex: logs\nalert: command\ncommand: sh -c '%(user)s'"
    with pytest.raises(InputError) as caught:
        load_rule(text, "r.yaml")
    said = str(caught.value)
    assert said.startswith("r.yaml:4:10") and "within single quotes" in said and "pipe_match_json" in said


def test_a_script_with_fields_has_a_migration_hint(match: Matches) -> None:
    (warning,) = match(alert="command", command="notify %(user)s").rule.warnings
    assert "better write a list" in warning


HOSTILE = [
    "$(touch canary)",
    "`touch canary`",
    "; touch canary;",
    "'; touch canary; '",
    '"; touch canary; "',
    "\n touch canary \n",
    "| touch canary",
    "&& touch canary",
    "touch canary",
    "-c touch canary",
    "\\$(touch canary)",
    "${IFS}$(touch${IFS}canary)",
    "a[$(touch canary)]",
    "%(other)s $(touch canary)",
    "() { :; }; touch canary",
    "x' 'touch canary",
    "\\",
    "*",
    "~",
    "é\u2028\x7f",
]


def ran(script: str, value: str, where: Path) -> tuple[bool, list[list[str]]]:
    """Whether another command ran, and the arguments of each call of `dump`."""
    calls = where / "calls"
    calls.unlink(missing_ok=True)
    made, fields = with_variables(script)
    variables = {f"DIVERTOR_FIELD_{number}": value for number, _field in enumerate(fields, 1)}
    subprocess.run(
        ["/bin/sh", "-c", made],
        cwd=where,
        env={"PATH": f"{where}/bin:/usr/bin:/bin", "CALLS": str(calls), **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=20,
        check=False,
    )
    lines = calls.read_text("utf-8", "surrogateescape").split("\0\0") if calls.exists() else []
    return (where / "canary").exists(), [line.split("\0") for line in lines if line]


DUMP = """#!/bin/sh
for one in "$@"; do printf '%s\\0' "$one"; done >> "$CALLS"
printf '\\0' >> "$CALLS"
"""


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a program `dump` that notes its arguments."""
    where = tmp_path_factory.mktemp("room")
    (where / "bin").mkdir()
    program = where / "bin" / "dump"
    program.write_text(DUMP)
    program.chmod(0o755)
    return where


SHAPES: list[tuple[str, Callable[[str], list[str]]]] = [
    ("dump %(v)s", lambda value: [value]),
    ('dump "%(v)s"', lambda value: [value]),
    ("dump a%(v)sb", lambda value: [f"a{value}b"]),
    ('dump "a $HOME %(v)s" x', lambda value: [f"a  {value}", "x"]),
    ("true && dump x %(v)s 2>/dev/null; true", lambda value: ["x", value]),
    ("sh -c 'dump \"$1\"' sh %(v)s", lambda value: [value]),
    ("echo %(v)s | dump y%(v)s", lambda value: [f"y{value}"]),
]


@pytest.mark.parametrize("place", range(len(SHAPES)))
def test_hostile_values_arrive_as_they_are_and_run_nothing(room: Path, place: int) -> None:
    script, expected = SHAPES[place]
    for value in HOSTILE:
        extra, calls = ran(script, value, room)
        assert not extra, value
        assert calls == [expected(value)]


TOKENS: st.SearchStrategy[str] = st.sampled_from(
    r"""echo true cat printf sh bash -c -s env nohup sudo dump eval export set test [ ] x= x=y $x ${x}
    $ $( ) ( { } | || & && ; > f 2>&1 >/dev/null < << " ' ` \ # %% %(v)s "%(v)s" '%(v)s' $(date) sh; if
    then fi for in do done * ~ ! read xargs tee""".split()
    + ["\n", " ", " ", " ", "%(v)s", "%(v)s", "%(v)s"]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(TOKENS, st.sampled_from(["", " "])), min_size=1, max_size=9),
    st.sampled_from(HOSTILE),
)
def test_no_script_that_is_accepted_runs_what_a_value_says(
    room: Path, tokens: list[tuple[str, str]], value: str
) -> None:
    script = "".join(token + space for token, space in tokens)
    try:
        fields = with_variables(script)[1]
    except ValueError:
        return
    if fields:
        assert not ran(script, value, room)[0], script


def test_what_the_alerter_runs_is_what_was_judged(match: Matches) -> None:
    found = match({"user": "$(id)\0"}, alert="command", command="notify %(user)s %(gone)s")
    command = found.rule.alerts[0].options["command"]
    assert argument_vector(found, command)[2] == 'notify "${DIVERTOR_FIELD_1}" "${DIVERTOR_FIELD_2}"'
    assert environment(found, command) == {
        "DIVERTOR_FIELD_1": "$(id)",
        "DIVERTOR_FIELD_2": "<MISSING VALUE>",
    }


LISTS = [
    (["sh", "-c", "echo %(v)s"], False),
    (["bash", "-lc", "{v}"], False),
    (["python3", "{v}"], False),
    (["/usr/bin/env", "sh", "-c", "{v}"], False),
    (["ssh", "host", "notify {v}"], False),
    (["awk", "/{v}/"], False),
    (["sh", "-c", 'echo "$1"', "sh", "%(v)s"], True),
    (["python3", "/opt/x.py", "%(v)s"], True),
    (["timeout", "5", "notify", "{v}"], True),
    (["docker", "exec", "x", "notify", "{v}"], True),
    (["perl", "-ne", "print", "{v}"], False),
    (["env", "A=b", "{v}"], False),
    (["timeout", "5", "{v}"], False),
    (["psql", "-c", "insert into x values ('{v}')"], False),
    (["mail", "{v}"], False),
    (["mail", "-s", "{v}", "root"], True),
    (["sudo", "-n", "notify", "{v}"], True),
]


@pytest.mark.parametrize(("command", "fine"), LISTS, ids=range(len(LISTS)))
def test_arguments_that_a_program_reads_as_code_are_refused(
    match: Matches, command: list[str], fine: bool
) -> None:
    if fine:
        assert match({"v": "x"}, alert="command", command=command)
        return
    with pytest.raises(InputError, match=r"code"):
        match({"v": "x"}, alert="command", command=command)


def test_a_text_that_is_piped_into_a_mail_program_is_warned_of(match: Matches) -> None:
    found = match({}, alert="command", command=["/usr/bin/mail", "root"], pipe_alert_text=True)
    assert any("use the alerter email" in warning for warning in found.rule.warnings)


def test_lists_are_all_there() -> None:
    assert (len(LISTS), len(HOSTILE), len(SHAPES)) == (17, 20, 7)
