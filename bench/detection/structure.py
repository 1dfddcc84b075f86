"""A second reading of SQL, written apart from the detector's: whether an input changed a statement's
structure.

A tokenizer that goes from character to character, for SQLite, PostgreSQL and MariaDB as they are set up by
default. It is slow and plain on purpose: the detector's patterns are measured by it. Which of the changed
statements are attacks is decided by the servers, see `truth`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

#: Characters above ASCII are letters to each of them, spaces too.
_WORDS = re.compile(r"[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*")
#: In MySQL a name may begin with a digit or a dollar sign.
_MYSQL_WORDS = re.compile(r"(?!\d+(?:[eE]\d*)?(?![\w$]))[\w$\x80-\U0010ffff]+")
_WORD_END = re.compile(r"[\w$]")
_PLACEHOLDERS = re.compile(r"\?\d*|[$:@]\w+")
_HEX = re.compile(r"0[xX][0-9a-fA-F]+(?![\w$])")
_NUMBERS = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
#: Stands for an honest input.
_MARK = "honest"
_DOLLAR = re.compile(r"\$(?:[^\W\d]\w*)?\$")


_SPACES = " \t\n\r\x0b\x0c"


class Token(NamedTuple):
    """`kind`: word, number, literal, name, value (a placeholder), comment, sign; with `!` when it has no
    end."""

    kind: str
    text: str


class _Rules(NamedTuple):
    """Quotes by their kind; those in which a backslash escapes; what else a dialect has of its own. `mysql`:
    comments from `#` on, `--` only before a space, and `/*! … */` is none."""

    quotes: dict[str, str]
    escaping: str
    mysql: bool = False
    nested: bool = False
    dollars: bool = False
    #: What ends a comment that runs to the end of the line.
    line_ends: str = "\n"


_RULES = {
    "sqlite": _Rules({"'": "literal", '"': "name", "`": "name", "[": "name"}, ""),
    "postgresql": _Rules({"'": "literal", '"': "name"}, "", nested=True, dollars=True, line_ends="\r\n"),
    "mysql": _Rules({"'": "literal", '"': "literal", "`": "name"}, "'\"", mysql=True),
}


def tokens(dialect: str, text: str) -> list[Token]:
    """The tokens of a statement, white space left out."""
    return list(_tokens(_RULES[dialect], text))


def _tokens(rules: _Rules, text: str) -> Iterator[Token]:
    at = 0
    while at < len(text):
        if text[at] in _SPACES:
            at += 1
            continue
        kind, end = _token(rules, text, at)
        yield Token(kind, text[at:end])
        at = end


def _token(rules: _Rules, text: str, at: int) -> tuple[str, int]:
    two = text[at : at + 2]
    if text[at] in rules.quotes:
        return _quoted(rules, text, at)
    if _is_line_comment(rules, text, at):
        return "comment", min((end for end in _line_ends(rules, text, at)), default=len(text))
    if two == "/*" and not (rules.mysql and re.match(r"[mM]?!", text[at + 2 :])):
        return _block(rules, text, at)
    if rules.dollars and text[at] == "$" and (match := _DOLLAR.match(text, at)):
        end = text.find(match[0], match.end())
        return ("literal!", len(text)) if end < 0 else ("literal", end + len(match[0]))
    if text[at] == "." and at and _WORD_END.match(text[at - 1]):
        return "sign", at + 1
    words = _MYSQL_WORDS if rules.mysql else _WORDS
    for kind, pattern in (("number", _HEX), ("word", words), ("number", _NUMBERS), ("value", _PLACEHOLDERS)):
        if match := pattern.match(text, at):
            return kind, match.end()
    return "sign", at + 1


def _line_ends(rules: _Rules, text: str, at: int) -> Iterator[int]:
    return (end for sign in rules.line_ends if (end := text.find(sign, at)) >= 0)


def _is_line_comment(rules: _Rules, text: str, at: int) -> bool:
    if text[at] == "#":
        return rules.mysql
    if not text.startswith("--", at):
        return False
    following = text[at + 2 : at + 3]
    return not rules.mysql or following <= " " or following == "\x7f"


def _block(rules: _Rules, text: str, at: int) -> tuple[str, int]:
    depth, position = 1, at + 2
    while position < len(text):
        two = text[position : position + 2]
        if two == "*/":
            depth -= 1
            position += 2
            if depth == 0:
                return "comment", position
        elif two == "/*" and rules.nested:
            depth += 1
            position += 2
        else:
            position += 1
    return "comment!", len(text)


def _quoted(rules: _Rules, text: str, at: int) -> tuple[str, int]:
    quote = text[at]
    kind, closing = rules.quotes[quote], "]" if quote == "[" else quote
    escapes = quote in rules.escaping or (rules.dollars and _is_escape_string(text, at))
    position = at + 1
    while position < len(text):
        if escapes and text[position] == "\\":
            position += 2
        elif text[position] != closing:
            position += 1
        elif closing != "]" and text.startswith(closing, position + 1):
            position += 2
        else:
            return kind, position + 1
    return kind + "!", len(text)


def _is_escape_string(text: str, at: int) -> bool:
    return re.search(r"(?<![\w$])[eE]$", text[max(0, at - 2) : at]) is not None


def is_broken(dialect: str, template: str, value: str) -> bool:
    """Whether `value`, put in place of `{}` in `template`, is more than what the place is for: in quotes one
    literal or name, else a list of names and numbers, as for sorting.
    """
    before, after = template.split("{}")
    plain = tokens(dialect, before + _MARK + after)
    if any(token.text == _MARK for token in plain):
        return not _is_list(_inner(dialect, before, value, after))
    found = tokens(dialect, before + value + after)
    if len(plain) != len(found):
        return True
    return any(
        one != other and (_MARK not in one.text or one.kind != other.kind)
        for one, other in zip(plain, found, strict=True)
    )


def _inner(dialect: str, before: str, value: str, after: str) -> list[Token] | None:
    """The tokens that `value` adds; None when it changed the others."""
    first, last = tokens(dialect, before), tokens(dialect, after)
    found = tokens(dialect, f"{before}{value}{after}")
    end = len(found) - len(last)
    if end < len(first) or found[: len(first)] != first or found[end:] != last:
        return None
    return found[len(first) : end]


_DIRECTIONS = frozenset({"asc", "desc", "nulls", "first", "last", "collate"})


def _is_list(inner: list[Token] | None) -> bool:
    """Names, numbers and literals with commas, words for sorting after them, and the functions that lists are
    sorted by.
    """
    if inner is None:
        return False
    text = _SORTING.sub("f", "".join(_letter(token) for token in inner))
    return _LIST.fullmatch(text) is not None


_LETTERS = {"word": "n", "name": "n", "number": "v", "literal": "v", "value": "v"}
_FUNCTIONS = frozenset("count sum avg min max lower upper length date abs random".split())
#: A list written with a letter for each token: names, values, functions with their brackets, words for
#: sorting.
_SORTING = re.compile(r"f\((?:n|\*)?\)")
_ITEM = r"[+~!-]*(?:v|[nd](?:\.[ndv])*|f)(?:c[nd])?d*"
_LIST = re.compile(rf"(?:{_ITEM}(?:,{_ITEM})*)?,?")


def _letter(token: Token) -> str:
    word = token.text.lower()
    if token.kind == "word" and word in _FUNCTIONS:
        return "f"
    if token.kind == "word" and word in _DIRECTIONS:
        return "c" if word == "collate" else "d"
    return _LETTERS.get(token.kind, token.text if len(token.text) == 1 else "?")


def split(dialect: str, script: str) -> list[str]:
    """The statements of a script."""
    statements = [""]
    rules = _RULES[dialect]
    at = 0
    while at < len(script):
        end = at + 1 if script[at] in _SPACES else _token(rules, script, at)[1]
        if script[at:end] == ";":
            statements.append("")
        else:
            statements[-1] += script[at:end]
        at = end
    return [text for text in statements if any(token.kind != "comment" for token in tokens(dialect, text))]
