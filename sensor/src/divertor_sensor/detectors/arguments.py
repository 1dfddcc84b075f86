"""Argument injection (CWE-88; CAPEC-6; OWASP A03:2021 Injection).

Rule: an input that is a whole argument of a program (or several words, that are arguments one after the
other), begins with `-` and stands before any `--` is read as an option. Where the program runs, writes or
reads what an option says, such an option is an attack; any other option of such a program shows that the call
is vulnerable. Several words that are a program and all its arguments are an attack: the input is the command.

What it does not do: judge programs that are not in its table, or options that the app put there itself.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from divertor_sensor.detectors import UNTOUCHED, Candidate, Detector, Finding, Judgement, worst
from divertor_sensor.detectors.shell import STARTERS, program_name
from divertor_sensor.sources.derived import derived_values
from divertor_sensor.work import Work

#: Longer words are no arguments on Linux.
_MAX_LENGTH = 128 * 1024
#: Longer texts are not split into words.
_MAX_SPLIT = 4096
_END_OF_OPTIONS = "--"


def _options(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{pattern})", re.DOTALL)


_INTERPRETER = _options(r"-[A-Za-z]*[cemrdER]|--(?:eval|print|require|import|run)\b")
_EDITOR = _options(r"-[cSsuW]|--cmd\b|\+")
_WITH_OPTIONS = _options(r"-[a-zA-Z]*[oSFED]")
_AWK = _options(r"-[feilE]|--(?:file|source|include|load|exec)\b")
_PAGER = _options(r"-[PHok+]|--(?:pager|html|log-file)\b|\+")

#: The manuals' options that execute, or write or send a file, by program.
_EXECUTING: dict[str, re.Pattern[str]] = {
    "7z": _options(r"-[osi]"),
    "awk": _AWK,
    "chrome": _options(r"--(?:gpu-launcher|[a-z]+-cmd-prefix|no-sandbox|load-extension|user-data-dir)\b"),
    "curl": _options(
        r"-[a-zA-Z]*[oOKTFdDEx:c]|--(?:output|config|upload-file|remote-name|form|data|dump-header|engine|proxy"
        r"|cookie-jar|trace|unix-socket|url|next|cert|key|preproxy|resolve|connect-to)"
    ),
    "exiftool": _options(r"-(?:config|if|w|o|out|tagsfromfile|@|p|userparam)"),
    "ffmpeg": _options(r"-(?:i|f|filter_complex|vf|dump_attachment|report|protocol_whitelist)"),
    "find": _options(r"-(?:exec|execdir|ok|okdir|delete|fprint|fprint0|fprintf|fls|files0-from)\b"),
    "gawk": _AWK,
    "git": _options(
        r"-[cuOx]|--(?:upload-pack|receive-pack|exec|config|output|open-files-in-pager|ext-diff|extcmd|template"
        r"|textconv|remote|config-env|git-dir|work-tree|no-index|separate-git-dir|git|hook|editor)"
    ),
    "gpg": _options(r"-o|--(?:output|photo-viewer|keyserver-options|exec-path|options|homedir|log-file)"),
    "hg": _options(r"--(?:config|debugger|cwd|repository)|-R"),
    "less": _PAGER,
    "man": _PAGER,
    "mawk": _AWK,
    "mysql": _options(r"-e|--(?:execute|pager|tee|init-command|defaults-file|plugin-dir)"),
    "mysqldump": _options(r"-r|--(?:result-file|tab|defaults-file|plugin-dir)|-T"),
    "nmap": _options(r"--(?:script|iflist|datadir|stylesheet|interactive|excludefile)|-[io][A-Z]"),
    "node": _INTERPRETER,
    "perl": _options(r"-[A-Za-z0-9]*[eEMmIidpnx]"),
    "php": _INTERPRETER,
    "pip": _options(r"-[ierft]|--(?:index-url|extra-index-url|target|prefix|root|config-settings|log)"),
    "psql": _options(r"-[cfoLv]|--(?:command|file|output|log-file|set)"),
    "python": _INTERPRETER,
    "python3": _INTERPRETER,
    "rsync": _options(
        r"-[a-zA-Z]*[eM]|--(?:rsh|rsync-path|daemon|config|log-file|write-batch|files-from|password)"
    ),
    "ruby": _INTERPRETER,
    "scp": _WITH_OPTIONS,
    "sed": _options(r"-[a-zA-Z]*[efi]|--(?:expression|file|in-place)"),
    "sendmail": _options(r"-[CXObODo]"),
    "sftp": _WITH_OPTIONS,
    "sort": _options(r"-[oTS]|--(?:compress-program|output|temporary-directory|files0-from|random-source)"),
    "split": _options(r"--(?:filter|additional-suffix)"),
    "ssh": _options(r"-[a-zA-Z0-9]*[oFEISRLDWwJ]"),
    "ssh-keygen": _options(r"-[Df]"),
    "svn": _options(r"--(?:config-option|config-dir|editor-cmd|diff-cmd|diff3-cmd)"),
    "tar": _options(
        r"-[a-zA-Z]*[IFPCfT]|--(?:checkpoint-action|checkpoint|to-command|use-compress-program|rsh-command|rmt-command"
        r"|info-script|new-volume-script|absolute-names|file|directory|files-from|transform)"
    ),
    "tcpdump": _options(r"-[zwGrF]"),
    "unzip": _options(r"-[a-zA-Z]*[d:]"),
    "vi": _EDITOR,
    "vim": _EDITOR,
    "wget": _options(
        r"-[a-zA-Z]*[OPioae]|--(?:output-document|output-file|append-output|input-file|use-askpass|post-file"
        r"|body-file|execute|config|directory-prefix|ca-directory|load-cookies|save-cookies|warc)"
    ),
    "wkhtmltopdf": _options(
        r"--(?:enable-local-file-access|allow|script|run-script|post-file|cookie-jar|cache-dir|dump-outline|proxy"
        r"|user-style-sheet|header-html|footer-html|cover)"
    ),
    "xargs": _options(r"-[IEadLnPsi]|--(?:replace|arg-file|max)"),
    "zip": _options(r"-[a-zA-Z]*T|--(?:unzip-command|test|output-file|out)|-[OP@]"),
}

#: What follows the script is the script's own.
_ENDED_BY_OPERAND = frozenset("awk gawk mawk node perl php python python3 ruby".split())


def is_steerable(words: Sequence[str]) -> bool:
    """Whether a program in the table is about to start with something that it reads as an option."""
    start = _program_at(words)
    return start >= 0 and next(_options_of(words, start), None) is not None


def _options_of(words: Sequence[str], start: int) -> Iterator[str]:
    """What the program at `start` reads as options."""
    is_ended = _name(words[start]) in _ENDED_BY_OPERAND
    for word in words[start + 1 :]:
        if word == _END_OF_OPTIONS or (is_ended and word[:1] != "-"):
            return
        if word[:1] == "-" and len(word) > 1:
            yield word


def joined(words: Sequence[str]) -> str:
    """The statement for `judge`: the words as a shell would be given them."""
    return shlex.join(words)


def select(value: str) -> list[str]:
    """The forms of an input that begin as an option does."""
    if len(value) > _MAX_LENGTH:
        return []
    return [form for form in derived_values(value) if len(form) > 1 and (form[0] == "-" or _is_several(form))]


def _is_several(text: str) -> bool:
    return len(text) <= _MAX_SPLIT and len(text.split(None, 1)) > 1


def judge(statement: str, candidates: Sequence[Candidate], work: Work) -> Judgement:
    """Whether a candidate is an option in `statement`, a line of `joined`.

    :raises Spent: there is too much to look at.
    """
    present = [each for each in candidates if each.text in statement or "'" in each.text or " " in each.text]
    work.spend(len(candidates) * (2 + len(statement) // 16))
    if not present:
        return UNTOUCHED
    work.spend(16 * len(statement))
    words = _split(statement)
    several = _several(words, present, work)
    for one, _, length in several:
        if length == len(words):
            return Judgement(True, Finding(one.origin, True))
    brought = {word: one for one, at, length in several for word in words[at : at + length]}
    start = _program_at(words)
    if start < 0:
        return UNTOUCHED
    executing, finding = _EXECUTING[_name(words[start])], None
    for word in _options_of(words, start):
        work.spend(8 * len(present))
        found = brought.get(word) or next((one for one in present if word.startswith(one.text)), None)
        if found is not None:
            finding = worst(finding, Finding(found.origin, executing.match(word) is not None))
    return Judgement(True, finding)


def _several(
    words: Sequence[str], candidates: Sequence[Candidate], work: Work
) -> list[tuple[Candidate, int, int]]:
    """The inputs of several words that stand as several arguments: where, and how many."""
    found = []
    for one in candidates:
        if not _is_several(one.text):
            continue
        work.spend(16 * len(one.text))
        given = _split(one.text)
        work.spend(len(words) * len(given))
        places = range(len(words) - len(given) + 1 if len(given) > 1 else 0)
        found += [(one, at, len(given)) for at in places if list(words[at : at + len(given)]) == given]
    return found


def _split(statement: str) -> list[str]:
    try:
        return shlex.split(statement)
    except ValueError:
        return statement.split()


def _program_at(words: Sequence[str]) -> int:
    """Where the name of a program in the table stands; -1 when none is started."""
    if not words:
        return -1
    if _name(words[0]) in _EXECUTING:
        return 0
    if program_name(words[0]) not in STARTERS:
        return -1
    return next((at for at, word in enumerate(words) if at and _name(word) in _EXECUTING), -1)


def _name(path: str) -> str:
    """The program's name as in the table; versions (`python3.11`) and variants (`chromium`) are one."""
    name = program_name(path)
    if name in _EXECUTING:
        return name
    plain = name.rstrip("0123456789.")
    return _VARIANTS.get(plain, plain)


_VARIANTS = {
    "7za": "7z",
    "chromium": "chrome",
    "chromium-browser": "chrome",
    "google-chrome": "chrome",
    "mariadb": "mysql",
    "mariadb-dump": "mysqldump",
    "nodejs": "node",
    "nvim": "vim",
}


def _is_innocent(statement: str) -> bool:
    """Never: a sink asks about lines with an option only."""
    return False


def marks(statement: str) -> list[str]:
    """The beginnings of the options: an input that is one has them."""
    return [word[:6].lower() for word in _split(statement) if word[:1] == "-"] or [statement[:6].lower()]


DETECTOR = Detector(
    type="argument_injection",
    cwe="CWE-88",
    owasp="A03:2021",
    select=select,
    judge=judge,
    is_innocent=_is_innocent,
    marks=marks,
)
