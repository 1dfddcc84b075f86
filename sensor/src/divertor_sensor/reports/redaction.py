"""Keeps secrets out of reports: what a password, token, cookie or card number was must not leave the app.

Pure. What shows an attack stays: of a secret value only the words and numbers are hidden, not the quotes,
signs and keywords between them. It knows secrets by the name they came under and card numbers by their check
digit (ISO/IEC 7812-1, Luhn); a secret under an innocent name stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from divertor_sensor.sources.inputs import Input

HIDDEN = "***"
_SECRET_NAME = re.compile(
    r"pass(?:w|phrase|code)|pwd|secret|token|api[_-]?key|auth(?!ors?(?:\Z|[_.\[\]\-]))|credential|private|session|csrf"
    r"|signature|card|iban|(?:\A|[_.\[\-])(?:pass|pin|otp|cvv|cvc|ssn|sid|key)(?:\Z|[_.\]\-])",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]{3,}")
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w.-])")
#: Words that say what an attack does, and nothing about a secret.
_TELLING = frozenset(
    "and union select from where insert update delete drop table into values order group having like null"
    " sleep benchmark pg_sleep waitfor delay exec declare cast char concat script alert onerror img src svg"
    " onload javascript etc passwd bin bash curl wget cat http https".split()
)
#: How much of the secrets of one request is looked at.
_MAX_SECRETS = 64
_SHORT_NAME = 64
_MAX_NAME = 256
_MAX_VALUE = 1024
_MAX_WORDS = 256
#: Words for which a plain search is quicker than looking at each word of a text.
_FEW = 16


def is_secret(source: str, name: str) -> bool:
    """Whether a value that came in as `name` is hidden: every cookie is, and what is named like a secret."""
    if source == "cookie":
        return True
    if len(name) <= _SHORT_NAME:
        return _names_secret(name)
    # Nobody's own field has a longer name; an attacker's may be as long as a request.
    return _SECRET_NAME.search(name, 0, _MAX_NAME) is not None


@lru_cache(maxsize=512)
def _names_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def secret_words(inputs: Iterable[Input]) -> frozenset[str]:
    """The words and numbers of three characters and more in the secret values among `inputs`."""
    words: set[str] = set()
    for word in _words(inputs):
        words.add(word)
        if len(words) >= _MAX_WORDS:
            break
    return frozenset(words)


def _words(inputs: Iterable[Input]) -> Iterator[str]:
    left = _MAX_SECRETS
    for found in inputs:
        if is_secret(found.source, found.name):
            yield from (word for word in _WORD.findall(found.value[:_MAX_VALUE]) if _hides(word))
            left -= 1
            if not left:
                return


def without_secrets(text: str, words: frozenset[str]) -> str:
    """`text` with each of the secret `words`, and each card number, hidden."""
    if words and (len(words) > _FEW or any(map(text.__contains__, words))):
        text = _WORD.sub(lambda match: HIDDEN if match[0] in words else match[0], text)
    return _CARD.sub(lambda match: HIDDEN if _is_card(match[0]) else match[0], text)


def masked(text: str) -> str:
    """The shape of a secret: its words and numbers hidden, except those that tell of an attack."""
    return _WORD.sub(lambda match: HIDDEN if _hides(match[0]) else match[0], text)


def _hides(word: str) -> bool:
    return word.lower() not in _TELLING


def _is_card(text: str) -> bool:
    digits = [int(char) for char in reversed(text) if char.isdecimal()]
    doubled = [digit * 2 - 9 if digit > 4 else digit * 2 for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0 and len(set(digits)) > 1
