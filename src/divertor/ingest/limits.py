"""How much one request may bring, and the refusal of more.

Pure. Two kinds of bound: what makes a whole request too large is refused (`TooLargeError`); what only makes
one value too long is cut and counted, because otherwise an attacker could hide a detection by making it
large.
"""

from __future__ import annotations

import zlib

from divertor.errors import DivertorError, InputError, Position

#: Most bytes of a request body, after decompression as well.
MAX_BODY = 4 * 1024 * 1024
#: Most records in a request.
MAX_RECORDS = 5_000
#: Most values (of attributes, lists, maps) in a request.
MAX_VALUES = 250_000
#: Most attributes of one record or resource; more are dropped and counted.
MAX_ATTRIBUTES = 128
#: Most values in one record; more are dropped and counted.
MAX_RECORD_VALUES = 2_000
#: Longest text, in characters; longer is cut.
MAX_TEXT = 16 * 1024
#: Longest name of an attribute, in characters; longer is cut.
MAX_NAME = 256
#: Most characters of one record's texts together; the rest is cut.
MAX_RECORD_TEXT = 128 * 1024
#: The same two for a resource, which is copied into each of its records.
MAX_RESOURCE_VALUES = 256
MAX_RESOURCE_TEXT = 8 * 1024
#: Deepest nesting of an attribute's value.
MAX_DEPTH = 16


class TooLargeError(DivertorError):
    """The request brings more than one request may. Nothing of it was taken."""


def plain_body(body: bytes, content_encoding: str) -> bytes:
    """The body without its compression.

    :raises TooLargeError: it is larger than `MAX_BODY`, compressed or not. It is never unpacked further.
    :raises InputError: an unknown encoding, or damaged data.
    """
    if len(body) > MAX_BODY:
        raise TooLargeError(f"the body has {len(body)} bytes, more than {MAX_BODY}")
    encoding = content_encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    where = Position("request body")
    if encoding != "gzip":
        raise InputError("an unknown content encoding", where, "gzip or identity")
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(body, MAX_BODY + 1)
    except zlib.error as problem:
        raise InputError(f"not gzip: {problem}", where) from problem
    if len(plain) > MAX_BODY:
        raise TooLargeError(f"the body unpacks to more than {MAX_BODY} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise InputError("the gzip data does not end where the body ends", where)
    return plain


class Allowance:
    """What a request may still bring. One per request, told where each record and resource begins."""

    def __init__(self) -> None:
        self._records = MAX_RECORDS
        self._values = MAX_VALUES
        self._own_values = 0
        self._own_text = 0
        #: Values of the present record or resource that were left out.
        self.dropped = 0
        #: Whether a text of the present record or resource was cut.
        self.cut = False

    def next_record(self) -> None:
        """:raises TooLargeError: the request has too many records."""
        if not self._records:
            raise TooLargeError(f"the request has more than {MAX_RECORDS} records")
        self._records -= 1
        self._begin(MAX_RECORD_VALUES, MAX_RECORD_TEXT)

    def next_resource(self) -> None:
        """A resource's share is its own."""
        self._begin(MAX_RESOURCE_VALUES, MAX_RESOURCE_TEXT)

    def _begin(self, values: int, text: int) -> None:
        self._own_values = values
        self._own_text = text
        self.dropped = 0
        self.cut = False

    def value(self) -> bool:
        """Take one value; False when the record has had its share and it is left out.

        :raises TooLargeError: the request has too many values.
        """
        self._spend()
        if not self._own_values:
            self.dropped += 1
            return False
        self._own_values -= 1
        return True

    def drop(self) -> None:
        """Count a value that is left out for another reason.

        :raises TooLargeError: the request has too many values.
        """
        self._spend()
        self.dropped += 1

    def _spend(self) -> None:
        if not self._values:
            raise TooLargeError(f"the request has more than {MAX_VALUES} values")
        self._values -= 1

    def text(self, text: str) -> str:
        """The text, cut to what is left, and writable as UTF-8 (`?` for a lone surrogate)."""
        limit = min(MAX_TEXT, self._own_text)
        if len(text) > limit:
            text = text[:limit]
            self.cut = True
        self._own_text -= len(text)
        return text if text.isascii() else text.encode("utf-8", "replace").decode()


def name(text: str) -> str:
    """The name of an attribute, cut and writable as UTF-8."""
    short = text[:MAX_NAME]
    return short if short.isascii() else short.encode("utf-8", "replace").decode()
