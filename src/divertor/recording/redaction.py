"""What is struck out of an exchange before anything is stored: by the policy's rules and by good sense. Pure.

Bodies are read as an application might: JSON (also damaged, or cut short), forms, multipart forms, by what
they look like and not only by what their header claims; compressed ones are decoded first, and withheld when
that is not possible within bounds. Everything that is not struck out stays, byte for byte. Other formats
(HTML, XML) are not searched for fields.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote_to_bytes

from divertor.isolation.identity import masked
from divertor.model.artifacts import Recording
from divertor.model.isolation import KeyKind
from divertor.recording.decoding import decoded
from divertor.recording.exchange import Body, Exchange, Headers, Key, header

STRUCK = "[redacted]"
#: Credentials, which nobody needs to see to understand an attack.
HEADERS = frozenset({"authorization", "proxy-authorization"})
FIELDS = frozenset(
    "pwd secret clientsecret token accesstoken refreshtoken idtoken apikey card cardnumber creditcard cvv cvc"
    " ssn".split()
)
#: Fields whose names hold one of these: `new_password`, `passwordConfirmation`.
PARTS = ("password", "passwd", "passphrase")
_URLS = frozenset({"referer", "location", "content-location", "x-divertor-origin"})


@dataclass(frozen=True, slots=True)
class Rules:
    """What is struck out, by names in lower case; names of fields without `-`, `_` and blanks as well."""

    headers: frozenset[str] = HEADERS
    cookies: frozenset[str] = frozenset()
    fields: frozenset[str] = FIELDS

    @classmethod
    def of(cls, recording: Recording) -> Rules:
        """The rules of a policy, added to those that always hold."""
        named: dict[str, set[str]] = {"header": set(), "cookie": set(), "field": set()}
        for entry in recording.redact:
            kind, _, name = entry.strip().partition(" ")
            named.setdefault(kind, set()).add(name.strip().lower())
        return cls(
            HEADERS | named["header"],
            frozenset(named["cookie"]),
            FIELDS | {_plain(name.encode()).decode("utf-8", "replace") for name in named["field"]},
        )

    def is_field(self, name: bytes) -> bool:
        """Whether a field is struck out: `user[password]`, `user.password` and `Pass-Word` are too."""
        for part in re.split(rb"[\[\].:]", name):
            text = _plain(part).decode("utf-8", "replace")
            if text in self.fields or any(known in text for known in PARTS):
                return True
        return False

    def may_concern(self, data: bytes) -> bool:
        """False when no name of a field is anywhere in `data`, however it is spelt."""
        if b"%" in data or b"\\" in data:
            return True
        plain = _plain(data).replace(b"\0", b"")
        return any(name.encode() in plain for name in (*PARTS, *self.fields))


def redacted(exchange: Exchange, rules: Rules) -> Exchange:
    """`exchange` without what `rules` strike out, and with the names of that in `redacted`."""
    work = _Work(rules)
    return replace(
        exchange,
        by=None if exchange.by is None else work.key(exchange.by),
        added=tuple(work.key(key) for key in exchange.added),
        path=work.path(exchange.path),
        request_headers=work.headers(exchange.request_headers),
        request_body=work.body(exchange.request_body, exchange.request_headers),
        response_headers=work.headers(exchange.response_headers),
        response_body=work.body(exchange.response_body, exchange.response_headers),
        redacted=tuple(dict.fromkeys((*exchange.redacted, *sorted(work.struck)))),
    )


@dataclass(slots=True)
class _Work:
    rules: Rules
    struck: set[str] = field(default_factory=set)

    def key(self, key: Key) -> Key:
        """A key that is a struck-out cookie or header keeps what is shown of it anyway."""
        name = key.selector.name.lower()
        if key.selector.kind is KeyKind.COOKIE and name in self.rules.cookies:
            return replace(key, value=masked(key.value))
        if key.selector.kind is KeyKind.HEADER and name in self.rules.headers - HEADERS:
            return replace(key, value=masked(key.value))
        if key.selector.kind is KeyKind.BEARER and "authorization" in self.rules.headers - HEADERS:
            return replace(key, value=masked(key.value))
        return key

    def headers(self, headers: Headers) -> Headers:
        return tuple((name, self._header(name.lower(), value)) for name, value in headers)

    def _header(self, name: str, value: str) -> str:
        if name in self.rules.headers:
            self.struck.add(f"header {name}")
            return STRUCK
        if name in _URLS:
            return self.path(value)
        if name == "cookie" and self.rules.cookies:
            return "; ".join(self._cookie(pair) for pair in value.split(";"))
        if name == "set-cookie" and self.rules.cookies:
            pair, semicolon, rest = value.partition(";")
            return self._cookie(pair) + semicolon + rest
        return value

    def _cookie(self, pair: str) -> str:
        name = pair.partition("=")[0].strip()
        if name.lower() not in self.rules.cookies:
            return pair.strip()
        self.struck.add(f"cookie {name.lower()}")
        return f"{name}={STRUCK}"

    def path(self, path: str) -> str:
        """The parameters of its segments, of its query, and of its fragment."""
        data = path.encode("utf-8", "surrogateescape")
        before, mark, query = data.partition(b"?")
        found = self._pairs(before, _IN_SEGMENT) + mark + self._pairs(query, _IN_QUERY)
        return found.decode("utf-8", "surrogateescape")

    def body(self, body: Body, headers: Headers) -> Body:
        if not body.data:
            return body
        encoding = header(headers, "content-encoding")
        plain = decoded(body.data, encoding)
        if plain is None:
            return Body(b"", body.size, withheld=f"encoded as {encoding[:40]}, which cannot be searched")
        if not self.rules.may_concern(plain):
            return body
        kind = header(headers, "content-type")
        found = self._multipart(plain, kind) if "multipart/" in kind.lower() else self._flat(plain, kind)
        if found is None:
            return Body(b"", body.size, withheld="it cannot be searched for what is to be struck out")
        if found == plain:
            return body
        return replace(body, data=found, decoded=bool(encoding.strip()))

    def _flat(self, data: bytes, kind: str) -> bytes | None:
        media = kind.partition(";")[0].strip().lower()
        if b"\0" in data[:4] and not media.startswith(("application/octet", "image/", "video/", "audio/")):
            return None  # UTF-16 or -32, as JSON may be
        start = data[:200].lstrip(b"\xef\xbb\xbf \t\r\n)]}',")[:1]
        if "json" in media or start in (b"{", b"[", b'"'):
            data = self._json(data)
        if media in ("", "text/plain", "application/x-www-form-urlencoded"):
            data = self._pairs(data, _IN_FORM)
        return data

    def _pairs(self, data: bytes, pattern: re.Pattern[bytes]) -> bytes:
        def replaced(found: re.Match[bytes]) -> bytes:
            name = unquote_to_bytes(found["name"].replace(b"+", b" "))
            value = found["value"]
            if value and self.rules.is_field(name):
                self._struck_field(name)
                value = quote(STRUCK).encode()
            elif b"%7B" in value[:12].upper() or b"{" in value[:12]:
                value = self._nested(value)
            elif b"#" in value and pattern is not _IN_FORM:
                head, mark, fragment = value.partition(b"#")
                value = head + mark + self._pairs(fragment, _IN_FORM)
            return found["before"] + found["name"] + b"=" + value

        return pattern.sub(replaced, data)

    def _nested(self, value: bytes) -> bytes:
        """JSON as the value of a form's field."""
        plain = unquote_to_bytes(value.replace(b"+", b" "))
        found = self._json(plain)
        return value if found == plain else quote(found).encode()

    def _json(self, data: bytes) -> bytes:
        """By its tokens: so it may be damaged, cut short, nested however deep, and keeps its spelling."""
        parts: list[bytes] = []
        kept = 0
        tokens = _Tokens(data)
        while (token := tokens.next()) is not None:
            if not token[0].startswith(b'"') or not tokens.is_name() or not self._is_name(token[0]):
                continue
            start, end = tokens.value()
            parts += [data[kept:start], b'"' + STRUCK.encode() + b'"' if end > start else b""]
            kept = end
        return b"".join([*parts, data[kept:]])

    def _is_name(self, token: bytes) -> bool:
        name = _UNICODE.sub(_character, token.strip(b'"')).replace(b"\\", b"")
        if not self.rules.is_field(name):
            return False
        self._struck_field(name)
        return True

    def _multipart(self, data: bytes, kind: str) -> bytes | None:
        """None when it has no boundary that can be told."""
        named = _BOUNDARY.search(kind)
        boundary = (named["quoted"] or named["plain"]) if named else ""
        if not boundary:
            return None
        line = b"--" + boundary.encode("utf-8", "surrogateescape")
        return line.join(self._part(part) for part in data.split(line))

    def _part(self, part: bytes) -> bytes:
        end = _BLANK_LINE.search(part)
        if end is None:
            return part
        head, content = part[: end.end()], part[end.end() :]
        names = [found["quoted"] or found["plain"] or b"" for found in _PART_NAME.finditer(head)]
        struck = next((name for name in names if self.rules.is_field(unquote_to_bytes(name))), None)
        if struck is None:
            return head + (self._json(content) if content.lstrip()[:1] in (b"{", b"[") else content)
        self._struck_field(struck)
        tail = b"\r\n" if content.endswith(b"\r\n") else b"\n" if content.endswith(b"\n") else b""
        return head + STRUCK.encode() + tail

    def _struck_field(self, name: bytes) -> None:
        if len(self.struck) < 100:
            self.struck.add(f"field {name[:80].decode('utf-8', 'replace')}")


class _Tokens:
    """Goes through JSON's tokens; what is between them is white space."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def next(self) -> tuple[bytes, int, int] | None:
        """The next token, where it starts and where it ends."""
        found = _TOKEN.search(self._data, self._at)
        if found is None:
            return None
        self._at = found.end()
        return found[0], found.start(), found.end()

    def is_name(self) -> bool:
        """Whether a colon follows, which is then behind us."""
        found = _COLON.match(self._data, self._at)
        if found is None:
            return False
        self._at = found.end()
        return True

    def value(self) -> tuple[int, int]:
        """Where the value that follows starts and ends."""
        token = self.next()
        if token is None or token[0] in (b"}", b"]", b",", b":"):
            return self._at, self._at
        start = token[1]
        depth = 1 if token[0] in (b"{", b"[") else 0
        while depth and (token := self.next()) is not None:
            depth += 1 if token[0] in (b"{", b"[") else -1 if token[0] in (b"}", b"]") else 0
        return start, self._at


_IN_SEGMENT = re.compile(rb"(?P<before>^|[;/#&])(?P<name>[^=;/#&]*)=(?P<value>[^;/&]*)")
_IN_QUERY = re.compile(rb"(?P<before>^|[&;])(?P<name>[^=&;]*)=(?P<value>[^&;]*)")
_IN_FORM = re.compile(rb"(?P<before>^|[&;\r\n])(?P<name>[^=&;\r\n]*)=(?P<value>[^&;\r\n]*)")
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[{}\[\],:]|[^\s"{}\[\],:]+', re.DOTALL)
_COLON = re.compile(rb"\s*+:")
_UNICODE = re.compile(rb"\\u([0-9A-Fa-f]{4})")
_BOUNDARY = re.compile(r'boundary\s*=\s*(?:"(?P<quoted>[^"]+)"|(?P<plain>[^\s;,"]+))', re.IGNORECASE)
_BLANK_LINE = re.compile(rb"\r?\n[ \t]*\r?\n")
_PART_NAME = re.compile(rb"""\bname\*?\s*=\s*(?:"(?P<quoted>[^"]*)"|(?P<plain>[^\s;"]+))""", re.IGNORECASE)
_SEPARATORS = re.compile(rb"[-_ ]+")


def _plain(name: bytes) -> bytes:
    return _SEPARATORS.sub(b"", name.lower())


def _character(found: re.Match[bytes]) -> bytes:
    return chr(int(found[1], 16)).encode("utf-8", "surrogatepass")
