"""Whether a policy's `allow` names a key: to isolate it would be a promise that the gateway does not keep.

A condition asks about a whole request, of which only the key is known here. So there are three answers: it
holds for every request with this key, for none, or it depends on the rest. Only the first is a reason to
refuse; in doubt the isolation is made, and the gateway lets pass what `allow` matches. Pure.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

from divertor.conditions import (
    And,
    ClientAddress,
    Condition,
    Constant,
    CookieContains,
    CookieIs,
    CookieMatches,
    CookiePresent,
    HeaderContains,
    HeaderIs,
    HeaderMatches,
    HeaderPresent,
    Not,
    Or,
    RequestView,
    matches,
)
from divertor.errors import InputError, Position
from divertor.model.isolation import KeyKind, KeySelector

_COOKIES = (CookieContains, CookieIs, CookieMatches, CookiePresent)
_HEADERS = (HeaderContains, HeaderIs, HeaderMatches, HeaderPresent)


class AllowedError(InputError):
    """The key is on the allowlist of its application: nothing isolates it."""

    def __init__(self, scope: str, selector: KeySelector, value: str) -> None:
        self.scope, self.selector, self.value = scope, selector, value
        super().__init__(f"this {selector} is on the allowlist of {scope}", Position("isolation"))


def is_allowed(allow: Condition, selector: KeySelector, value: str) -> bool:
    """Whether every request that carries this key (in its canonical form) is on the allowlist."""
    return _answer(allow, selector, value) is True


def _answer(condition: Condition, selector: KeySelector, value: str) -> bool | None:
    """True or False when the key alone decides; None when it depends on the rest of the request."""
    match condition:
        case Constant(holds):
            return holds
        case Not(operand):
            found = _answer(operand, selector, value)
            return None if found is None else not found
        case And(operands):
            return _all([_answer(operand, selector, value) for operand in operands])
        case Or(operands):
            # One of them holds unless none does.
            none = _all([_answer(Not(operand), selector, value) for operand in operands])
            return None if none is None else not none
    return _told(condition, selector, value)


def _all(answers: list[bool | None]) -> bool | None:
    if any(answer is False for answer in answers):
        return False
    return None if any(answer is None for answer in answers) else True


def _told(question: Condition, selector: KeySelector, value: str) -> bool | None:
    """The answer to one question. Of several cookies or headers of one name any may be meant, so that a key
    that does not match tells nothing.
    """
    match selector.kind:
        case KeyKind.ADDRESS | KeyKind.PREFIX if isinstance(question, ClientAddress):
            return _is_within(ip_network(value), question)
        case KeyKind.COOKIE if isinstance(question, _COOKIES) and question.name == selector.name:
            return _matches(question, "cookie", f"{selector.name}={value}")
        case KeyKind.HEADER if isinstance(question, _HEADERS) and _same(question.name, selector.name):
            return _matches(question, selector.name, value)
        case KeyKind.BEARER if isinstance(question, _HEADERS) and _same(question.name, "authorization"):
            return _matches(question, "authorization", f"Bearer {value}")
    return None


def _matches(question: Condition, header: str, value: str) -> bool | None:
    wire = value.encode("utf-8", "surrogateescape").decode("latin-1")
    return matches(question, RequestView(headers=((header.lower(), wire),))) or None


def _same(one: str, other: str) -> bool:
    return one.lower() == other.lower()


def _is_within(network: IPv4Network | IPv6Network, question: ClientAddress) -> bool | None:
    """Whether all, none, or (None) some of a network's addresses are meant. IPv4 networks mean the IPv6 form
    of their addresses too, which is left open.
    """
    same = [each for each in question.networks if each.version == network.version]
    if any(network.subnet_of(each) for each in same):  # type: ignore[arg-type]
        return True
    mapped = network.version == 6 and network.overlaps(_MAPPED)
    return None if mapped or any(network.overlaps(each) for each in same) else False


_MAPPED = IPv6Network("::ffff:0:0/96")
