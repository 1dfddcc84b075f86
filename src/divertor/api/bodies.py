"""Request bodies: read within a bound, YAML or JSON, with a line and column for every complaint.

What a body means is the model's; this module only fetches it. JSON is read as the YAML it is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends
from starlette.requests import Request

from divertor.api.answers import YAML_TYPES
from divertor.api.problems import RefusedError
from divertor.errors import InputError, Position
from divertor.ingest import TooLargeError
from divertor.model.documents import MappingNode, Node, Scalar, Sequence, parse_documents

T = TypeVar("T")

SOURCE = "request body"
#: Most bytes of a body, other than of telemetry.
MAX_BODY = 1024 * 1024
#: Seconds a body may take to arrive.
PATIENCE = 10.0
#: Bytes above which reading a document is left to a thread, as it would hold up everybody else.
LARGE = 32 * 1024
_TYPES = frozenset({"application/json", "text/json", "text/plain", *YAML_TYPES})


async def read_bytes(request: Request, limit: int) -> bytes:
    """The body.

    :raises TooLargeError: it is, or says it is, longer than `limit` bytes; the rest is not read.
    :raises RefusedError: it takes too long to arrive.
    """
    said = request.headers.get("content-length", "")
    if said.isascii() and said.isdigit() and (len(said) > 12 or int(said) > limit):
        raise TooLargeError(f"the body is larger than {limit} bytes")
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(PATIENCE):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise TooLargeError(f"the body is larger than {limit} bytes")
                chunks.append(chunk)
    except TimeoutError:
        raise RefusedError(408, f"the body did not arrive within {PATIENCE:g} s") from None
    return b"".join(chunks)


@dataclass(frozen=True, slots=True)
class Body:
    """A body as text. It need not be a document (a rule's text is passed on as it is)."""

    text: str

    @property
    def is_empty(self) -> bool:
        return not self.text.strip()

    async def read(self, reader: Callable[[str, str], T]) -> T:
        """What a reader of the model (`text, source`) makes of it. :raises InputError: as the reader does."""
        if len(self.text) > LARGE:
            return await asyncio.to_thread(reader, self.text, SOURCE)
        return reader(self.text, SOURCE)

    async def nodes(self) -> list[Node]:
        """Its documents. :raises InputError: it is no YAML or JSON."""
        return await self.read(parse_documents)

    async def node(self) -> Node:
        """Its one document. :raises InputError: there is none, or several."""
        nodes = await self.nodes()
        if len(nodes) != 1:
            raise InputError(f"{len(nodes)} documents", Position(SOURCE, 1, 1), "one")
        return nodes[0]


async def _body(request: Request) -> Body:
    raw = await read_bytes(request, MAX_BODY)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if raw and media_type and media_type not in _TYPES:
        raise RefusedError(
            415, f"the content type {media_type[:80]!r}", "application/yaml or application/json"
        )
    return Body(_decoded(raw))


#: The request's body, as a parameter of a route.
Sent = Annotated[Body, Depends(_body)]


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        before = raw[: problem.start]
        line = before.count(b"\n") + 1
        column = problem.start - before.rfind(b"\n")
        raise InputError("not UTF-8", Position(SOURCE, line, column), "UTF-8 text") from None


def plain(node: Node) -> Any:
    """The JSON value of a document; a number not written the way JSON would (`1.10`) stays the text it is."""
    if isinstance(node, MappingNode):
        return {key.text: plain(item) for key, item in node.entries}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    if isinstance(node.value, int | float) and not _is_canonical(node.text, node.value):
        return node.text
    return node.value


def _is_canonical(text: str, value: float) -> bool:
    """Whether that is how JSON, or YAML (`1.0e+16`), writes the number: then nothing of its text is lost."""
    return json.dumps(value) == text.lower().replace(".0e", "e")


def entry(node: Node, name: str) -> Node | None:
    """The value of a key of a mapping; None when there is no such key, or no mapping."""
    if not isinstance(node, MappingNode):
        return None
    return next((item for key, item in node.entries if key.text == name), None)


def word(node: Node | None) -> str:
    """The text of a scalar; "" for anything else."""
    return node.text if isinstance(node, Scalar) and node.value is not None else ""


def located(error: InputError, body: Node) -> InputError:
    """The error with its line and column in `body`, when it only names the path (`… at clusters.a.b`)."""
    if error.position.line:
        return error
    _, found, path = error.position.source.partition(" at ")
    place = next((node.position for at, node in _paths(body, "") if at == path), None) if found else None
    return error if place is None else InputError(error.message, place, error.expected)


def _paths(node: Node, path: str) -> Iterator[tuple[str, Node]]:
    """Every node with its path, in the words of `documents.from_value`."""
    yield path, node
    if isinstance(node, MappingNode):
        for key, item in node.entries:
            yield from _paths(item, f"{path}.{key.text}" if path else key.text)
    elif isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            yield from _paths(item, f"{path}[{index}]")
