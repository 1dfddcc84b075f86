"""Rule files on disk: the one place of this package that reads anything."""

from __future__ import annotations

from pathlib import Path

from divertor.errors import InputError, Position, UnavailableError
from divertor.model.documents import MAX_LENGTH
from divertor.rules.load import load_rule
from divertor.rules.rule import Rule

_SUFFIXES = frozenset({".yaml", ".yml"})


def load_rules(directory: Path) -> list[Rule]:
    """Every `*.yaml` and `*.yml` under a directory, hidden ones left out, by path; all of them or none.

    :raises InputError: a rule is refused, or two have one name.
    :raises UnavailableError: the directory or a file cannot be read.
    """
    rules: dict[str, Rule] = {}
    for path in rule_files(directory):
        rule = load_file(path)
        other = rules.setdefault(rule.name, rule)
        if other is not rule:
            raise InputError(
                f"a second rule named {rule.name!r}", Position(str(path), 1, 1), f"one, as in {other.source}"
            )
    return list(rules.values())


def load_file(path: Path) -> Rule:
    """The rule in a file.

    :raises InputError: it is refused.
    :raises UnavailableError: the file cannot be read.
    """
    return load_rule(read_text(path), str(path))


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


def rule_files(directory: Path) -> list[Path]:
    """The rule files under a directory, by path.

    :raises UnavailableError: it cannot be read.
    """
    if not directory.is_dir():
        raise UnavailableError(f"{directory}: no such directory")
    found = (path for path in directory.rglob("*") if path.suffix in _SUFFIXES and path.is_file())
    return sorted(path for path in found if not _is_hidden(path.relative_to(directory)))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
