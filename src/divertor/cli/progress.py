"""A progress bar, and the screen that lines go to while there is one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from divertor.cli.text import console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


class Bar:
    """How far something is, on a terminal only; `screen` is where lines are printed meanwhile, above the bar.

    Where standard output is a terminal, the bar is there too: lines and a bar that do not know of each other
    overwrite each other. Otherwise it is on standard error, and lines go where they are sent. Use it as a
    context manager. `counts` says whether numbers are shown beside the bar, or it alone.
    """

    def __init__(self, total: int | None, *, hidden: bool = False, counts: bool = True) -> None:
        from rich.console import Console

        self.screen: Console = console()
        place = self.screen if sys.stdout.isatty() else Console(stderr=True)
        self._progress = _progress(place, hidden or not place.is_terminal, counts)
        self._task = self._progress.add_task("", total=total, words="")

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._progress.stop()

    def update(self, completed: int, words: str = "") -> None:
        """So far it is; `words` stand beside it."""
        self._progress.update(self._task, completed=completed, words=words)


def _progress(place: Console, hidden: bool, counts: bool) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    numbers = (MofNCompleteColumn(),) if counts else ()
    columns = (BarColumn(), *numbers, TimeRemainingColumn(), TextColumn("{task.fields[words]}", markup=False))
    return Progress(*columns, console=place, transient=True, disable=hidden)
