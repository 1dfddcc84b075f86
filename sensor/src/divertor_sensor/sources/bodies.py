"""Turns what an app has read of a request's body into values: forms, multipart forms, JSON, raw text.

Pure. Which parser an app uses is not for the sensor to know (a content type can say one thing and the app do
another), so every parser that could apply is run and all they find counts. Bounded: multipart no more than
`MAX_PARTS` parts of `MAX_PART` bytes; hitting a bound is told. JSON is `sources.documents`'s, XML
`sources.markup`'s.
"""

from __future__ import annotations

import codecs
import json
import re
from binascii import a2b_qp
from collections.abc import Iterator
from email.errors import MessageError
from email.message import Message
from email.utils import collapse_rfc2231_value
from itertools import islice
from urllib.parse import unquote

from divertor_sensor.sources.binary import read_binary
from divertor_sensor.sources.charsets import decoded, foreign_charset
from divertor_sensor.sources.derived import readings
from divertor_sensor.sources.documents import names_operator, read_brackets, read_json
from divertor_sensor.sources.inputs import Inputs, read_pairs
from divertor_sensor.sources.markup import read_xml
from divertor_sensor.sources.recording import LATE_PART

MAX_PARTS = 512
#: Bytes of one part of a multipart form, a file's content included; a longer one is no value.
MAX_PART = 256 * 1024
_MAX_BOUNDARIES = 4
_MAX_HEAD = 4096

_BOUNDARY = re.compile(r'boundary\s*=\s*(?:"((?:[^"\\]|\\.)*+)"|([^";,\s]{1,200}))', re.IGNORECASE)
_OPENING_LINE = re.compile(rb"(?:\A|[\r\n])--([^\r\n]{1,200})[\r\n]")
_PREAMBLE = 64 * 1024
_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n")
_LINE_OF_BOUNDARY = re.compile(rb"(?:\r\n|\n|\r)--")
_PLAINLY_A_FILE = re.compile(
    rb'content-disposition: form-data; name="[^"\\;]*"; filename="[^"\\;]*"(?:\r?\n|\Z)', re.IGNORECASE
)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)"?')
_NAMES = re.compile(r"""(file)?name(\*?)\s*=\s*(?:"((?:[^"\\]|\\.)*+)"?|([^;\r\n]*))""", re.IGNORECASE)
_XML_ENCODING = re.compile(rb"""<\?xml\b[^>]{0,100}?\bencoding\s*=\s*["']([\w.:-]{1,40})""")
#: Encodings of XML in which a text reads differently than in UTF-8, beyond those shown by their bytes.
_XML_ENCODINGS = {
    "iso-8859-1": "latin-1",
    "latin1": "latin-1",
    "us-ascii": "latin-1",
    "windows-1252": "cp1252",
    "utf-7": "utf-7",
}
_JSON_STARTS = frozenset('{["')

# Loaded now: an app's own first use of one opens a file, and judging that must not need the same codec.
for _codec in ("utf-8-sig", "utf-16", "utf-16-be", "utf-16-le", "utf-32", "utf-32-be", "utf-32-le"):
    codecs.lookup(_codec)


def read_body(into: Inputs, content_type: str, body: bytes, whole: bool) -> None:
    """What the app has read of the body so far; `whole` is False for a cut recording."""
    kind = content_type.partition(";")[0].strip().lower()
    boundaries = _boundaries(content_type, body)
    for boundary in boundaries:
        _read_multipart(into, boundary, body)
    is_json = _read_json_bytes(into, body, kind.endswith("json"))
    has_parts = bool(boundaries) and kind == "multipart/form-data"
    if not has_parts and not is_json:
        _read_xml_bytes(into, body)
    if not has_parts:
        _read_plain(into, kind, body, is_json)
    if not whole and has_parts:
        # The heads of the parts that follow are kept (`sources.recording`).
        into.cut_content = True
    elif not whole:
        into.complete = False


def read_message(into: Inputs, message: bytes) -> None:
    """A message of a web socket, which has no type: JSON, XML, a form, or text."""
    read_body(into, "text/plain", message, True)


def _read_plain(into: Inputs, kind: str, body: bytes, is_json: bool) -> None:
    """A body without parts: a form, unless it is plainly something else; other text is one value as well."""
    is_form = kind == "application/x-www-form-urlencoded" or not kind
    if is_form or (not is_json and b"=" in body):
        read_pairs(into, "form", body.decode("latin-1"))
    if body[:2] == b"PK":
        read_binary(into, "(body)", body)
    if not is_form and not is_json:
        into.add_all("form", "(body)", readings(body))


def _read_json_bytes(into: Inputs, body: bytes, declared: bool) -> bool:
    """Read the body as JSON when it could be: any of its encodings, with or without a byte order mark."""
    head = body[:8]
    if not declared and b"\0" not in head and head[:1] not in b"\xef\xfe\xff" and not _opens_json(body):
        return False
    for text in _json_texts(body):
        if declared or text.lstrip()[:1] in _JSON_STARTS:
            return read_json(into, "json", "", text)
    return False


def _opens_json(body: bytes) -> bool:
    return body[:64].lstrip()[:1] in (b"{", b"[", b'"') or not body[:64].strip()


def _json_texts(body: bytes) -> Iterator[str]:
    try:
        encoding = json.detect_encoding(body)
        yield body.decode(encoding, "surrogatepass").removeprefix("\ufeff")
    except (UnicodeDecodeError, ValueError):
        yield body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def _read_xml_bytes(into: Inputs, body: bytes) -> None:
    """Read the body as XML when it could be, in the encoding it names or shows (XML 1.0, appendix F)."""
    head = body[:200].lstrip(b" \t\r\n")
    text = ""
    if b"\0" in head[:8] or head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = body.decode(_wide_encoding(head), "replace")
    elif head.startswith((b"<", b"\xef\xbb\xbf")):
        declared = _XML_ENCODING.match(head.removeprefix(b"\xef\xbb\xbf"))
        name = declared[1].decode("ascii").lower() if declared else "utf-8"
        text = body.decode(_XML_ENCODINGS.get(name, "utf-8"), "surrogateescape")
    text = text.lstrip("\ufeff \t\r\n")
    if text.startswith("<"):
        read_xml(into, "xml", "", text)


def _wide_encoding(head: bytes) -> str:
    """The encoding of text whose first character is `<` or a byte order mark, and takes more than a byte."""
    if head[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff", b"<\0\0\0", b"\0\0\0<"):
        return "utf-32-le" if head[0] else "utf-32-be"
    return "utf-16-be" if head[0] in b"\0\xfe" else "utf-16-le"


def _boundaries(content_type: str, body: bytes) -> list[bytes]:
    """Every boundary that a parser could find in the header, and what could be one among the body's first
    lines.
    """
    found: dict[str, None] = {}
    if "boundary" in content_type.lower():
        parsed = _boundary_parameter(content_type)
        if parsed:
            found[parsed] = None
        for quoted, bare in _BOUNDARY.findall(content_type)[:_MAX_BOUNDARIES]:
            found[re.sub(r"\\(.)", r"\1", quoted) or bare] = None
    boundaries = [name.encode("latin-1", "replace") for name in found if name]
    openings = islice(_OPENING_LINE.finditer(body, 0, _PREAMBLE), _MAX_BOUNDARIES)
    boundaries += [opening[1].rstrip() for opening in openings]
    return list(dict.fromkeys(boundary for boundary in boundaries if b"--" + boundary in body))


def _boundary_parameter(content_type: str) -> str:
    """The boundary as a tokenizer of header parameters reads it, extended notation included."""
    message = Message()
    message["content-type"] = " ".join(content_type.split())
    try:
        return str(collapse_rfc2231_value(message.get_param("boundary", "")))
    except (MessageError, ValueError, LookupError, TypeError):
        return ""


def _read_multipart(into: Inputs, boundary: bytes, body: bytes) -> None:
    line = re.compile(rb"(?:\A|\r\n|\n|\r)--" + re.escape(boundary) + rb"(?:--)?[ \t]*(?=\r|\n|\Z)")
    parts = line.split(body, MAX_PARTS + 1)
    if len(parts) > MAX_PARTS:
        into.complete = False
    fields = [_read_part(into, part) for part in parts[1 : MAX_PARTS + 1]]
    if any(names_operator(name) for name, _ in fields):
        read_brackets(into, "form", fields)


def _read_part(into: Inputs, part: bytes) -> tuple[str, str]:
    """Take one part; its name and its text, which is "" for one that is long or binary."""
    part = part.removeprefix(b"\r\n") if part.startswith(b"\r\n") else part[1:]
    blank = _BLANK_LINE.search(part)
    head, content = (part[: blank.start()], part[blank.end() :]) if blank else (part, b"")
    if len(head) > _MAX_HEAD:
        into.complete = False
    name = _read_names(into, head[:_MAX_HEAD].decode("utf-8", "replace"))
    if content[:2] == b"PK" or (content[:1] == b"\x80" and b"\0" in content[:1024]):
        read_binary(into, name, content)
    if len(content) > MAX_PART:
        _leave_out(into, head)
        return name, ""
    texts = _transferred(head, content)
    if texts:
        into.add_all("form", name, texts)
    if b"\0" not in content[:1024]:
        texts = readings(content)
    elif (text := content.replace(b"\0", b"").lstrip(b"\xff\xfe")).isascii():
        texts = [text.decode("ascii")]
    # Other content with NUL is binary: a database, a shell and a file system all refuse it as it is.
    into.add_all("form", name, texts)
    return name, texts[0] if texts else ""


def _transferred(head: bytes, content: bytes) -> list[str]:
    """What a reader makes of a part's content that follows its head: quoted-printable, or another charset."""
    if b"charset" not in (lowered := head.lower()) and b"quoted-printable" not in lowered:
        return []
    plain = a2b_qp(content) if b"quoted-printable" in lowered else content
    charset = foreign_charset(head.decode("latin-1"))
    texts = [decoded(plain, charset)] if charset else []
    return [text for text in (texts if plain is content else [*texts, *readings(plain)]) if text]


def read_late_part(into: Inputs, part: bytes) -> None:
    """A part of which only the beginning was kept: its names, and its content when that is short."""
    blank = _BLANK_LINE.search(part)
    if blank is None:
        into.complete = False
        return
    name = _read_names(into, part[: blank.start()].decode("utf-8", "replace"))
    content, *rest = _LINE_OF_BOUNDARY.split(part[blank.end() :], 1)
    if not rest and len(part) >= LATE_PART:
        _leave_out(into, part[: blank.start()])
    into.add_all("form", name, readings(content))


def _leave_out(into: Inputs, head: bytes) -> None:
    """Note that a part's content is not among the values. Only a head that no parser reads in two ways
    makes it a file's.
    """
    if _PLAINLY_A_FILE.search(head):
        into.cut_content = True
    else:
        into.complete = False


def _read_names(into: Inputs, head: str) -> str:
    """The names in a part's head; parsers differ in which they take for the file's, so each is a value."""
    name = ""
    for is_file, extended, quoted, bare in _NAMES.findall(head):
        value = re.sub(r'\\(["\\])', r"\1", quoted) if quoted else bare.strip()
        value = unquote(value.rpartition("'")[2]) if extended else value
        if is_file:
            into.add("file", name, value)
        elif not name:
            name = value
        if not is_file and not value.isidentifier():
            into.add("form", name, value)
    for match in _QUOTED.finditer(head):
        if not match[1].isidentifier():
            into.add("file", name, match[1])
    return name
