"""Rule files on disk: the place of this package that reads files and the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeAlias

from divertor.errors import InputError, Position, UnavailableError
from divertor.model.documents import MAX_LENGTH
from divertor.rules.reading.defaults import read_defaults
from divertor.rules.reading.importing import Surroundings
from divertor.rules.reading.lists import readers
from divertor.rules.reading.load import Report, load_rule, read_translation
from divertor.rules.reading.options import refuse
from divertor.rules.rule import Rule
from divertor.rules.sigma.translation import Translation, is_settings, looks_like_sigma, translate

_SUFFIXES = frozenset({".yaml", ".yml"})
#: The file beside rules that holds their defaults.
_DEFAULTS = ("config.yaml", "config.yml")
#: The rules of a file, or why there are none.
Loaded: TypeAlias = list[Rule] | InputError | UnavailableError

#: Names of the environment variables that rule files may use: `SLACK_URL,SMTP_*`.
ALLOWED = "DIVERTOR_RULES_ENV"


def load_rules(directory: Path, environ: Mapping[str, str] = os.environ) -> list[Rule]:
    """Every rule file under a directory (`rule_files`), by path; all of them or none.

    :raises InputError: a rule is refused, or two have one name.
    :raises UnavailableError: the directory or a file cannot be read.
    """
    around = surroundings(directory, environ)
    rules: dict[str, Rule] = {}
    texts = {str(path): read_text(path) for path in rule_files(directory)}
    for rule in _loaded(texts, around):
        other = rules.setdefault(rule.name, rule)
        if other is not rule:
            raise InputError(
                f"a second rule named {rule.name!r}",
                Position(rule.source, 1, 1),
                f"one, as in {other.source}",
            )
    return list(rules.values())


def load_file(path: Path, directory: Path | None = None, environ: Mapping[str, str] = os.environ) -> Rule:
    """The rule in a file of a directory of rules (its own, unless told otherwise).

    :raises InputError: it is refused.
    :raises UnavailableError: a file cannot be read.
    """
    directory = path.parent if directory is None else directory
    around = surroundings(directory, environ)
    text = read_text(path)
    if not looks_like_sigma(text):
        return with_lists(load_rule(text, str(path), around))
    texts = {str(other): read_text(other) for other in rule_files(directory)} | {str(path): text}
    sigma = {name: other for name, other in texts.items() if is_settings(name) or looks_like_sigma(other)}
    found = [one for one in translate(sigma) if one.source == str(path)]
    if len(found) != 1:
        raise InputError(f"{len(found)} Sigma rules that alert", Position(str(path), 1, 1), "one in a file")
    return _translated(found[0], around)


def load_each(directory: Path, environ: Mapping[str, str] = os.environ) -> Iterator[tuple[str, Loaded]]:
    """Each rule file under a directory with the rules in it (several or none in a Sigma file), or with why it
    is refused; what is wrong with one leaves the others alone.

    :raises InputError: the defaults are no mapping.
    :raises UnavailableError: the directory or its defaults cannot be read.
    """
    around = surroundings(directory, environ)
    sigma: dict[str, str] = {}
    for path in rule_files(directory):
        try:
            text = read_text(path)
            if is_settings(str(path)) or looks_like_sigma(text):
                sigma[str(path)] = text
            else:
                yield str(path), [with_lists(load_rule(text, str(path), around))]
        except (InputError, UnavailableError) as problem:
            yield str(path), problem
    yield from _each_sigma(sigma, around) if sigma else ()


def _each_sigma(files: Mapping[str, str], around: Surroundings) -> Iterator[tuple[str, Loaded]]:
    refused: dict[str, InputError | UnavailableError] = {}
    rules: dict[str, list[Rule]] = {path: [] for path in files}

    def told(problem: InputError) -> None:
        refused.setdefault(problem.position.source, problem)

    for translation in translate(files, told):
        try:
            rules[translation.source].append(_translated(translation, around))
        except (InputError, UnavailableError) as problem:
            refused.setdefault(translation.source, problem)
    yield from ((path, refused.get(path, found)) for path, found in rules.items())


def _loaded(texts: Mapping[str, str], around: Surroundings) -> Iterator[Rule]:
    """The rules of files by path; Sigma rules together, as they may name each other, and after the others."""
    sigma = {name: text for name, text in texts.items() if is_settings(name) or looks_like_sigma(text)}
    for name, text in texts.items():
        if name not in sigma:
            yield with_lists(load_rule(text, name, around))
    for translation in translate(sigma) if sigma else ():
        yield _translated(translation, around)


def load_stored(text: str, name: str) -> Rule:
    """A rule that came by the API: it sees no files, whoever sends it might read what is not his with them.

    :raises InputError: it is not understood, or names a file.
    """
    rule = load_rule(text, name)
    if readers(rule.behaviour, rule.source):
        raise InputError(
            "a list in a file, which only rule files see", Position(name), "the entries themselves"
        )
    return rule


def with_lists(rule: Rule) -> Rule:
    """The rule with the entries that its lists have in files of their own.

    :raises UnavailableError: one cannot be read: without it, a whitelist would match everything.
    """
    for reader in readers(rule.behaviour, rule.source):
        reader.refresh()
    return rule


def _translated(translation: Translation, around: Surroundings) -> Rule:
    rule = read_translation(translation, around, refuse, [])
    assert rule is not None, "nothing was refused"
    return with_lists(rule)


def rule_files(directory: Path) -> list[Path]:
    """Every `*.yaml` and `*.yml` under a directory, by path; hidden ones and its defaults left out.

    :raises UnavailableError: there is no such directory.
    """
    if not directory.is_dir():
        raise UnavailableError(f"{directory}: no such directory")
    defaults = defaults_file(directory)
    found = (path for path in directory.rglob("*") if path.suffix in _SUFFIXES and path.is_file())
    return sorted(path for path in found if path != defaults and not _is_hidden(path.relative_to(directory)))


def defaults_file(directory: Path) -> Path | None:
    """The `config.yaml` at the top of a directory, unless it is a rule itself."""
    paths = (directory / name for name in _DEFAULTS)
    return next((path for path in paths if path.is_file() and not _is_rule(path)), None)


def surroundings(
    directory: Path, environ: Mapping[str, str] = os.environ, report: Report = refuse
) -> Surroundings:
    """What the rules of a directory may draw on; what is wrong with its defaults goes to `report`.

    :raises InputError: the defaults are no mapping.
    :raises UnavailableError: they cannot be read.
    """
    path = defaults_file(directory)
    defaults = None if path is None else read_defaults(read_text(path), str(path), report)
    return Surroundings(defaults, allowed(environ), _read_beside)


def read_text(path: Path) -> str:
    """A rule file's text.

    :raises InputError: it is no UTF-8, or far too long for a rule.
    :raises UnavailableError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(4 * MAX_LENGTH + 1)
        return content.decode("utf-8")
    except OSError as problem:
        raise UnavailableError(f"{path}: {problem.strerror}") from problem
    except UnicodeDecodeError:
        raise InputError("not UTF-8", Position(str(path)), "a text file") from None


def _read_beside(wanted: str, source: str) -> tuple[str, str]:
    """A file by its path, relative to the file that names it."""
    found = (Path(source).parent / wanted).resolve()
    try:
        return str(found), read_text(found)
    except InputError as problem:
        raise UnavailableError(problem.message) from problem


def allowed(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that rules may use: those whose names `DIVERTOR_RULES_ENV` lists, `*` for any run of
    characters.
    """
    patterns = [pattern.strip() for pattern in environ.get(ALLOWED, "").split(",") if pattern.strip()]
    return {name: environ[name] for name in _named(environ, patterns)}


def _named(environ: Mapping[str, str], patterns: list[str]) -> Iterator[str]:
    return (name for name in environ if any(fnmatchcase(name, pattern) for pattern in patterns))


def _is_rule(path: Path) -> bool:
    """Whether there is a `type:` at the beginning of a line; a cheap look, as what follows checks all."""
    return any(line.startswith(("type:", '"type"', "'type'")) for line in read_text(path).splitlines())


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
