"""The request being served, as the sinks see it: its inputs, and whether it was interrupted.

Built by a framework wrapper from the request's head; the body is recorded while the app reads it, and never
ahead of it. Values are extracted only when a sink needs them. The decision itself is
`divertor_sensor.guard`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from divertor_sensor.bodies import read_body, read_late_part
from divertor_sensor.detection import Subject
from divertor_sensor.detectors import Candidate, Detector
from divertor_sensor.inputs import (
    Input,
    Inputs,
    cookie_pairs,
    read_cookies,
    read_headers,
    read_pairs,
    read_path,
)
from divertor_sensor.raw import raw_text
from divertor_sensor.recording import MAX_BODY, Body
from divertor_sensor.work import Work

if TYPE_CHECKING:
    from divertor_sensor.sensor import Sensor
    from divertor_sensor.trail import Trail

#: Seconds after the response for which code started by the request is still held to its inputs.
_AFTERLIFE = 30.0
_CACHED_LENGTH = 256
#: The longest raw request that a statement is learned from.
_MAX_TAUGHT = 16 * 1024
_LONG_VALUE = 12
#: Headers that are the same in every request of a browser.
_COMMON_HEADERS = frozenset({"user-agent", "accept", "accept-encoding", "accept-language", "host", "referer"})


class AttackInterrupted(BaseException):
    """Raised at a sink instead of running an attack.

    Not an `Exception`, so that `except Exception` does not take it for a failure of the app. Even when it is
    swallowed, the request's response is replaced.
    """


class ConnectionCut(RuntimeError):
    """Raised out of the app's response when it must end in the middle: the server closes the connection."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request, as the protocol delivered it. Header names are lower case; `path` is decoded."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    peer: str


class Request:
    """One request under guard. `interrupted` is set once an attack was stopped, and never unset.

    `replaceable`: nothing of the response is out yet, so that another one can take its place.
    """

    __slots__ = (
        "_candidates",
        "_closed_at",
        "_head",
        "_inputs",
        "_inputs_size",
        "_load",
        "_raw",
        "_searching",
        "_seen",
        "body",
        "cleared",
        "interrupted",
        "outcome",
        "replaceable",
        "sensor",
        "trail",
        "user",
        "work",
    )

    def __init__(self, sensor: Sensor, load: Callable[[], Head]) -> None:
        self.sensor = sensor
        self.interrupted = False
        #: What became of it: "" while nothing was stopped, then `diverted` or `blocked`.
        self.outcome = ""
        self.replaceable = True
        #: Whom the app says it serves; "" until it does.
        self.user = ""
        #: Where names and redirects led to; None until there is something to remember.
        self.trail: Trail | None = None
        self._load = load
        self._head: Head | None = None
        self.body = Body()
        self._inputs: Inputs | None = None
        self._inputs_size = -1
        self._candidates: dict[str, Sequence[Candidate]] = {}
        self._closed_at = 0.0
        self._seen: set[tuple[str, str, str]] = set()
        self._raw: str | None = None
        self.work = Work()
        self._searching = Work()
        #: Statements judged already, by the detector's type: the inputs they were judged by are the same.
        self.cleared: set[tuple[str, str]] = set()

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

    def inputs(self) -> Inputs:
        """Every value the request has brought so far; extracted again when more of the body was read."""
        if self._inputs is None or self._inputs_size != self.body.size:
            self._inputs = self._extract()
            self._inputs_size = self.body.size
            self._candidates.clear()
            self.cleared.clear()
            self._raw = None
        return self._inputs

    def is_current(self) -> bool:
        """Whether the inputs are those of all that was read of the body so far."""
        return self._inputs is not None and self._inputs_size == self.body.size

    def is_complete(self, detector: Detector) -> bool:
        """Whether all that could matter to `detector` is among the inputs. The content of long files cannot
        name a path.
        """
        inputs = self.inputs()
        return inputs.complete and (not inputs.cut_content or detector.type == "path_traversal")

    def raw(self) -> str:
        """All that was seen of the request as one text, as several decoders read it, in lower case."""
        if self._raw is None:
            head = self.head
            self._raw = raw_text(head.query, head.path, head.headers, self.body.content())
        return self._raw

    def is_unrelated(self, marks: Sequence[str]) -> bool:
        """Whether none of `marks` occurs anywhere in the request, all of which was seen.

        :raises Spent: there is too much to search.
        """
        if self.body.size > MAX_BODY:
            return False
        self._searching.spend(self.body.size)
        raw = self.raw()
        self._searching.spend(len(marks) * (8 + len(raw) // 32))
        return not any(mark in raw for mark in marks)

    def is_apart(self, statement: str) -> bool:
        """Whether the request and `statement` have no four characters in a row in common."""
        if self.body.size > _MAX_TAUGHT or len(self.raw()) > _MAX_TAUGHT:
            return False
        raw, text = self.raw(), statement.lower()
        return not any(text[at : at + 4] in raw for at in range(max(1, len(text) - 3)))

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
        """The inputs that matter to `detector`, in the forms it looks for."""
        inputs = self.inputs()
        found = self._candidates.get(detector.type)
        if found is None:
            found = _candidates(detector, inputs, self.work)
            self._candidates[detector.type] = found
        return found

    def _extract(self) -> Inputs:
        head = self.head
        self.work.spend(min(self.body.size, MAX_BODY) // 4)
        inputs = Inputs()
        read_pairs(inputs, "query", head.query)
        if self.body.size:
            content_type = head.headers.get("content-type", "")
            read_body(inputs, content_type, self.body.content(), self.body.size <= MAX_BODY)
        if self.body.size > MAX_BODY:
            inputs.complete = inputs.complete and not self.body.late_missed
            for part in self.body.late_parts():
                read_late_part(inputs, part)
        read_cookies(inputs, head.headers.get("cookie", ""))
        read_path(inputs, head.path)
        read_headers(inputs, head.headers.items())
        return inputs

    def subject(self) -> Subject:
        """Who sent this request, for the report."""
        head, settings = self.head, self.sensor.settings
        cookies = dict(reversed(list(cookie_pairs(_on_the_wire(head.headers.get("cookie", ""))))))
        name = next((name for name in settings.session_cookies if cookies.get(name)), "")
        return Subject(
            method=head.method,
            path=head.path,
            address=client_address(head, settings.trusted_hops),
            user_agent=head.headers.get("user-agent", ""),
            session=cookies.get(name, ""),
            session_cookie=name,
            request_id=head.headers.get("x-request-id", ""),
            headers=tuple(
                (name, _on_the_wire(head.headers[name]))
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


def _candidates(detector: Detector, inputs: Inputs, work: Work) -> Sequence[Candidate]:
    found: dict[str, Candidate] = {}
    work.spend(8 * len(inputs.values))
    for origin in inputs.values:
        value = origin.value
        if len(value) <= _CACHED_LENGTH:
            texts = _selected(detector, value)
        else:
            work.spend(_cost(value))
            texts = detector.select(value)
            work.spend(sum(map(len, texts)))
        for text in texts:
            if text not in found:
                found[text] = Candidate(text, origin)
    return tuple(found.values())


def _cost(value: str) -> int:
    """What its forms may cost: a character that is escaped or resolved takes as long as many that are not."""
    special = sum(map(value.count, "'\"%&"))
    return len(value) * (1 if value.isascii() else 3) + 24 * special


@lru_cache(maxsize=2048)
def _selected(detector: Detector, value: str) -> Sequence[str]:
    """Most values come again and again (headers, cookies): what they give is a pure function of the text."""
    return tuple(detector.select(value))


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
