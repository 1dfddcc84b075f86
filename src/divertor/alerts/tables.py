"""The table above gathered matches: how often each combination of some fields occurs.

Pure and bounded: cells are cut, rows end where a message would be too long anyway. What events brought is
escaped for the table's own markup, and then by the alerter's `escape`.
"""

from __future__ import annotations

import html
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from divertor.rules.document import lookup
from divertor.rules.notification import Notification
from divertor.rules.rule import SummaryOptions

Escape: TypeAlias = Callable[[str], str]

#: Characters of a cell.
MAX_CELL = 1000
#: Rows that are drawn, whatever `summary_table_max_rows` says, and characters of their cells.
MAX_ROWS = 1000
MAX_CHARS = 32 * 1024
#: Characters of a drawn table, after which no further row begins.
MAX_TABLE = 64 * 1024
_CENTERED = "padding-left: 1em; padding-right: 1em; text-align: center"

_Row: TypeAlias = tuple[str, ...]


def summary_table(notification: Notification, escape: Escape = str, width: int = 80) -> str:
    """The table with what stands around it; empty when the rule has none. `width`: characters of a line of an
    ascii table.
    """
    options = notification.rule.words.summary
    if options is None:
        return ""
    rows = _counted(notification, options)
    headers = [*options.headers, "count"]
    text = f"{options.prefix}\n" if options.prefix else ""
    fitting = _fitting(rows)
    if options.kind == "html":
        text += _html(headers, fitting, escape)
    else:
        text += f"Aggregation resulted in the following data for summary_table_fields ==> {headers}:\n\n"
        draw = _markdown if options.kind == "markdown" else _ascii
        text += draw(headers, fitting, escape, width) + "\n"
    if options.rows is not None:
        text += f"Showing top {options.rows} rows\n"
    elif len(rows) > len(fitting):
        text += f"and {len(rows) - len(fitting)} rows more\n"
    return text + options.suffix


def _fitting(rows: list[_Row]) -> list[_Row]:
    """The first rows, as far as a message has room for them, one at least."""
    room = MAX_CHARS
    for place, row in enumerate(rows[:MAX_ROWS]):
        room -= sum(map(len, row))
        if room < 0:
            return rows[: max(place, 1)]
    return rows[:MAX_ROWS]


def _counted(notification: Notification, options: SummaryOptions) -> list[_Row]:
    """The combinations in the order in which they came up, or the most frequent ones first."""
    counts = Counter(
        tuple(str(lookup(match.document, field))[:MAX_CELL] for field in options.fields)
        for match in notification.matches
    )
    found = counts.items() if options.rows is None else counts.most_common(options.rows)
    return [(*values, str(count)) for values, count in found]


def _ascii(headers: Sequence[str], rows: list[_Row], escape: Escape, width: int) -> str:
    shown = [tuple(map(_printable, row)) for row in rows]
    widths = _widths([tuple(headers), *shown], width)
    parts = [_line(widths, "-"), *_cells(headers, widths, str, centered=True), _line(widths, "=")]
    room = MAX_TABLE
    for row in shown:
        if room < 0:
            break
        drawn = [*_cells(row, widths, escape, centered=False), _line(widths, "-")]
        room -= sum(map(len, drawn))
        parts += drawn
    return "\n".join(parts) + "\n"


def _line(widths: Sequence[int], char: str) -> str:
    return "+" + "+".join(char * (width + 2) for width in widths) + "+"


def _cells(row: Sequence[str], widths: Sequence[int], escape: Escape, *, centered: bool) -> Iterator[str]:
    """The lines of a row; escaping comes last, so that columns are aligned as they are read."""
    wrapped = [_wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
    for number in range(max(map(len, wrapped))):
        line = [cell[number] if number < len(cell) else "" for cell in wrapped]
        filled = (_filled(text, width, escape, centered) for text, width in zip(line, widths, strict=True))
        yield "| " + " | ".join(filled) + " |"


def _filled(text: str, width: int, escape: Escape, centered: bool) -> str:
    room = width - _width(text)
    left = room // 2 if centered else 0
    return " " * left + escape(text) + " " * (room - left)


def _wrapped(cell: str, width: int) -> list[str]:
    lines: list[str] = []
    for line in cell.split("\n"):
        lines += textwrap.wrap(line, width) if line.strip() else [""]
    return lines


def _widths(rows: list[_Row], room: int) -> list[int]:
    """The widest cell of each column; when that is too wide, room is dealt out one by one."""
    widest = [
        max(max(map(_width, cell.split("\n"))) for cell in column) for column in zip(*rows, strict=True)
    ]
    available = max(room - 3 * (len(widest) - 1) - 4, len(widest))
    if sum(widest) <= available:
        return widest
    dealt = [0] * len(widest)
    while available > 0:
        for column, most in enumerate(widest):
            if dealt[column] < most and available > 0:
                dealt[column] += 1
                available -= 1
    return [max(width, 1) for width in dealt]


def _width(text: str) -> int:
    """Columns of a terminal."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.east_asian_width(char) in "WF":
        return 2
    return 0 if unicodedata.combining(char) else 1


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text)


def _markdown(headers: Sequence[str], rows: list[_Row], escape: Escape, _room: int) -> str:
    parts = ["| " + " | ".join(headers) + " |", "|-----" * len(headers) + "|"]
    parts += ["| " + " | ".join(_markdown_cell(cell, escape) for cell in row) + " |" for row in rows]
    return "\n".join(parts) + "\n"


def _markdown_cell(cell: str, escape: Escape) -> str:
    """A value can neither end its cell nor its line."""
    return escape(" ".join(cell.splitlines())).replace("|", "\\|")


def _html(headers: Sequence[str], rows: list[_Row], _escape: Escape) -> str:
    """Values are escaped for HTML, whatever the alerter's medium is: the table is markup itself."""
    head = _html_row("th", _CENTERED, headers)
    body = "\n".join(_html_row("td", f"{_CENTERED}; vertical-align: top", row) for row in rows)
    return (
        '<table frame="box" rules="all">\n'
        f"    <thead>\n{head}\n    </thead>\n    <tbody>\n{body}\n    </tbody>\n</table>"
    )


def _html_row(tag: str, style: str, cells: Sequence[str]) -> str:
    inner = "\n".join(f'            <{tag} style="{style}">{_html_cell(cell)}</{tag}>' for cell in cells)
    return f"        <tr>\n{inner}\n        </tr>"


def _html_cell(cell: str) -> str:
    return html.escape(cell).replace("\n", "<br>")
