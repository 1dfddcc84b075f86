"""`python -m divertor.plane STATE`: the control plane of the installation in that directory."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import uvloop

from divertor.collecting import collect_rarely
from divertor.errors import DivertorError
from divertor.layout import Layout
from divertor.plane.assembly import serve


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python -m divertor.plane STATE", file=sys.stderr)
        return 2
    os.umask(0o077)
    collect_rarely()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # One line per request to a webhook would tell its address.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        uvloop.run(serve(Layout(Path(sys.argv[1]).absolute())))
    except DivertorError as problem:
        return _refuse([problem])
    except ExceptionGroup as group:
        # What a part meets while all run. Whatever is not expected is a bug of ours and shows its trace.
        expected, unexpected = group.split(DivertorError)
        if expected is None or unexpected is not None:
            raise
        return _refuse(expected.exceptions)
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass
    return 0


def _refuse(problems: Iterable[Exception]) -> int:
    for problem in problems:
        if isinstance(problem, ExceptionGroup):
            _refuse(problem.exceptions)
        else:
            print(f"divertor: {problem}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
