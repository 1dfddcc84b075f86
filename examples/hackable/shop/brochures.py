"""Where the brochures are, and which there are: an attacker's list of names is not asked."""

from __future__ import annotations

from pathlib import Path

#: The directory of the brochures.
BROCHURES = Path(__file__).resolve().parent / "papers"
#: The brochures on offer, by file name.
BROCHURE_NAMES = frozenset({"divertor-tile.txt", "first-wall.txt", "magnet-strand.txt"})
