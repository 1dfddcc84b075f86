"""What is never the end of an interrupted request: what the interpreter and the event loop raise."""

from __future__ import annotations

import sys


def must_pass(problem: BaseException) -> bool:
    """Whether `problem` is not ours to swallow. asyncio is not imported for it: a WSGI app may do without its
    10 MB.
    """
    if isinstance(problem, (KeyboardInterrupt, SystemExit, GeneratorExit)):
        return True
    asyncio = sys.modules.get("asyncio.exceptions")
    return asyncio is not None and isinstance(problem, asyncio.CancelledError)
