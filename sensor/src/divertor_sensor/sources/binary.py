"""What an app may take out of a binary file that was uploaded: names in a ZIP archive, and a pickle.

Pure. Only what could do harm becomes a value: names that lead out of a directory, and what a pickle's reader
would be given. No archive is opened and nothing is decompressed.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from divertor_sensor.sources.inputs import Inputs

#: Local file headers and the central directory's (APPNOTE 6.3, sections 4.3.7 and 4.3.12).
_HEADER = re.compile(rb"PK(?:\x03\x04|\x01\x02)")
#: Where the name's length stands in each, and where the name begins.
_PLACES = {b"PK\x03\x04": (26, 30), b"PK\x01\x02": (28, 46)}
_LEADS_OUT = re.compile(r"\.\.|\A[/\\]|\0")
_MAX_NAMES = 64
#: The first byte of every pickle since protocol 2 (`PROTO`).
_PICKLE = b"\x80"
_MAX_PICKLE = 256 * 1024


def read_binary(into: Inputs, name: str, content: bytes) -> None:
    """The values in the binary field `name`; there are none in most."""
    if content[:2] == b"PK":
        found = dict.fromkeys(member for member in member_names(content) if _LEADS_OUT.search(member))
        for count, member in enumerate(found):
            if count >= _MAX_NAMES:
                into.complete = False
                break
            into.add("archive", name, member)
    elif content[:1] == _PICKLE and len(content) <= _MAX_PICKLE:
        into.add("form", name, content.decode("latin-1"))


def member_names(archive: bytes) -> Iterator[str]:
    """The names in a ZIP archive or the beginning of one, as `zipfile` reads them."""
    for header in _HEADER.finditer(archive):
        length_at, name_at = _PLACES[header[0]]
        start = header.start()
        if len(archive) >= start + name_at:
            (length,) = struct.unpack_from("<H", archive, start + length_at)
            raw = archive[start + name_at : start + name_at + length]
            try:
                yield raw.decode("utf-8")
            except UnicodeDecodeError:
                yield raw.decode("cp437")
