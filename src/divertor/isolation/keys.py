"""Which keys a policy can isolate, and in which form: the checks before anything is decided. Pure."""

from __future__ import annotations

from divertor.errors import InputError, Position
from divertor.isolation.allowing import AllowedError, is_allowed
from divertor.isolation.layout import MAX_VALUE, canonical_value, prefix_bits
from divertor.model.artifacts import IsolationPolicy
from divertor.model.isolation import KeyKind, KeySelector
from divertor.model.quantities import parse_key_selector

_WHERE = Position("isolation")
#: Keys that name one session; a user is isolated through his.
SESSIONS = frozenset({KeyKind.COOKIE, KeyKind.HEADER, KeyKind.BEARER})


def selector_of(kind: str, name: str = "") -> KeySelector:
    """The selector of a kind (`cookie`, `prefix`, …) and its name. A prefix without one is the policy's.

    :raises ValueError: there is none; the text says what was expected.
    """
    if kind not in set(KeyKind):
        raise ValueError(f"one of {', '.join(KeyKind)}")
    made = KeySelector(KeyKind(kind), name)
    if made.kind in (KeyKind.COOKIE, KeyKind.HEADER):
        return parse_key_selector(str(made))
    if made.kind is KeyKind.PREFIX and name:
        four, six = prefix_bits(name)
        return KeySelector(KeyKind.PREFIX, f"{four}/{six}")
    if name:
        raise ValueError(f"{kind} without a name")
    return made


def checked_selector(policy: IsolationPolicy, scope: str, selector: KeySelector) -> KeySelector:
    """The policy's selector that is meant.

    :raises InputError: the policy looks at no such key.
    """
    if selector in policy.keys:
        return selector
    own = [key for key in policy.keys if key.kind is selector.kind]
    if selector.kind is KeyKind.PREFIX and not selector.name and own:
        return own[0]
    if selector.kind is KeyKind.USER and any(key.kind in SESSIONS for key in policy.keys):
        return selector
    expected = " or ".join(str(key) for key in policy.keys)
    raise InputError(f"{scope} does not look at a {selector}", _WHERE, expected)


def checked_value(policy: IsolationPolicy, scope: str, selector: KeySelector, value: str) -> str:
    """The value in its canonical form.

    :raises InputError: it is none.
    :raises AllowedError: the policy's allowlist names it.
    """
    if not 0 < _size(value) <= MAX_VALUE:
        raise InputError("an empty or overlong key", _WHERE, f"1 to {MAX_VALUE} bytes")
    try:
        found = canonical_value(selector, value)
    except ValueError as problem:
        raise InputError(f"{value[:80]!r} is no {selector}", _WHERE, str(problem)) from problem
    if not found:
        raise InputError("an empty key", _WHERE, f"1 to {MAX_VALUE} bytes")
    if policy.allow is not None and is_allowed(policy.allow, selector, found):
        raise AllowedError(scope, selector, found)
    return found


def check_target(policy: IsolationPolicy, scope: str, target: str) -> None:
    """:raises InputError: attackers cannot be sent there."""
    if target not in ("", policy.to):
        raise InputError(f"attackers of {scope} cannot be sent to {target!r}", _WHERE, policy.to)


def _size(value: str) -> int:
    """Bytes that a client would send; 0 for what no client can: half a surrogate pair."""
    try:
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return 0
