"""What an alerter declares: its name, its options, and what is checked about them together when a rule is
read.

Also the readers and groups of options that several alerters share. Delivering is `divertor.alerts`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from divertor.model.documents import MappingNode, Node, Scalar, to_value
from divertor.model.fields import fail, items_of, suggestion, text_of
from divertor.rules.reading.options import Given, Option, Reader, boolean, number, text

_HOST = re.compile(r"[A-Za-z0-9._-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:]+\](?::[0-9]{1,5})?")


def _no_warnings(_options: Mapping[str, Any]) -> list[str]:
    return []


def _no_check(_options: dict[str, Any], _given: Given) -> None:
    return None


@dataclass(frozen=True, slots=True)
class AlerterDeclaration:
    """An alerter as the loader knows it.

    `check` looks at all options together: it may complete them, and refuses with a place. `formats` maps an
    option whose `{}` are filled in to the option with the fields they are filled from. `others` is a prefix:
    options beginning with it that are not declared are collected under the option of that name. `resolved`
    says in a sentence what happens when the alarm is over.
    """

    name: str
    options: tuple[Option, ...]
    warnings: Callable[[Mapping[str, Any]], list[str]] = _no_warnings
    check: Callable[[dict[str, Any], Given], None] = _no_check
    formats: Mapping[str, str] = field(default_factory=dict)
    others: str = ""
    resolved: str = "a message that says so"

    @property
    def names(self) -> frozenset[str]:
        return frozenset(option.name for option in self.options)


def transport(prefix: str, *, timeout: float = 10.0) -> tuple[Option, ...]:
    """How an alerter's requests travel: `<prefix>_proxy` (its login, its password), `_ca_certs`,
    `_ignore_ssl_errors` and `_timeout` (seconds).
    """
    return (
        Option(f"{prefix}_proxy", proxy, default=""),
        Option(f"{prefix}_proxy_login", text, default=""),
        Option(f"{prefix}_proxy_pass", text, default=""),
        Option(f"{prefix}_ca_certs", text, default=""),
        Option(f"{prefix}_ignore_ssl_errors", boolean, default=False),
        Option(f"{prefix}_timeout", number(0.1, 120), default=timeout),
    )


def defaults(*names: str) -> tuple[Option, ...]:
    """Texts that are empty unless they are given."""
    return tuple(Option(name, text, default="") for name in names)


def discover(prefix: str, *, attach: str = "", color: str = "#ec4b98") -> tuple[Option, ...]:
    """Links to Kibana's and OpenSearch's Discover, which enhancements may put into a match."""
    return tuple(
        option
        for product, title in (("kibana", "Discover in Kibana"), ("opensearch", "Discover in Opensearch"))
        for option in (
            Option(
                attach.format(product) or f"{prefix}_attach_{product}_discover_url", boolean, default=False
            ),
            Option(f"{prefix}_{product}_discover_color", text, default=color),
            Option(f"{prefix}_{product}_discover_title", text, default=title),
        )
    )


def proxy(node: Node, what: str) -> str:
    """A proxy's address; `http://` when it has no scheme. Refusals do not repeat it: it may hold secrets."""
    written = text_of(node, what).strip()
    address = written if "://" in written else f"http://{written}"
    if not re.fullmatch(r"(?:https?|socks5h?)://[\x21-\x7e]+", address):
        fail(node, f"{what} is no proxy's address", "http://host:port")
    return address


def host(node: Node, what: str) -> str:
    """A host's name or address, with a port or without."""
    name = text_of(node, what)
    if not _HOST.fullmatch(name):
        fail(node, f"{what} is no host", "a name or an address")
    return name


def path_part(node: Node, what: str) -> str:
    """What becomes a part of a service's address: an id or a key. Refusals do not repeat it."""
    part = text_of(node, what)
    if not re.fullmatch(r"[\w.~@:+=-]{1,500}", part, re.ASCII) or part in (".", ".."):
        fail(node, f"{what} cannot be a part of an address", "letters, digits, '.', '-', '_'")
    return part


def header_text(node: Node, what: str) -> str:
    """One line of printable ASCII: a token or key that is sent in a header. Refusals do not repeat it."""
    line = text_of(node, what)
    if not re.fullmatch(r"[\x20-\x7e]{1,4096}", line):
        fail(node, f"{what} cannot be sent in a header", "one line of ASCII")
    return line


def headers(node: Node, what: str) -> dict[str, str]:
    """Names and values of HTTP headers."""
    if not isinstance(node, MappingNode):
        fail(node, f"{what} is no mapping", "names and values")
    for key, _item in node.entries:
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}", key.text):
            fail(key, f"{key.text[:40]!r} is no name of a header", "letters, digits and '-'")
    return {key.text: header_text(item, key.text) for key, item in node.entries}


def plain(node: Node, what: str) -> Any:
    """Any value, as it is."""
    del what
    return to_value(node)


def scalar(node: Node, what: str) -> Any:
    """A text, number or truth value, as it is."""
    text_of(node, what)
    return to_value(node)


def choice(*words: str) -> Reader:
    """One of some words."""

    def read(node: Node, what: str) -> str:
        word = text_of(node, what)
        if word not in words:
            fail(node, f"{what} is {word[:40]!r}", suggestion(word, words))
        return word

    return read


def entries(*required: str, optional: tuple[str, ...] = ()) -> Reader:
    """A list of mappings that have these keys."""

    def read(node: Node, what: str) -> tuple[dict[str, Any], ...]:
        return tuple(_entry(item, what, required, optional) for item in items_of(node))

    return read


def _entry(node: Node, what: str, required: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, Any]:
    given = Given.of(node, what)
    known = (*required, *optional)
    for name, (key, _item) in given.entries.items():
        if name not in known:
            fail(key, f"unknown key {name[:80]!r} in {what}", suggestion(name, known))
    for name in required:
        if given.node(name) is None:
            fail(node, f"an entry of {what} without {name!r}", ", ".join(required))
    return {name: to_value(item) for name, (_key, item) in given.entries.items()}


def colour(node: Node, what: str) -> str:
    """`good`, `warning`, `danger` or `#rrggbb`."""
    word = text_of(node, what)
    if word not in ("good", "warning", "danger") and not re.fullmatch(r"#[0-9A-Fa-f]{6}", word):
        fail(node, f"{what} is {word[:40]!r}", "good, warning, danger or #rrggbb")
    return word


def place_of(given: Given, name: str) -> Scalar | Node | None:
    """Where an option is given, for refusals."""
    return given.node(name)


def required_unless(options: Mapping[str, Any], given: Given, name: str, other: str) -> None:
    """Refuse a rule in which `name` and `other` are both missing."""
    if not options[name] and not options[other]:
        given.read(Option(name, text, required=True), f"an alert without {other!r} or")
