"""What the sinks of the database drivers have in common: a wrapper that judges a statement before its call.

Judged is the text the app hands over, before the driver merges or sends any values: bound values are never
in it. A coroutine or generator function is judged when it is called, and gives its own coroutine or generator
back: no layer is added, and the app's frame is on the stack also when a task runs the coroutine later.

A driver calls its own public functions, too: to run again what was judged at the way in, to roll back, to put
a connection back in order. Those calls are known by the module they come from, and left alone; an interrupted
request must not leave a transaction open.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection
from time import perf_counter
from typing import Any, TypeAlias

from divertor_sensor import context
from divertor_sensor.behaviour import slow
from divertor_sensor.detectors import Detector
from divertor_sensor.guard import check
from divertor_sensor.patching import Wrapper
from divertor_sensor.request import Request

#: Gives the text of what an app handed to a driver, and None for what is no statement. The second argument is
#: the cursor or connection it is for.
Render: TypeAlias = Callable[[Any, Any], str | None]

_NAMED = re.compile(r"%\([^()]{1,200}\)s")


def text_of(statement: Any, owner: Any = None) -> str | None:
    """A statement given as text or bytes. Bytes are read as UTF-8, or else as Latin-1, which always can."""
    if isinstance(statement, str):
        return "".join((statement,))  # an exact str, whatever a subclass of the app answers
    if not isinstance(statement, (bytes, bytearray, memoryview)):
        return None
    content = bytes(statement)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def judged(
    detector: Detector,
    sink: str,
    parameter: str,
    *,
    position: int = 0,
    within: str = "%s",
    own: Collection[str] = (),
    render: Render = text_of,
) -> Wrapper:
    """A wrapper that judges one argument: that at `position`, or else the one named `parameter`.

    `within` tells what the driver makes of it. Calls that come from a module named in `own` are passed on as
    they are; so is what `render` gives no text for, and a call that lacks the argument. A call that takes
    long is told; not that of a coroutine function, which returns at once.
    """

    def wrapper(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        request = context.current.get()
        if request is not None and not (own and sys._getframe(1).f_globals.get("__name__") in own):
            given = args[position] if len(args) > position else kwargs.get(parameter)
            text = given if type(given) is str else _rendered(request, sink, render, given, instance)
            if text is not None:
                if "%(" in text and len(args) + len(kwargs) > position + 1:
                    text = as_merged(text)
                check(request, detector, sink, text if within == "%s" else within % text)
                started = perf_counter()
                try:
                    return wrapped(*args, **kwargs)
                finally:
                    took = perf_counter() - started
                    if took > request.sensor.slow:
                        slow(request, sink, text, took)
        return wrapped(*args, **kwargs)

    return wrapper


def as_merged(text: str) -> str:
    """A statement with quotes around its named placeholders, when one of them stands within a literal.

    Drivers that merge values into the text do so there, too, and bring the quotes: an input that is such a
    placeholder leaves the literal with them.
    """
    if not any("%(" in literal for literal in text.split("'")[1::2]):
        return text
    return _NAMED.sub(r"'\g<0>'", text)


def _rendered(request: Request, sink: str, render: Render, given: Any, owner: Any) -> str | None:
    """What `render` gives. A statement that cannot be rendered is not judged; the driver will refuse it."""
    if given is None:
        return None
    try:
        return render(given, owner)
    except Exception as problem:
        request.sensor.faults.contain(f"statement of {sink}", problem)
        return None


def rendered_by(module: Any) -> Render:
    """How to read the `Composable` objects of a `sql` module (psycopg's, or psycopg2's, which is like it).

    Values (`Literal`) are left out as if they were bound, so that they cost nothing; names are quoted as the
    driver quotes them. A kind made by the app is asked for its text.
    """

    def render(node: Any, owner: Any) -> str | None:
        if not isinstance(node, module.Composable):
            return text_of(node)
        kind = type(node)
        if kind is module.Composed:
            return "".join([render(part, owner) or "" for part in node])
        if kind is module.SQL:
            return str(node.as_string(None))
        if kind is module.Identifier:
            names = node.strings if hasattr(node, "strings") else node._obj
            return ".".join('"' + name.replace('"', '""') + '"' for name in names)
        return "%s" if kind in (module.Literal, module.Placeholder) else str(node.as_string(owner))

    return render
