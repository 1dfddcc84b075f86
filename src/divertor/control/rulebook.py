"""The rules of the installation: those that were stored through the API, and over them the files of a folder.

Both may change while they are used. What is not understood is refused and told of, and the rule as it was
stays in use; the same goes for lists that rules keep in files of their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from divertor.bus import Change, State, Synced
from divertor.errors import ConflictError, DivertorError, InputError, Position, UnavailableError
from divertor.rules import Rule
from divertor.rules.reading.files import Loaded, load_each, load_stored, rule_files
from divertor.rules.reading.lists import Reader, readers

log = logging.getLogger("divertor.rules")

KIND = "rules"
#: Seconds between two looks at the files.
LOOK = 1.0

#: What tells one state of a file from another.
_Seen: TypeAlias = tuple[int, int, int]


class Rulebook:
    """All rules by name. `changed` is called with them after each change, `trouble` told what is refused."""

    def __init__(
        self, state: State, changed: Callable[[Mapping[str, Rule]], None], trouble: Callable[[str], None]
    ) -> None:
        self._state = state
        self._changed = changed
        self._trouble = trouble
        self._folder: Path | None = None
        self._stored: dict[str, Rule] = {}
        self._files: dict[str, Rule] = {}
        self._seen: dict[Path, _Seen] = {}
        self._lists: dict[str, tuple[Rule, list[Reader]]] = {}
        #: Why something is not in use as it is written, by the rule's name or the file's.
        self.refused: dict[str, str] = {}

    @property
    def rules(self) -> dict[str, Rule]:
        """All of them, files before what is stored."""
        return {**self._stored, **self._files}

    def rules_named(self, name: str) -> Rule | None:
        """The rule of that name."""
        return self._files.get(name) or self._stored.get(name)

    def why_refused(self, rule: Rule) -> str:
        """Why a rule is not in use as it is written now; "" when it is."""
        found = (self.refused.get(name) for name in (rule.source, rule.name, f"lists of {rule.name}"))
        return next((f"not used as it is written: {why}" for why in found if why), "")

    async def load(self, folder: Path | None) -> None:
        """Reads everything for the first time.

        :raises InputError: a file is not understood. What is stored and not understood is left out.
        :raises UnavailableError: the broker does not answer, or a file cannot be read.
        """
        self._folder = folder
        for name, entry in (await self._state.list(KIND)).items():
            self._take_stored(name, entry.value)
        if folder is not None:
            self._files = self._read_files(folder, first=True)
        self._use()

    async def watch(self) -> None:
        """Follows changes for ever; ends with cancellation."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_stored())
            tasks.create_task(self._watch_files())

    def put(self, rule: Rule) -> None:
        """A rule was stored; files stay before it."""
        self._stored[rule.name] = rule
        self.refused.pop(rule.name, None)
        self._use()

    def remove(self, name: str) -> None:
        """A rule that was stored is to end."""
        self._stored.pop(name, None)
        self._use()

    def refuse_if_in_file(self, name: str) -> None:
        """:raises ConflictError: a file has a rule of that name, which goes before any that is stored."""
        rule = self._files.get(name)
        if rule is not None:
            raise ConflictError(f"the rule {name!r} is in the file {rule.source}: change or remove that")

    def look(self) -> bool:
        """Look at the files once; whether anything changed.

        :raises UnavailableError: the folder cannot be read.
        """
        changed = False
        if self._folder is not None:
            seen = dict(_seen(self._folder))
            if seen != self._seen:
                self._files = self._read_files(self._folder, first=False)
                changed = True
        if changed:
            self._use()
        return self._refresh_lists() or changed

    # --- what is stored ---------------------------------------------------------------------------------

    async def _watch_stored(self) -> None:
        async for change in self._state.watch(KIND):
            if isinstance(change, Synced):
                continue
            if self._take_change(change):
                self._use()

    def _take_change(self, change: Change) -> bool:
        if change.value is None:
            return self._stored.pop(change.name, None) is not None
        known = self._stored.get(change.name)
        if known is not None and known.text == change.value.get("text"):
            return False
        return self._take_stored(change.name, change.value)

    def _take_stored(self, name: str, value: Mapping[str, Any]) -> bool:
        try:
            self._stored[name] = load_stored(str(value["text"]), name)
        except (InputError, KeyError) as problem:
            self._refuse(name, f"the stored rule {name!r} is not understood: {problem}")
            return False
        self.refused.pop(name, None)
        return True

    # --- files ------------------------------------------------------------------------------------------

    async def _watch_files(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            try:
                self.look()
            except DivertorError as problem:
                self._refuse(str(self._folder), str(problem))
            except OSError as problem:
                self._refuse(str(self._folder), f"{problem.filename}: {problem.strerror}")

    def _read_files(self, folder: Path, *, first: bool) -> dict[str, Rule]:
        """The rules of all files; `first`: none of them may be refused. Otherwise the old ones stay."""
        seen = dict(_seen(folder))
        found: dict[str, Rule] = {}
        for source, loaded in load_each(folder):
            for rule in self._taken(source, loaded, first):
                other = found.setdefault(rule.name, rule)
                if other is not rule:
                    problem = InputError(
                        f"a second rule named {rule.name!r}",
                        Position(source, 1, 1),
                        f"one, as in {other.source}",
                    )
                    if first:
                        raise problem
                    self._refuse(source, str(problem))
        self._seen = seen
        present = {str(path) for path in rule_files(folder)} | set(self._stored)
        self.refused = {name: why for name, why in self.refused.items() if name in present}
        return found

    def _taken(self, source: str, loaded: Loaded, first: bool) -> Sequence[Rule]:
        """The rules of a file; those it had before when it is refused."""
        if isinstance(loaded, DivertorError):
            if first:
                raise loaded
            self._refuse(source, str(loaded))
            return [rule for rule in self._files.values() if rule.source == source]
        self.refused.pop(source, None)
        return loaded

    # --- lists ------------------------------------------------------------------------------------------

    def _refresh_lists(self) -> bool:
        changed = False
        for name, (_rule, found) in self._lists.items():
            for reader in found:
                try:
                    changed = reader.refresh() or changed
                except UnavailableError as problem:
                    self._refuse(f"lists of {name}", str(problem))
                else:
                    self.refused.pop(f"lists of {name}", None)
        return changed

    def _use(self) -> None:
        rules = self.rules
        lists: dict[str, tuple[Rule, list[Reader]]] = {}
        for name, rule in rules.items():
            known = self._lists.get(name)
            if known is not None and known[0] is rule:
                lists[name] = known
            elif found := readers(rule.behaviour, rule.source):
                lists[name] = rule, found
        self._lists = lists
        self._refresh_lists()
        self._changed(rules)

    def _refuse(self, name: str, why: str) -> None:
        """Told once."""
        if self.refused.get(name) != why:
            self.refused[name] = why
            self._trouble(f"rules: {why}")


def _seen(folder: Path) -> Iterator[tuple[Path, _Seen]]:
    """Every file under the folder: a rule may draw from any of them."""
    for path in folder.rglob("*"):
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        yield path, (found.st_mtime_ns, found.st_size, found.st_ino)
