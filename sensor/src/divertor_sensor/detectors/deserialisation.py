"""Deserialisation of untrusted data (CWE-502; CAPEC-586; OWASP A08:2021 Software and Data Integrity).

Rule: what a pickle or an unsafe YAML document from a request may ask for is data. When it asks for a
function, or for a class of the standard library that is no plain data, that is an attack: calling such is how
these formats run code. A class of the app or of another library shows that the app reads such documents from
its clients, and is a vulnerability. `marshal` data from a request is an attack when it can hold code.

The statement is `module:name`, as the document asks for it, before that is imported; for `marshal` the data
itself, one character per byte. What it does not do: look into data that is encrypted, or compressed by
another method than zlib's.
"""

from __future__ import annotations

import base64
import binascii
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from urllib.parse import unquote

from divertor_sensor.detectors import UNTOUCHED, Candidate, Detector, Finding, Judgement, windows, worst
from divertor_sensor.work import Work

#: As much as is recorded of a body.
_MAX_LENGTH = 1024 * 1024
_MAX_INFLATED = 1024 * 1024
#: What a document needs to ask for to put names together while it is read.
_MAKES_TEXT = re.compile(r"_codecs|__builtin__|builtins|copy_?reg")
#: Stands for the rest of a pickle that is longer: a name that could be any.
_ANYTHING = b"\x93\\x"
_MAX_PIECES = 6
#: A plain search looks at this many characters in the time of one step.
_SEARCH = 16

_NAME = re.compile(r"([\w.]+):([\w.]*)")
#: Binary, lines (pickle's protocol 0), or YAML's tags for Python.
_SERIALISED = re.compile(r"[\x00-\x08\x80-\x9f\n]|python/|%TAG")
_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{6,}={0,2}")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}){4,}")
#: What signed values put between their parts.
_SEPARATORS = re.compile(r"[.:!|?,;&$\s]+|--")
_ZLIB, _GZIP = b"\x78", b"\x1f\x8b"
_ANY_HEADER = 32 + 15

_DATA = {
    "array": {"array", "_array_reconstructor"},
    "builtins": set(
        "bool bytearray bytes complex dict float frozenset int list object range set slice str tuple".split()
    ),
    "collections": {"ChainMap", "Counter", "OrderedDict", "defaultdict", "deque"},
    "copyreg": {"__newobj__", "__newobj_ex__", "_reconstructor"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
    "ipaddress": {"IPv4Address", "IPv4Network", "IPv6Address", "IPv6Network"},
    "pathlib": {"Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"},
    "time": {"struct_time"},
    "types": {"SimpleNamespace"},
    "uuid": {"SafeUUID", "UUID"},
    "zoneinfo": {"ZoneInfo", "ZoneInfo._unpickle"},
    "_codecs": {"encode"},
}
#: As Python 2 called them, which the older protocols still do.
_DATA |= {"__builtin__": _DATA["builtins"], "copy_reg": _DATA["copyreg"]}
_STANDARD = frozenset(sys.stdlib_module_names) | {"__builtin__", "copy_reg", "commands"}


def is_data(module: str, name: str) -> bool:
    """Whether making such an object cannot do anything but hold values."""
    names = _DATA.get(module)
    return names is not None and name in names


def is_dangerous(module: str, name: str) -> bool:
    """Whether calling it can do anything: a function, or a class of the standard library that is no data."""
    if is_data(module, name):
        return False
    if module.partition(".")[0] in _STANDARD:
        return not name.endswith(("Error", "Exception", "Warning"))
    return "." in name or not name[:1].isupper()


def select(value: str) -> list[str]:
    """The documents that an input could be: as it is, or base64, hexadecimal and zlib undone."""
    if len(value) > _MAX_LENGTH:
        return []
    texts = dict.fromkeys(_texts(value))
    return [text for text in texts if _SERIALISED.search(text)]


def _texts(value: str) -> Iterator[str]:
    yield value
    plain = unquote(value, "latin-1") if "%" in value else value
    yield plain
    stripped = plain.strip()
    pieces = _SEPARATORS.split(stripped, _MAX_PIECES) if len(stripped) < _MAX_INFLATED else []
    for piece in dict.fromkeys(["".join(stripped.split()), *pieces]):
        for raw in _decoded(piece):
            yield raw.decode("latin-1")
            if raw[:1] == _ZLIB or raw[:2] == _GZIP:
                yield _inflated(raw).decode("latin-1")


def _decoded(text: str) -> Iterator[bytes]:
    if _HEX.fullmatch(text):
        yield bytes.fromhex(text)
    if _ENCODED.fullmatch(text):
        padded = text.rstrip("=")
        padded += "=" * (-len(padded) % 4)
        try:
            yield base64.b64decode(padded, altchars=b"-_" if set("-_") & set(text) else None)
        except (binascii.Error, ValueError):
            return


def _inflated(raw: bytes) -> bytes:
    try:
        reader = zlib.decompressobj(_ANY_HEADER)
        text = reader.decompress(raw, _MAX_INFLATED)
        return text + _ANYTHING if reader.unconsumed_tail and text[:1] == b"\x80" else text
    except zlib.error:
        return b""


def judge(statement: str, candidates: Sequence[Candidate], work: Work) -> Judgement:
    """Whether a candidate is the document that asks for `statement`.

    :raises Spent: there is too much to look at.
    """
    asked = _NAME.fullmatch(statement)
    touched, finding = False, None
    for candidate in candidates:
        work.spend(8 + len(candidate.text) // _SEARCH * 3)
        if asked is None and candidate.text.startswith(statement):
            hostile = "c" in statement or "\xe3" in statement
        elif asked is not None and _asks_for(candidate.text, asked[1], asked[2]):
            hostile = is_dangerous(asked[1], asked[2])
        else:
            continue
        touched = True
        if asked is None or not is_data(asked[1], asked[2]):
            finding = worst(finding, Finding(candidate.origin, hostile))
    return Judgement(True, finding) if touched else UNTOUCHED


def _asks_for(text: str, module: str, name: str) -> bool:
    """Whether a document names both. A pickle may write them with escapes, which are not resolved here."""
    if f"{module}\n{name}\n" in text:
        return True
    if "python/" in text or "%TAG" in text:
        return name in text and (module in text or module == "builtins")
    if "\x93" not in text:
        return False
    if "\\u" in text or "\\x" in text or _MAKES_TEXT.search(text):
        return True
    return module in text and name in text


def is_innocent(statement: str) -> bool:
    """Whether what is asked for cannot do harm, whoever asks."""
    asked = _NAME.fullmatch(statement)
    return asked is not None and not is_dangerous(asked[1], asked[2])


def marks(statement: str) -> list[str]:
    """Data leaves itself in the request; a name may have come in any encoding, so it is in every request."""
    return [""] if _NAME.fullmatch(statement) else windows(statement[:1024])


DETECTOR = Detector(
    type="unsafe_deserialisation",
    cwe="CWE-502",
    owasp="A08:2021",
    select=select,
    judge=judge,
    is_innocent=is_innocent,
    marks=marks,
)
