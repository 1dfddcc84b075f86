"""Exchanges → a shell script that asks the same again, with curl. Pure.

All of it was written by an attacker, so every value stands between single quotes, in which a POSIX shell
acts upon nothing, and never where curl would take it for a file or an option; bodies that are no plain line
of text are base64. What could not be repeated exactly (a body that was not kept, a value no command line can
hold) is left out and counted. The attacker's sessions are variables: `$SESSION`, then `$SESSION_2`, …
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from divertor.isolation.identity import masked
from divertor.model.isolation import KeyKind
from divertor.recording.exchange import Exchange, Kind
from divertor.recording.redaction import STRUCK
from divertor.recording.showing import any_of, sessions

#: The longest body that is written as a line of text.
_LINE = 4096
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,100}")
#: What an HTTP/1 request line may hold: no blank, nothing that ends a line.
_TARGET = re.compile(rb"[^\x00-\x20\x7f]+")
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
_PLAIN = re.compile(rb"[\x20-\x7e]+")
#: Said by curl itself, or by the gateway about the first time.
_DROPPED = frozenset(
    "host content-length transfer-encoding connection keep-alive proxy-connection te trailer upgrade expect"
    " x-request-id x-forwarded-for x-forwarded-proto via".split()
)
_OURS = ("x-envoy-", "x-divertor-")
#: What curl says unless it is told not to.
_QUIET = ("user-agent", "accept", "content-type", "expect")

_HEAD = r"""#!/bin/sh
# Asks again what an attacker asked, and compares the status codes with those he got.
#
#     sh FILE BASE      BASE is the address to ask, such as http://127.0.0.1:8080
#
# Prints the number of each exchange, the status he got, and the status of now; ends with 1 when any differ.
# Ask a version that is yours to attack: these requests are attacks.
LC_ALL=C
export LC_ALL
base=${1:?the address to ask, such as http://127.0.0.1:8080}
base=${base%/}
differ=0
fetch() {
  curl -q --silent --output /dev/null --write-out '%{http_code}' --http1.1 --globoff --noproxy '*' \
    --max-time 30 "$@" --url "$base/"
}
tell() {
  printf '%s %s %s\n' "$1" "$2" "$3"
  [ "$2" = - ] || [ "$2" = "$3" ] || differ=1
}
ask() {
  number=$1 expected=$2
  shift 2
  tell "$number" "$expected" "$(fetch "$@")"
}
send() {
  number=$1 expected=$2
  shift 2
  tell "$number" "$expected" "$(base64 -d | fetch "$@" --data-binary @-)"
}
"""
_TAIL = 'exit "$differ"\n'
_VARIABLE = """\
# {what}
[ -n "${{{name}+x}}" ] || {name}={value}
"""
_MISSING = """\
: "${{{name}:?the session that stands here as {masked}: set it, or export with --reveal if it was kept}}"
"""

Variables: TypeAlias = Mapping[str, str]


def curl(exchanges: Iterable[Exchange], *, reveal: bool) -> bytes:
    """The script. With `reveal` it holds the sessions; without, whoever runs it sets them."""
    listed = list(exchanges)
    names = _variables(listed)
    parts = [_HEAD, *(_declared(value, name, reveal) for value, name in names.items())]
    left = 0
    for exchange in listed:
        command = _command(exchange, names, reveal)
        left += command is None
        parts.append(command or f"# {exchange.number}: left out, it cannot be repeated exactly\n")
    parts.append(f"# {len(listed) - left} of {len(listed)} exchanges\n{_TAIL}")
    return "".join(parts).encode("utf-8", "surrogateescape")


def _variables(exchanges: Iterable[Exchange]) -> dict[str, str]:
    """A variable for each session, by its value."""
    names: dict[str, str] = {}
    for exchange in exchanges:
        for value in sessions(exchange):
            if _VALUE.fullmatch(_bytes(value)):
                names.setdefault(value, f"SESSION_{len(names) + 1}" if names else "SESSION")
    return names


def _declared(value: str, name: str, reveal: bool) -> str:
    if reveal and value != STRUCK:
        return _VARIABLE.format(what="A session of the attacker.", name=name, value=_quoted(value))
    # Inside ${…} a shell would act upon what it finds: only letters and digits are shown there.
    shown = "".join(char for char in masked(value) if char.isascii() and char.isalnum())
    return _MISSING.format(name=name, masked=shown + "...")


def _command(exchange: Exchange, names: Variables, reveal: bool) -> str | None:
    """None when it cannot be repeated exactly."""
    if not _is_repeatable(exchange):
        return None
    own = {value: names[value] for value in sessions(exchange) if value in names}
    headers = _headers(exchange, own)
    if headers is None:
        return None
    expected = "-" if exchange.status is None else str(exchange.status)
    words = [*_method(exchange), f"--request-target {_worded(exchange.path, own)}", *headers]
    data = exchange.request_body.data
    if not data:
        return _line("ask", exchange.number, expected, words)
    if len(data) <= _LINE and _PLAIN.fullmatch(data):
        words.append(f"--data-raw {_worded(data.decode('ascii'), own)}")
        return _line("ask", exchange.number, expected, words)
    command = _line("send", exchange.number, expected, words)
    lines = base64.encodebytes(data if reveal else _hidden(data, own)).decode("ascii")
    return f"{command.rstrip()} <<'END'\n{lines}END\n"


def _line(word: str, number: int, expected: str, words: Iterable[str]) -> str:
    return " \\\n  ".join([f"{word} {number} {expected}", *words]) + "\n"


def _is_repeatable(exchange: Exchange) -> bool:
    target = _bytes(exchange.path)
    return (
        exchange.kind is not Kind.REFUSED
        and _TOKEN.fullmatch(exchange.method) is not None
        and exchange.method != "CONNECT"
        and not (exchange.method == "HEAD" and exchange.request_body.size)
        and _TARGET.fullmatch(target) is not None
        and (target.startswith(b"/") or target == b"*")
        and exchange.request_body.is_whole
    )


def _method(exchange: Exchange) -> Iterator[str]:
    # With --request HEAD alone curl would wait for a body that never comes.
    yield "--head" if exchange.method == "HEAD" else f"--request {_quoted(exchange.method)}"


def _headers(exchange: Exchange, own: Variables) -> list[str] | None:
    """None when a header holds what none can hold."""
    said = set()
    found = []
    for name, value in exchange.request_headers:
        low = name.lower()
        if low in _DROPPED or low.startswith(_OURS):
            continue
        if low == "content-encoding" and exchange.request_body.decoded:
            continue
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(_bytes(value)):
            return None
        if value == STRUCK:
            if low == "authorization" and (bearer := _bearer(exchange, own)):
                found.append(f"--header 'authorization: Bearer '{bearer}")
            continue
        said.add(low)
        # A header without a value ends with a semicolon, or curl would take it away.
        word = _worded(f"{name}: {value}", own) if value.strip() else _quoted(f"{name};")
        found.append(f"--header {word}")
    return [*found, *(f"--header '{name}:'" for name in _QUIET if name not in said)]


def _bearer(exchange: Exchange, own: Variables) -> str:
    """The token by which the client is recognised, as a variable."""
    values = [key.value for key in exchange.keys if key.selector.kind is KeyKind.BEARER]
    return next((f'"${{{own[value]}}}"' for value in values if value in own), "")


def _hidden(data: bytes, own: Variables) -> bytes:
    """Base64 has no place for variables: a session in it is masked."""
    if not own:
        return data
    return any_of(tuple(own)).sub(lambda found: found[0][:4] + b"...", data)


def _worded(text: str, own: Variables) -> str:
    """`text` as one word of the shell's, with variables for the sessions in it."""
    if not own:
        return _quoted(text)
    data, at = _bytes(text), 0
    parts: list[str | re.Match[bytes]] = []
    for found in any_of(tuple(own)).finditer(data):
        parts += [_text(data[at : found.start()]), found]
        at = found.end()
    words = (
        _quoted(part) if isinstance(part, str) else f'"${{{own[_text(part[0])]}}}"' for part in parts if part
    )
    return "".join([*words, *([_quoted(_text(data[at:]))] if at < len(data) else [])])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
