r"""A shell script with `%(field)s` in it → one in which values of a match are variables, or a refusal.

ElastAlert writes a value into the script, where it can be anything: `$(…)`, `;`, a quote. Here the value is
in the environment, and the script gets a reference to it, in quotes: after expanding a quoted variable a
shell does nothing more with it. That alone is not enough, as a script can hand a value to something that
reads it as code: `eval`, `sh -c "…"`, `ssh`, `awk`, a pipe into a shell. So a script with placeholders must
be of a kind that can be understood completely: simple commands, joined by `;`, `&&`, `||`, `|`, `&` and line
breaks, with quotes, variables and redirections; no backticks, here-documents, functions, conditions, loops,
groups or comments. Its commands are not of those that take code, and a value is never a command's name, an
assignment, a file to write, or code. Whatever is not understood is refused: a list of program and arguments,
or `pipe_match_json`, always works.

Pure. A script without placeholders does not come here: it is run as it is written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NoReturn

#: The variable of the first placeholder is `DIVERTOR_FIELD_1`.
VARIABLE = "DIVERTOR_FIELD_"

PLACEHOLDER = re.compile(r"%\((?P<field>[^()]+)\)s")
_ANY_PLACEHOLDER = re.compile(r"%\([^()]*\)")
_EXPANSION = re.compile(
    r"\$(?:(?P<name>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)\}|[?$]|\([\w +./:=,@~%-]*\))", re.ASCII
)
_REDIRECTION = re.compile(r">>|>\||>&|<&|<>|>|<")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=", re.ASCII)

#: Words that begin something other than a simple command.
_RESERVED = frozenset(
    """if then else elif fi do done case esac while until for in select function time coproc { } ! [[
    ]]""".split()
)
#: Change what later commands mean, or run code that they are given.
_MEANING = frozenset("alias eval exec . source trap set shopt enable hash unalias builtin command".split())
#: Built-in commands that keep a value where it may become code, or evaluate expressions.
_BUILTIN = frozenset(
    """bg bind break caller cd compgen complete compopt continue declare dirs disown exit export fc fg getopts
    help history jobs kill let local logout mapfile popd print pushd read readarray readonly return shift
    suspend test [ times type typeset ulimit umask unset wait whence""".split()
)
#: Run the file that is their first argument; options before it may hold code.
INTERPRETERS = re.compile(
    r"(?:ba|da|z|k|mk|pdk|a|fi|c|tc|rba)?sh[0-9.]*|(?:python|pypy|perl|ruby|php|lua|tclsh)[0-9.]*"
    r"|node|nodejs|deno|bun|luajit|wish|Rscript|pwsh|osascript"
)
#: With these, perl and ruby read the files that their arguments name, and run the one called `id|`.
_READING = re.compile(r"-[A-Za-z0-9]*[npa][A-Za-z0-9]*")
#: Options of an interpreter after which its next argument is code, and some that take none.
_CODE = re.compile(r"-[a-z]*[ceErmp]|--(?:eval|command|execute|print|run)|-Command")
_HARMLESS = frozenset({"-u", "-x", "-B"})
#: Take code, commands, names of programs or expressions in arguments or on standard input.
_EVALUATORS = frozenset(
    """ssh slogin rsh rexec su sudoedit runuser xargs parallel find fd watch awk gawk mawk nawk sed gsed ed ex
    vi vim nvim emacs at batch crontab expect script screen tmux make gmake m4 dc bc expr gdb lldb strace
    ltrace timeout flock chroot unshare nsenter systemd-run start-stop-daemon docker podman kubectl nerdctl
    lxc crictl ansible salt psql mysql mariadb sqlite3 ftp sftp lftp scp rsync git svn tar cpio zip gnuplot
    octave R busybox toybox stdbuf ionice taskset chpst socat ncat nc run-parts osquery man less mongo mongosh
    clickhouse clickhouse-client redis-cli cqlsh sqlcmd influx ansible-playbook salt-call pkexec setpriv
    firejail bwrap mosh pssh parallel-ssh pdsh clush dsh chrt prlimit cpulimit setarch linux32 linux64 numactl
    dbus-run-session dbus-launch xvfb-run fakeroot eatmydata entr sem hyperfine perf valgrind rlwrap unbuffer
    emacsclient""".split()
)
#: Some of them run a command for a line of the mail that begins with `~!`, or for a recipient such as `|id`.
MAILERS = frozenset("mail mailx Mail nail s-nail bsd-mailx heirloom-mailx mail.mailutils".split())
_STANDARD_INPUT = frozenset({"-", "-s", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"})
#: Run the command that follows them, as far as they have no options.
_WRAPPERS = frozenset("sudo doas nohup setsid nice env".split())


@dataclass(slots=True)
class _Word:
    """A word: its text as far as that is fixed; whether something in it is expanded, or is a value."""

    text: str = ""
    expanded: bool = False
    value: bool = False
    globbed: bool = False

    @property
    def is_fixed(self) -> bool:
        return not self.expanded and not self.value

    @property
    def base(self) -> str:
        return self.text.rpartition("/")[2] if self.is_fixed else ""


@dataclass(slots=True)
class _Command:
    words: list[_Word] = field(default_factory=list)
    targets: list[_Word] = field(default_factory=list)
    piped: bool = False

    @property
    def has_value(self) -> bool:
        return any(word.value for word in self.words)


def with_variables(script: str) -> tuple[str, tuple[str, ...]]:
    """The script with references to variables, and the field of each variable in order; `%%` becomes `%`.

    :raises ValueError: it is not certain that a value stays a value; the message says what is in the way.
    """
    reader = _Reader(script)
    reader.read()
    _check(reader.commands, script)
    return "".join(reader.out), tuple(reader.fields)


class _Reader:
    """Reads a script once from left to right, writes the new one, and keeps the commands for judging."""

    def __init__(self, script: str) -> None:
        self._script = script
        self._at = 0
        self._word: _Word | None = None
        self._target = False
        self.out: list[str] = []
        self.fields: list[str] = []
        self.commands: list[_Command] = [_Command()]

    def read(self) -> None:
        for place, char in enumerate(self._script):
            if not char.isprintable() and char not in "\t\n":
                _refuse(f"a control character at {place + 1}")
        if VARIABLE in self._script:
            _refuse(f"something called {VARIABLE}…")
        while self._at < len(self._script):
            self._step()
        self._end_word()
        if self._target:
            _refuse("a redirection without a file")

    def _step(self) -> None:
        char = self._script[self._at]
        if char in " \t":
            self._end_word()
            self._copy(1)
        elif char in ";&|\n":
            self._operator(char)
        elif char in "<>":
            self._redirection()
        elif char in "()`{}":
            hint = " (a field is written %(field)s here)" if char in "{}" else ""
            _refuse(f"{char} outside quotes{hint}")
        elif char == "#" and self._word is None:
            _refuse("a comment")
        else:
            self._part_of_word(char)

    def _part_of_word(self, char: str) -> None:
        word = self._word = self._word or _Word()
        if char == "\\":
            self._escaped(word)
        elif char == "'":
            self._single_quoted(word)
        elif char == '"':
            self._double_quoted(word)
        elif char == "$":
            self._expansion(word)
        elif char == "%":
            self._percent(word, '"${%s}"')
        else:
            word.globbed = word.globbed or char in "*?["
            word.text += char
            self._copy(1)

    def _operator(self, char: str) -> None:
        self._end_word()
        if self._target:
            _refuse("a redirection without a file")
        two = self._script[self._at : self._at + 2]
        if two in (";;", "|&", ";&"):
            _refuse(two)
        self.commands.append(_Command(piped=char == "|" and two != "||"))
        self._copy(2 if two in ("&&", "||") else 1)

    def _redirection(self) -> None:
        if self._word is not None and not self._word.text.isdecimal():
            self._end_word()
        self._word = None
        if self._target or self._script.startswith(("<<", ">(", "<("), self._at):
            _refuse("a here-document, a substituted process or two redirections in a row")
        found = _REDIRECTION.match(self._script, self._at)
        assert found is not None
        self._target = True
        self._copy(len(found[0]))

    def _escaped(self, word: _Word) -> None:
        following = self._script[self._at + 1 : self._at + 2]
        if not following or PLACEHOLDER.match(self._script, self._at + 1):
            _refuse("a backslash before a field, or at the end")
        word.text += "" if following == "\n" else following
        self._copy(2)

    def _single_quoted(self, word: _Word) -> None:
        end = self._script.find("'", self._at + 1)
        if end < 0:
            _refuse("a single quote that is not closed")
        inside = self._script[self._at + 1 : end]
        if _ANY_PLACEHOLDER.search(inside):
            _refuse("a field within single quotes, where nothing is replaced: use double quotes or none")
        word.text += inside.replace("%%", "%")
        self.out.append(f"'{inside.replace('%%', '%')}'")
        self._at = end + 1

    def _double_quoted(self, word: _Word) -> None:
        self._copy(1)
        while True:
            char = self._script[self._at : self._at + 1]
            if not char:
                _refuse("a double quote that is not closed")
            if char == '"':
                self._copy(1)
                return
            self._within_double_quotes(word, char)

    def _within_double_quotes(self, word: _Word, char: str) -> None:
        if char == "`":
            _refuse("` within double quotes")
        if char == "$":
            self._expansion(word)
        elif char == "%":
            self._percent(word, "${%s}")
        elif char == "\\":
            self._escaped(word)
        else:
            word.text += char
            self._copy(1)

    def _expansion(self, word: _Word) -> None:
        found = _EXPANSION.match(self._script, self._at)
        if found is None:
            _refuse("$ followed by something other than a name")
        name = found["name"] or found["braced"] or ""
        if name == "_":
            _refuse("$_, which may be the value that the command before was given")
        word.expanded = True
        self.out.append(found[0].replace("%%", "%"))
        self._at = found.end()

    def _percent(self, word: _Word, form: str) -> None:
        found = PLACEHOLDER.match(self._script, self._at)
        if found is not None:
            if found["field"] not in self.fields:
                self.fields.append(found["field"])
            word.value = True
            self.out.append(form % f"{VARIABLE}{self.fields.index(found['field']) + 1}")
            self._at = found.end()
            return
        if _ANY_PLACEHOLDER.match(self._script, self._at):
            _refuse("a field in another form than %(field)s")
        doubled = self._script.startswith("%%", self._at)
        word.text += "%"
        self.out.append("%")
        self._at += 2 if doubled else 1

    def _end_word(self) -> None:
        word, self._word = self._word, None
        if word is None:
            return
        command = self.commands[-1]
        (command.targets if self._target else command.words).append(word)
        self._target = False

    def _copy(self, length: int) -> None:
        self.out.append(self._script[self._at : self._at + length])
        self._at += length


def _check(commands: list[_Command], script: str) -> None:
    tainted = False
    for command in commands:
        fed = command.piped and tainted
        tainted = command.has_value or fed
        words = _without_assignments(command)
        if words:
            _check_any(words[0])
            _check_fed(words, fed)
        if command.has_value:
            _check_values(words)
        for target in command.targets:
            _check_target(target, script, tainted)


def _without_assignments(command: _Command) -> list[_Word]:
    for place, word in enumerate(command.words):
        if not _ASSIGNMENT.match(word.text):
            return command.words[place:]
        if word.value:
            _refuse("a field in an assignment: a later command might read it as code")
    return []


def _check_any(name: _Word) -> None:
    """What no command of the script may be."""
    if name.is_fixed and (name.text in _RESERVED or name.base in _MEANING):
        _refuse(f"{name.text!r}, which makes more of the script than simple commands")


def _check_values(words: list[_Word]) -> None:
    """What a command with a value may be."""
    name = words[0]
    if not name.is_fixed or name.globbed or not name.base:
        _refuse("a field beside a command whose name is not fixed, or in its name")
    if name.base in _WRAPPERS:
        _check_wrapped(words)
        return
    if name.base in _BUILTIN:
        _refuse(f"a field as an argument of {name.base!r}")
    if name.base == "printf" and (len(words) < 2 or not words[1].is_fixed or words[1].text.startswith("-")):
        _refuse("a field in the format of printf")
    for word in words:
        if word.base in _EVALUATORS:
            _refuse(f"a field as an argument of {word.base!r}, which may read it as code")
    _check_interpreters(words)
    _check_mailers(words)


def _check_wrapped(words: list[_Word]) -> None:
    inner = _without_assignments(_Command(words[1:]))
    if not inner or inner[0].text.startswith("-"):
        _refuse(f"a field after options of {words[0].base!r}")
    _check_any(inner[0])
    _check_values(inner)


def _check_interpreter(words: list[_Word]) -> None:
    """A value comes after the file of a program, or after code that is fixed; not instead of them."""
    if words[0].base.startswith(("perl", "ruby")) and any(
        _READING.fullmatch(word.text) for word in words[1:]
    ):
        _refuse(f"a field among the files that {words[0].base!r} reads, one of which may be a command")
    if any(word.value for word in words) and not _has_program(words[1:]):
        _refuse(f"a field as an argument of {words[0].base!r}, which may read it as code")


def check_arguments(arguments: list[tuple[str, bool]]) -> None:
    """Interpreters among a list's elements; each with whether a value is put into it.

    :raises ValueError: one would read a value as code, or as an option.
    """
    words = [_Word(text, value=filled) for text, filled in arguments]
    _check_program(words)
    _check_interpreters(words)
    _check_mailers(words)


def _check_program(words: list[_Word]) -> None:
    """What runs another program runs a fixed one, as far as it has no options with values of their own."""
    if words[0].base not in _WRAPPERS | {"timeout"}:
        return
    for word in words[1:]:
        if word.value:
            _refuse(f"{words[0].base!r} would run a value of the match as code")
        if not word.text.startswith("-") and not _ASSIGNMENT.match(word.text) and not word.text[:1].isdigit():
            return


def _check_mailers(words: list[_Word]) -> None:
    """A value is a mail's subject, if anything."""
    for place, word in enumerate(words):
        if word.base not in MAILERS:
            continue
        for option, given in pairwise(words[place:]):
            if given.value and (not option.is_fixed or option.text != "-s"):
                _refuse(f"a field as an argument of {word.base!r}, which may read it as code: use `email`")


def _check_interpreters(words: list[_Word]) -> None:
    for place, word in enumerate(words):
        # After fixed code comes what it takes for its name: `sh -c 'code' sh value`.
        is_name = place >= 2 and bool(_CODE.fullmatch(words[place - 2].text)) and words[place - 1].is_fixed
        if word.base and INTERPRETERS.fullmatch(word.base) and not is_name:
            _check_interpreter(words[place:])


def _check_fed(words: list[_Word], fed: bool) -> None:
    """What a pipe with a value in it may lead to."""
    if not fed:
        return
    if not words[0].is_fixed or words[0].globbed:
        _refuse("a field piped into a command whose name is not fixed")
    for place, word in enumerate(words):
        if word.base in _EVALUATORS or word.base in _BUILTIN or word.base in MAILERS:
            _refuse(f"a field piped into {word.base!r}")
        if word.base and INTERPRETERS.fullmatch(word.base) and not _has_program(words[place + 1 :]):
            _refuse(f"a field piped into {word.base!r}, which reads it as code")


def _has_program(words: list[_Word]) -> bool:
    """Whether an interpreter's arguments begin with the file of a program, or with code, that is fixed."""
    for place, word in enumerate(words):
        if not word.is_fixed or word.text in _STANDARD_INPUT:
            return False
        if not word.text.startswith(("-", "+")):
            return True
        if word.text not in _HARMLESS:
            code = words[place + 1 : place + 2]
            return bool(_CODE.fullmatch(word.text) and code and code[0].is_fixed)
    return False


def _check_target(target: _Word, script: str, tainted: bool) -> None:
    if target.value:
        _refuse("a field in the name of a file to read or write")
    if tainted and not target.text.isdecimal() and target.text != "/dev/null":
        if target.expanded or script.count(target.text) > 1:
            _refuse("a field written to a file that the script uses, or whose name is not fixed")


def _refuse(why: str) -> NoReturn:
    raise ValueError(why)
