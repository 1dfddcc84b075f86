"""Text on a terminal: attackers' bytes made harmless, JSON for scripts, tables and colours for people.

A terminal obeys control characters, and Rich obeys square brackets; both may come from an attacker. So every
value is cleaned here, and is handed to Rich as `Text`, which has no markup.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


#: Units of time, in seconds.
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def clean(value: object, *, keep: str = "") -> str:
    """`value` as text in which every character that a terminal would act upon is spelt out.

    Characters in `keep` (a tab, a line end) stay.
    """
    text = value if isinstance(value, str) else "" if value is None else str(value)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else _spelt(char) for char in text)


def _spelt(char: str) -> str:
    return char.encode("unicode_escape", "backslashreplace").decode("ascii")


def print_json(data: Any) -> None:
    """One JSON document on standard output, ASCII only: nothing in it can move a cursor."""
    sys.stdout.write(json.dumps(data, indent=2) + "\n")
    sys.stdout.flush()


def print_json_line(data: Any) -> None:
    """One line of JSON lines on standard output, at once."""
    sys.stdout.write(json.dumps(data, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def print_error(message: str) -> None:
    """One message on standard error."""
    sys.stderr.write(f"divertor: {clean(message, keep=chr(10))}\n")


def console() -> Console:
    """Standard output for people; plain when it is no terminal or NO_COLOR is set."""
    from rich.console import Console

    # A file or a pipe gets every line whole.
    width = None if sys.stdout.isatty() else 10_000
    return Console(markup=False, highlight=False, emoji=False, width=width)


def styled(value: object, style: str = "") -> Text:
    """`value`, cleaned, for Rich."""
    from rich.text import Text

    return Text(clean(value), style=style)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table of cleaned values; a `Text` cell keeps its style. `empty` is said when there are no rows.
    What is no terminal gets every value whole, however wide.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    screen = console()
    cells = [[cell if isinstance(cell, Text) else styled(cell) for cell in row] for row in rows]
    if not cells:
        screen.print(empty)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=not screen.is_terminal)
    for row in cells:
        table.add_row(*row)
    screen.print(table)


def short_span(since: object, until: object) -> str:
    """The time between two moments, each a datetime or an ISO time, in its two largest units; empty for less
    than a second, or when one of them is no time.
    """
    from datetime import datetime

    try:
        begin, end = (
            each if isinstance(each, datetime) else datetime.fromisoformat(str(each))
            for each in (since, until)
        )
        seconds = int((end - begin).total_seconds())
    except (ValueError, TypeError):
        return ""
    for (size, unit), (small, small_unit) in pairwise(_UNITS):
        if seconds >= size:
            rest = seconds % size // small
            return f"{seconds // size}{unit} {rest}{small_unit}" if rest else f"{seconds // size}{unit}"
    return f"{seconds}s" if seconds > 0 else ""


def short_time(text: object) -> str:
    """An ISO time to the second, in UTC; empty for none."""
    return text[:19].replace("T", " ") if isinstance(text, str) else ""
