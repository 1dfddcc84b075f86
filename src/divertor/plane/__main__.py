"""`python -m divertor.plane STATE`: the control plane of the installation in that directory."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from divertor.collecting import collect_rarely
from divertor.layout import Layout
from divertor.plane import ending
from divertor.plane.assembly import serve


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python -m divertor.plane STATE", file=sys.stderr)
        return 2
    os.umask(0o077)
    collect_rarely()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return ending.run(lambda: serve(Layout(Path(sys.argv[1]).absolute())))


if __name__ == "__main__":
    ending.leave(main())
