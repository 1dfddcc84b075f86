"""The request being served, as the sinks see it: its inputs, and whether it was interrupted.

Built by a framework wrapper from the request's head; the body is recorded while the app reads it, and never
ahead of it. Values are extracted only when a sink needs them. The decision itself is
`divertor_sensor.guard`'s.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from divertor_sensor import context
from divertor_sensor.detectors import Candidate, Detector
from divertor_sensor.reports.detection import MAX_TEXT, Subject
from divertor_sensor.sources.bodies import read_body, read_late_part, read_message
from divertor_sensor.sources.charsets import decoded, foreign_charset, reread
from divertor_sensor.sources.inputs import METHODS, Input, Inputs, cookie_pairs
from divertor_sensor.sources.parts import (
    Part,
    Searched,
    cookie_part,
    header_parts,
    is_clear,
    path_part,
    query_part,
)
from divertor_sensor.sources.raw import raw_text
from divertor_sensor.sources.recording import MAX_BODY, Body, Messages
from divertor_sensor.work import Work

if TYPE_CHECKING:
    from divertor_sensor.sensor import Sensor
    from divertor_sensor.trail import Trail

#: Seconds after the response for which code started by the request is still held to its inputs.
_AFTERLIFE = 30.0
#: The longest raw request that a statement is learned from.
_MAX_TAUGHT = 16 * 1024
_LONG_VALUE = 12
_TELLING = 3
#: Percent-encoded characters but the blank and a few signs that mean nothing in a literal.
_ENCODED = re.compile("%(?!2[089ABCFabcf]|3[ADad]|40)")
#: What the content of a long uploaded file is not used for: paths, hosts, operators, names in a directory.
_SHORT_OF_FILES = frozenset({"path_traversal", "ssrf", "nosql_injection", "ldap_injection"})
#: Headers that are the same in every request of a browser.
_COMMON_HEADERS = frozenset({"user-agent", "accept", "accept-encoding", "accept-language", "host", "referer"})


class AttackInterrupted(BaseException):
    """Raised at a sink instead of running an attack.

    Not an `Exception`, so that `except Exception` does not take it for a failure of the app. Even when it is
    swallowed, the request's response is replaced.
    """


class ConnectionCut(RuntimeError):
    """Raised out of the app's response when it must end in the middle: the server closes the connection."""


class Head(NamedTuple):
    """The head of a request, as the protocol delivered it. Header names are lower case; `path` is decoded;
    `raw_path` is not, without the query, and "" when the server does not tell.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    peer: str
    raw_path: str = ""


class Request:
    """One request under guard. `interrupted` is set once an attack was stopped, and never unset.

    `replaceable`: nothing of the response is out yet, so that another one can take its place. `load` reads
    the head, when it is needed; `texts` gives every text of it, and possibly more, for a first look.
    """

    __slots__ = (
        "_closed_at",
        "_complete",
        "_extracted",
        "_head",
        "_inputs",
        "_load",
        "_parts",
        "_plain",
        "_plain_at",
        "_raw",
        "_searched",
        "_texts",
        "_searching",
        "_seen",
        "_whole",
        "body",
        "cleared",
        "hostile",
        "interrupted",
        "outcome",
        "replaceable",
        "sensor",
        "started",
        "status",
        "trail",
        "user",
        "work",
    )

    def __init__(
        self, sensor: Sensor, load: Callable[[], Head], texts: Callable[[], Iterable[str]] | None = None
    ) -> None:
        self.sensor = sensor
        self.interrupted = False
        #: Whether an attack was found in it, stopped or not.
        self.hostile = False
        #: What became of it: "" while nothing was stopped, then `diverted` or `blocked`.
        self.outcome = ""
        self.replaceable = True
        #: When it came, by `time.perf_counter`; and the status of its response, 0 until that is known.
        self.started = time.perf_counter()
        self.status = 0
        #: Whom the app says it serves; "" until it does.
        self.user = ""
        #: Where names and redirects led to; None until there is something to remember.
        self.trail: Trail | None = None
        self._load = load
        self._texts = texts
        self._head: Head | None = None
        self.body = Body()
        self._parts: list[Part] = []
        self._plain = False
        self._plain_at = -1
        #: How much of the body the parts are of; -1 before there are any.
        self._extracted = -1
        #: Whether they are all there is; and whether that goes for the content of long files, too.
        self._complete = self._whole = False
        self._inputs: Inputs | None = None
        self._searched: dict[Detector, list[Searched]] = {}
        self._closed_at = 0.0
        self._seen: set[tuple[str, str, str]] = set()
        self._raw: str | None = None
        self.work = Work()
        self._searching = Work()
        #: Statements judged already: the inputs they were judged by are the same.
        self.cleared: set[tuple[Detector, str]] = set()

    @property
    def head(self) -> Head:
        if self._head is None:
            self._head = self._load()
        return self._head

    def close(self) -> None:
        """The response is done; what still runs for it is guarded for a short while."""
        self.replaceable = False
        self._closed_at = time.monotonic()

    @property
    def lapsed(self) -> bool:
        """Whether the request is so long over that running code no longer counts as its own."""
        return self._closed_at > 0 and time.monotonic() - self._closed_at > _AFTERLIFE

    def first_time(self, kind: str, parameter: str, statement: str) -> bool:
        """False when this very finding was already reported for this request (one sink under another)."""
        key = (kind, parameter, statement)
        if key in self._seen or len(self._seen) >= 64:
            return False
        self._seen.add(key)
        return True

    def has_findings(self) -> bool:
        """Whether an attack or a vulnerability was reported for this request."""
        return bool(self._seen) and any(kind != "error" for kind, _, _ in self._seen)

    def inputs(self) -> Inputs:
        """Every value the request has brought so far; extracted again when more of the body was read."""
        parts = self._current_parts()
        if self._inputs is None:
            values = [value for part in parts for value in part.inputs.values]
            self._inputs = Inputs(values, self._complete, self._complete and not self._whole)
        return self._inputs

    def hear(self, message: str | bytes) -> None:
        """Take note of a message that the app received over a web socket. Each is a request of its own as far
        as the budget for judging goes.
        """
        if not isinstance(self.body, Messages):
            self.body = Messages()
        self.body.record(message.encode("utf-8", "replace") if isinstance(message, str) else message)
        self._extracted = self._plain_at = -1
        self.work = Work()
        self._searching = Work()

    def begin_call(self, statement: str) -> None:
        """`statement` is about to be judged by this request's inputs."""
        self.work.earn(len(statement))
        self._searching.earn(len(statement))

    def is_current(self) -> bool:
        """Whether the inputs are those of all that was read of the body so far."""
        return self._extracted == self.body.size

    def is_complete(self, detector: Detector) -> bool:
        """Whether all that could matter to `detector` is among the inputs."""
        self._current_parts()
        return self._whole or (self._complete and detector.type in _SHORT_OF_FILES)

    def is_clear_of(self, detector: Detector, skeleton: str) -> bool:
        """Whether no input could reach out of a literal of a statement with this skeleton.

        :raises Spent: there is too much to search.
        """
        found = self._current_searched(detector)
        self.work.spend(sum([len(searched.heads) for searched in found]) * (2 + len(skeleton) // 16))
        for searched in found:
            if not is_clear(searched, skeleton):
                return False
        return True

    def is_plain(self) -> bool:
        """Whether nothing in a short request could end a literal: no apostrophe, in no encoding that common
        code undoes but base64, and no backslash.
        """
        if self._plain_at != self.body.size:
            self._plain_at, self._plain = self.body.size, self._looks_plain()
        return self._plain

    def _looks_plain(self) -> bool:
        text = "\n".join(self._head_texts() if self._texts is None else self._texts())
        if self.body.size:
            if self.body.size > _MAX_TAUGHT:
                return False
            text += self.body.content().decode("latin-1")
        if "'" in text or "\\" in text or "&#" in text or "\0" in text or not text.isascii():
            return False
        if "charset" in text and foreign_charset(self.head.headers.get("content-type", "")):
            return False
        return "%" not in text or _ENCODED.search(text) is None

    def _head_texts(self) -> Iterable[str]:
        head = self.head
        return (head.query, head.path, head.raw_path, *head.headers.values())

    def brings_any(self, texts: Iterable[str]) -> bool:
        """Whether one of `texts`, if not too short to tell, stands in the request as it came."""
        raw = self.raw()
        return any(len(text) >= _TELLING and text in raw for text in texts)

    def raw(self) -> str:
        """All that was seen of the request as one text, as several decoders read it, in lower case."""
        if self._raw is None:
            head = self.head
            line = head.path if "%" not in head.raw_path else f"{head.path}\n{head.raw_path}"
            if head.method not in METHODS:
                line += f"\n{head.method}"
            self._raw = raw_text(head.query, line, head.headers, self.body.content())
        return self._raw

    def is_unrelated(self, marks: Sequence[str]) -> bool:
        """Whether none of `marks` occurs anywhere in the request, all of which was seen.

        :raises Spent: there is too much to search.
        """
        if self.body.size > MAX_BODY:
            return False
        if self._raw is None:
            self._searching.spend(self.body.size)
        raw = self.raw()
        self._searching.spend(len(marks) * (8 + len(raw) // 32))
        return not any(mark in raw for mark in marks)

    def is_apart(self, marks: Sequence[str]) -> bool:
        """Whether a short request, of which everything was seen, holds none of `marks`."""
        if self.body.size > _MAX_TAUGHT or len(self.raw()) > _MAX_TAUGHT:
            return False
        raw = self.raw()
        return not any(mark in raw for mark in marks)

    def fingerprints(self) -> frozenset[int]:
        """Of the values long enough to hide an attack, except what every request of a browser repeats."""
        return frozenset(
            hash(found.value)
            for found in self.inputs().values
            if len(found.value) >= _LONG_VALUE
            and not (found.source == "header" and found.name in _COMMON_HEADERS)
        )

    def excess(self) -> Input:
        """What to name in a report when there was too much input to judge."""
        source, text = ("form", self.body.content()[:4096].decode("utf-8", "replace"))
        if not text:
            source, text = "query", self.head.query
        return Input(source, "(too much input to judge)", text[:4096])

    def candidates(self, detector: Detector) -> Sequence[Candidate]:
        """The inputs that matter to `detector`, in the forms it looks for.

        :raises Spent: there is too much of them.
        """
        return [each for searched in self._current_searched(detector) for each in searched.candidates]

    def _current_searched(self, detector: Detector) -> list[Searched]:
        parts = self._current_parts()
        found = self._searched.get(detector)
        if found is None:
            found = [part.searched(detector, self.work) for part in parts]
            self._searched[detector] = found
        return found

    def _current_parts(self) -> list[Part]:
        size = self.body.size
        if self._extracted != size:
            token = context.current.set(None)  # a codec may have to be imported, and that opens files
            try:
                self._parts = self._extract()
            finally:
                context.current.reset(token)
            self._extracted = size
            self._complete = self._whole = True
            for part in self._parts:
                self._complete &= part.inputs.complete
                self._whole &= part.inputs.complete and not part.inputs.cut_content
            self._inputs = None
            self._searched.clear()
            self.cleared.clear()
            self._raw = None
        return self._parts

    def _extract(self) -> list[Part]:
        """The parts in the order in which a report names them first."""
        head = self.head
        parts = [query_part(head.query)] if head.query else []
        if self.body.size:
            parts.append(Part(self._body_inputs()))
        cookies = head.headers.get("cookie")
        if cookies:
            parts.append(cookie_part(cookies))
        parts.append(path_part(head.method, head.path, head.raw_path))
        charset = foreign_charset(head.headers.get("content-type", ""))
        if charset:
            parts.append(self._foreign_part(parts, charset))
        parts += header_parts(head.headers)
        return parts

    def _foreign_part(self, parts: Iterable[Part], charset: str) -> Part:
        """What a framework makes of the same bytes that believes the charset the client names."""
        self.work.spend(min(self.body.size, MAX_BODY))
        inputs = Inputs()
        for part in parts:
            for found in reread(part.inputs.values, charset):
                inputs.add(*found)
        text = decoded(self.body.content(), charset)
        if text:
            content_type = self.head.headers.get("content-type", "")
            read_body(inputs, content_type, text.encode("utf-8", "replace"), self.body.size <= MAX_BODY)
        return Part(inputs)

    def _body_inputs(self) -> Inputs:
        size, inputs = self.body.size, Inputs()
        self.work.spend(min(size, MAX_BODY) // 4)
        if isinstance(self.body, Messages):
            for message in self.body.messages():
                read_message(inputs, message)
            return inputs
        content_type = self.head.headers.get("content-type", "")
        read_body(inputs, content_type, self.body.content(), size <= MAX_BODY)
        if size > MAX_BODY:
            inputs.complete = inputs.complete and not self.body.late_missed
            for part in self.body.late_parts():
                read_late_part(inputs, part)
        return inputs

    def subject(self) -> Subject:
        """Who sent this request, for the report: every text bounded, as reports wait in memory."""
        head, settings = self.head, self.sensor.settings
        cookies = dict(reversed(list(cookie_pairs(_on_the_wire(head.headers.get("cookie", ""))))))
        name = next((name for name in settings.session_cookies if cookies.get(name)), "")
        return Subject(
            method=head.method[:MAX_TEXT],
            path=head.path[:MAX_TEXT],
            address=client_address(head, settings.trusted_hops)[:MAX_TEXT],
            user_agent=head.headers.get("user-agent", "")[:MAX_TEXT],
            session=cookies.get(name, "")[:MAX_TEXT],
            session_cookie=name,
            request_id=head.headers.get("x-request-id", "")[:MAX_TEXT],
            headers=tuple(
                (name, _on_the_wire(head.headers[name])[:MAX_TEXT])
                for name in settings.session_headers
                if head.headers.get(name)
            ),
            user=self.user,
        )


def _on_the_wire(text: str) -> str:
    """A header's text (Latin-1, as protocols give it) so that it stands for the same bytes in UTF-8."""
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text


def client_address(head: Head, trusted_hops: int) -> str:
    """The socket's peer; behind `trusted_hops` proxies what the gateway says, or else the X-Forwarded-For
    entry that the outermost of them wrote.

    The gateway's header comes first because a proxy may write another address than the one it looks at
    (Envoy does so for loopback). A header with fewer entries than proxies did not come through them: the peer
    is used.
    """
    if trusted_hops:
        told = head.headers.get("x-envoy-external-address", "").strip()
        if told:
            return told
        entries = [entry.strip() for entry in head.headers.get("x-forwarded-for", "").split(",")]
        if len(entries) >= trusted_hops and entries[-trusted_hops]:
            return entries[-trusted_hops]
    return head.peer
