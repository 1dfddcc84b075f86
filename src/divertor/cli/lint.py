"""`divertor rules lint`: all that is wrong with rule files, at once, as `file:line:column:` has it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from divertor.cli.options import AsJson
from divertor.cli.text import console, print_json, styled

if TYPE_CHECKING:
    from divertor.rules.reading.lint import Problem

_STYLES = {"error": "red", "warning": "yellow", "hint": "dim"}


def lint(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Rule files, or directories of them.")],
    hints: Annotated[bool, typer.Option(help="Tell what has no effect and what is called otherwise.")] = True,
    as_json: AsJson = False,
) -> None:
    """Tell all that is wrong with rules, or may be, and where. Exits with 1 on an error, or without rules."""
    files, found = _lint_all(paths)
    shown = [problem for problem in found if hints or problem.severity != "hint"]
    counts = Counter(problem.severity.value for problem in found)
    if as_json:
        print_json({"files": files, "problems": [_as_json(problem) for problem in shown]})
    else:
        screen = console()
        for problem in shown:
            screen.print(styled(str(problem), _STYLES[problem.severity]))
        screen.print(styled(_sentence(files, counts)))
    if counts["error"]:
        raise typer.Exit(1)


def _lint_all(paths: list[Path]) -> tuple[int, list[Problem]]:
    """How many files there were, and their problems.

    :raises UnavailableError: a file or directory cannot be read.
    """
    from divertor.errors import InputError, Position
    from divertor.rules.reading.files import rule_files, surroundings
    from divertor.rules.reading.lint import Problem, lint_sigma

    files = 0
    found: list[Problem] = []

    def told(error: InputError) -> None:
        found.append(Problem.of(error))

    for path in paths:
        directory = path if path.is_dir() else path.parent
        try:
            around = surroundings(directory, report=told)
        except InputError as problem:
            told(problem)
            continue
        names: dict[str, str] = {}
        asked = rule_files(path) if path.is_dir() else [path]
        if not asked:
            where = Position(str(path))
            found.append(Problem(where, "no rule file in this directory", "names that end in .yaml or .yml"))
        files += len(asked)
        sigma = _sigma_texts([*rule_files(directory), *asked])
        told_of = {str(file) for file in asked}
        found += [one for one in lint_sigma(sigma, around) if one.position.source in told_of]
        for file in asked:
            if str(file) not in sigma:
                found += _lint_one(file, around, names)
    return files, found


def _sigma_texts(files: list[Path]) -> dict[str, str]:
    """The Sigma rules among files, and their settings, by path; they are judged together."""
    from divertor.errors import InputError
    from divertor.rules.reading.files import read_text
    from divertor.rules.sigma.translation import is_settings, looks_like_sigma

    found: dict[str, str] = {}
    for file in files:
        with contextlib.suppress(InputError):
            text = read_text(file)
            if is_settings(str(file)) or looks_like_sigma(text):
                found[str(file)] = text
    return found


def _lint_one(file: Path, around: Any, names: dict[str, str]) -> Iterator[Problem]:
    from divertor.errors import InputError, Position
    from divertor.rules.reading.files import read_text
    from divertor.rules.reading.lint import Problem, lint_rule, name_of

    try:
        text = read_text(file)
    except InputError as problem:
        yield Problem.of(problem)
        return
    yield from lint_rule(text, str(file), around)
    yield from _unreadable_lists(text, str(file), around)
    name = name_of(text, str(file), around)
    other = names.setdefault(name, str(file))
    if other != str(file):
        yield Problem(Position(str(file), 1, 1), f"a second rule named {name!r}", f"one, as in {other}")


def _unreadable_lists(text: str, source: str, around: Any) -> Iterator[Problem]:
    """Files of entries (`!file`) that a list names and that cannot be read."""
    from divertor.errors import InputError, Position, UnavailableError
    from divertor.rules.reading.lint import Problem
    from divertor.rules.reading.lists import readers
    from divertor.rules.reading.load import load_rule

    try:
        found = readers(load_rule(text, source, around).behaviour, source)
    except InputError:
        return
    lines = text.split("\n")
    place = next((number for number, line in enumerate(lines, 1) if "!file" in line), 1)
    for reader in found:
        try:
            reader.refresh()
        except UnavailableError as problem:
            column = max(lines[place - 1].find("!file"), 0) + 1
            yield Problem(Position(source, place, column), str(problem), "a file beside the rule")


def _sentence(files: int, counts: Counter[str]) -> str:
    parts = (_number(counts[severity], severity) for severity in ("error", "warning", "hint"))
    return f"{_number(files, 'file')}: {', '.join(parts)}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _as_json(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.position.source,
        "line": problem.position.line,
        "column": problem.position.column,
        "severity": problem.severity.value,
        "message": problem.message,
        "expected": problem.expected,
    }
