"""Path traversal by an archive (CWE-22, "zip slip"; CAPEC-139; OWASP A01:2021 Broken Access Control).

Rule: what is extracted must stay in the directory that the app extracts to. A member whose name leads out of
it, or a hard link to something outside, is an attack; a symbolic link that leads out shows that the archive's
maker could follow with a member below it. The names come out of the archive and not out of a parameter, so
the inputs are not asked: no honest archive has such names.

The statement is `DIRECTORY <- NAME`, with `-> TARGET` for a symbolic and `=> TARGET` for a hard link. What it
does not do: look at the file system; the sink resolves the links that the same archive made.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

from divertor_sensor.detectors import UNTOUCHED, Candidate, Detector, Finding, Judgement
from divertor_sensor.detectors.path import select
from divertor_sensor.sources.inputs import Input
from divertor_sensor.work import Work

_MAX_NAME = 4096
_MARKS = re.compile(r" (?:<-|->|=>) ")


def statement_of(directory: str, name: str, link: str = "", hard: bool = False) -> str:
    """What `judge` reads: `name` is about to be extracted to `directory`, perhaps as a link to `link`."""
    arrow = " => " if hard else " -> "
    return f"{directory or '.'} <- {_plain(name)}" + (f"{arrow}{_plain(link)}" if link else "")


def _plain(name: str) -> str:
    """A name without our own marks; it leads to the same depth."""
    return _MARKS.sub("_", name)


def judge(statement: str, candidates: Sequence[Candidate], work: Work) -> Judgement:
    """Whether a member leaves the directory.

    :raises Spent: there is too much to look at.
    """
    work.spend(len(statement))
    directory, _, member = statement.rpartition(" <- ")
    name, hard, link = member.partition(" => ")
    if not hard:
        name, _, link = member.partition(" -> ")
    if leaves(name):
        return _found(name, True)
    if link and leaves(link if hard else _target(name, link)):
        return _found(f"{name} to {link}", bool(hard))
    return UNTOUCHED


def leaves(name: str) -> bool:
    """Whether a name leads out of the directory that it is taken in."""
    target = posixpath.normpath(name.replace("\\", "/"))
    return target == ".." or target.startswith(("../", "/")) or "\0" in name


def _target(name: str, link: str) -> str:
    """Where a symbolic link leads, from the directory of extraction on."""
    return link if link.startswith("/") else posixpath.join(posixpath.dirname(name), link)


def _found(name: str, hostile: bool) -> Judgement:
    return Judgement(True, Finding(Input("file", "(archive member)", name[:_MAX_NAME]), hostile))


def _is_innocent(statement: str) -> bool:
    """Always: what is to be found is found without the inputs."""
    return True


def _marks(statement: str) -> list[str]:
    return [statement.lower()]


DETECTOR = Detector(
    type="path_traversal",
    cwe="CWE-22",
    owasp="A01:2021",
    select=select,
    judge=judge,
    is_innocent=_is_innocent,
    marks=_marks,
)
