"""Path traversal (CWE-22, CWE-36 absolute path, CWE-158 NUL; CAPEC-126, 597, 52; OWASP A01:2021).

Rule: an input that ends up in a path to be opened must not decide the directory. It does when it holds `..`
steps that lead out of the directory the app put before it, when it is absolute and the opened path begins
with it, or when it carries a NUL. `a/../b` that stays inside is fine. When the app normalised the path
first, the input is recognised by what follows its leading `..` steps. Of a longer text, an app may have taken
the part that steps. `~/x` counts where the app resolved it.

What it does not do: follow symbolic links, or know which files an app means to serve.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence

from divertor_sensor.detectors import UNTOUCHED, Candidate, Detector, Finding, Judgement
from divertor_sensor.sources.derived import derived_values
from divertor_sensor.work import Work

_STEP = re.compile(r"(?:^|[/\\])\.\.(?:[/\\]|$)")
_LEADING_STEPS = re.compile(r"^(?:\.{1,2}/+)*\.\./+(?:\.{1,2}/+)*")
_REPEATED = re.compile(r"/(?:\.?/)+")
#: Without one of these in it, a value and all its forms are names (`%`, `&` and base64 can hide one).
_CAN_STEER = re.compile(r"[/\\%&\0]|\.\.|[^\x00-\x7f]|[A-Za-z0-9+_=-]{8}|[0-9A-Fa-f]{6}")
_PARAMETERS = re.compile(r";[^/]*")
_MIN_TAIL = 3
#: A shorter name meets others by chance, when the app gave it a suffix or a directory after all.
_MIN_NAME = 5
_SUFFIX = re.compile(r"\.\w{1,5}")
_HOME = re.compile(r"~[\w.-]*/")
_HOMES = re.compile(r"/root|(?:/\w+)?/(?:home|Users)/[^/]+(?:/[^/]+)?|/var/(?:lib|www)(?:/[^/]+)?|/opt/[^/]+")
_OWN_HOME = posixpath.expanduser("~").rstrip("/")
#: Steps in a text, and the name they lead to.
_STEPS_WITHIN = re.compile(r"(?<![./\\])\.\.[/\\][./\\]*+\w[\w./\\]*+")
_MAX_PIECES = 4
#: What an app may split at: what follows is an input of its own.
_SEPARATORS = frozenset("|,;&\n\t:@")
#: No system opens a longer path.
_MAX_LENGTH = 4096


def select(value: str) -> list[str]:
    """The forms of an input that can steer a path: `..` steps, absolute paths, NUL."""
    if not _CAN_STEER.search(value):
        return []
    texts: list[str] = []
    for form in dict.fromkeys(_converted(derived_values(value))):
        if len(form) > _MAX_LENGTH:
            form = posixpath.normpath(form)  # as pathlib does, of `/////etc`
        if len(form) > _MAX_LENGTH:
            continue
        is_absolute = (form.startswith("/") and len(form) > 1) or _HOME.match(form)
        if "\0" in form or _STEP.search(form) or is_absolute:
            texts.append(form)
            plain = _REPEATED.sub("/", form).rstrip("/")
            if plain != form and len(plain) > 1:
                texts.append(plain)
    return texts


def _converted(forms: Iterable[str]) -> Iterator[str]:
    """The forms, and the paths that code makes of those written for another system or as an URL."""
    for form in forms:
        yield form
        if "\\" in form:
            yield form.replace("\\", "/")
        if form[:5].lower() == "file:":
            yield "/" + form[5:].partition("?")[0].removeprefix("//").removeprefix("localhost").lstrip("/")
        if "..../" in form or ".../" in form:
            yield form.replace("../", "")
        if ";" in form:
            yield _PARAMETERS.sub("", form)
        if "../" in form or "..\\" in form:
            yield from _steps_within(form)
            if form[0] in "/\\":
                yield form.lstrip("/\\")


def _steps_within(form: str) -> Iterator[str]:
    """The first and the last paths with steps in a text: as far as their names go, and up to its end."""
    found = list(_STEPS_WITHIN.finditer(form)) if len(form) <= _MAX_LENGTH else []
    for match in (*found[:_MAX_PIECES], *found[-_MAX_PIECES:]):
        yield match[0]
        yield form[match.start() :]
    behind_host = form.partition("://")[2].partition("/")[2]
    if behind_host.startswith(".."):
        yield behind_host


def judge(statement: str, candidates: Sequence[Candidate], work: Work) -> Judgement:
    """Whether a candidate decides the directory of the path `statement`.

    :raises Spent: there is too much to look at.
    """
    touched = False
    for candidate in candidates:
        work.spend(8 + len(candidate.text))
        at = statement.find(candidate.text)
        if at >= 0:
            touched = True
        # `zipfile` drops the steps from a name: what is left of it says nothing.
        is_hidden = at < 0 and candidate.origin.source != "archive"
        if _decides(statement, candidate.text, at) or (
            is_hidden and _resolved(statement, candidate.text) and not _is_quoted(candidate, work)
        ):
            return Judgement(True, Finding(candidate.origin, True))
    return Judgement(True, None) if touched else UNTOUCHED


def _is_quoted(candidate: Candidate, work: Work) -> bool:
    """Whether it is a piece of a longer text that speaks of it: that proves nothing of a path elsewhere. What
    is left when quotes, tags or control characters are removed is no piece.
    """
    value = candidate.origin.value
    at = value.find(candidate.text)
    if at <= 0 or value[at - 1] in _SEPARATORS:
        return False
    work.spend(2 * len(value))
    return candidate.text not in derived_values(value)


def _decides(path: str, text: str, at: int) -> bool:
    if at < 0:
        return False
    if "\0" in text:
        return True
    if at == 0 and text.startswith("/"):
        return _absolute(path, text)
    return _STEP.search(text) is not None and _escapes(path[:at], path)


def _absolute(path: str, text: str) -> bool:
    """The input gives the path from the root on: all of it, all but an ending, or whole directories of it.

    A single directory is left alone: `/app` in a link says nothing about the app's own files below it.
    """
    rest = path[len(text) :]
    if not rest or ("/" not in rest and not text.endswith("/")):
        return True
    return (text.endswith("/") or rest.startswith("/")) and text.rstrip("/").count("/") > 1


def _escapes(base: str, path: str) -> bool:
    """Whether `path` leaves the directory part of `base`, by its text alone."""
    directory = posixpath.normpath(base[: base.rfind("/") + 1] or ".")
    target = posixpath.normpath(path.replace("\\", "/") if "\\" in path and "/" not in path else path)
    if directory == ".":
        return target == ".." or target.startswith("../")
    return target != directory and not target.startswith(directory.rstrip("/") + "/")


def _resolved(path: str, text: str) -> bool:
    """Whether `path` looks like `text` after normalisation: absolute, without steps, ending as the input
    does.
    """
    if ".." in path or not path.startswith("/"):
        return False
    if _HOME.match(text):
        return _is_at_home(path, text)
    if not _STEP.search(text):
        return False
    tidy = posixpath.normpath(text)
    if tidy.startswith("/"):
        return _absolute(path, tidy) if path.startswith(tidy) else False
    tail = _LEADING_STEPS.sub("/", tidy) if _LEADING_STEPS.match(tidy) else ""
    return len(tail) > _MIN_TAIL and ".." not in tail and _ends_in(path, tail)


def _is_at_home(path: str, text: str) -> bool:
    """Whether `path` is what `~/x` or `~user/x` stands for. A user's home is called like the user, mostly;
    else several directories must be the same, as `/~user/x` is also a page of that user's. Whose home is
    where is not looked up: that may ask a server.
    """
    user, _, rest = text[1:].partition("/")
    name = posixpath.normpath(f"/{rest}")
    if len(name) <= _MIN_NAME or not path.endswith(name):
        return False
    home = path[: -len(name)]
    if name.count("/") > 1:
        return True
    if user:
        return home.endswith(f"/{user}")
    # A name alone is met by chance, but not one of those that only homes have.
    return name.startswith("/.") or home == _OWN_HOME or _HOMES.fullmatch(home) is not None


def _ends_in(path: str, tail: str) -> bool:
    """Whether a path ends as an input does, but for a suffix, or goes on behind several directories of it."""
    if path.endswith(tail):
        return True
    at = path.rfind(tail)
    if at < 0:
        return False
    end = at + len(tail)
    if tail.count("/") > 1:
        return path[end] in "./"
    return len(tail) > _MIN_NAME and _SUFFIX.fullmatch(path, end) is not None


def is_innocent(path: str) -> bool:
    """Whether a path names something below the working directory, and no input can have led out of it."""
    return not path.startswith("/") and not _STEP.search(path) and "\0" not in path


def marks(path: str) -> list[str]:
    """What an input that decided about the directory leaves in the path: the file's name, or its end."""
    return [path.rstrip("/").rpartition("/")[2].lower() or "/"]


DETECTOR = Detector(
    type="path_traversal",
    cwe="CWE-22",
    owasp="A01:2021",
    select=select,
    judge=judge,
    is_innocent=is_innocent,
    marks=marks,
)
