"""Text to condition: a recursive-descent reader of Vamp's condition language.

What cannot be read exactly is refused with its place and what was expected; nothing is ever passed on raw.
One pass over the text, with bounded nesting. The grammar is in docs/reference/conditions.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import ip_network
from typing import NoReturn

from divertor.conditions.nodes import (
    COOKIE_NAME,
    HEADER_NAME,
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
    Host,
    Method,
    Network,
    Not,
    Or,
    PathContains,
    PathIs,
    PathMatches,
    PathStartsWith,
    QueryContains,
    QueryIs,
    QueryMatches,
    QueryPresent,
    Share,
    UserAgent,
    is_visible,
)
from divertor.conditions.shares import WHOLE
from divertor.errors import InputError, Position

#: Characters; far beyond what a person writes, small enough to be read in a few milliseconds.
MAX_LENGTH = 64 * 1024
#: Parentheses and negations inside each other.
MAX_DEPTH = 64

_SPACE = re.compile(r"[ \t\r\n]*")
_BARE = re.compile(r"[^ \t\r\n()]+")
_COMMA = re.compile(r"[ \t\r\n]*,")
_ITEM = re.compile(r"[^ \t\r\n(),]+")
_QUOTED = re.compile(r"'(?P<single>(?:[^']|'')*)'|\"(?P<double>(?:[^\"]|\"\")*)\"")
_OR = re.compile(r"\|\|?|or(?=[ \t\r\n(])", re.IGNORECASE)
_AND = re.compile(r"&&?|and(?=[ \t\r\n(])", re.IGNORECASE)
_NOT = re.compile(r"!|not(?=[ \t\r\n(])", re.IGNORECASE)
_CONSTANT = re.compile(r"(?:(?P<true>true|t|1)|false|f|0)(?=[ \t\r\n()&|]|$)", re.IGNORECASE)
#: `is not` is "is not …" only where a value can follow: `host is not and …` has always asked for host "not".
_COMPARISON = re.compile(
    r"is[ \t\r\n]+not(?=[ \t\r\n]+(?!(?:and|or)(?:[ \t\r\n(]|$)|[&|)]|$))"
    r"|(?P<equal>==?|(?:is|has|contains)(?=[ \t\r\n]))|!=?|(?:not|misses)(?=[ \t\r\n])",
    re.IGNORECASE,
)
#: Of what can be equal, contain and match.
_RELATION = re.compile(
    r"(?P<differs>!=?|(?:is[ \t\r\n]+)?not(?=[ \t\r\n]))|(?P<is>==?|is(?=[ \t\r\n]))"
    r"|(?P<has>(?:has|contains)(?=[ \t\r\n]))|(?P<misses>misses(?=[ \t\r\n]))"
    r"|(?P<matches>matches(?=[ \t\r\n]))|(?P<starts>starts[ \t\r\n]+with(?=[ \t\r\n]))",
    re.IGNORECASE,
)
#: Of what is one of a list.
_MEMBERSHIP = re.compile(
    r"(?P<out>(?:is[ \t\r\n]+)?not(?:[ \t\r\n]+in)?(?=[ \t\r\n])|misses(?=[ \t\r\n])|!=?)"
    r"|(?:is[ \t\r\n]+)?in(?=[ \t\r\n])|is(?=[ \t\r\n])|==?",
    re.IGNORECASE,
)
_MATCHES = re.compile(r"matches(?=[ \t\r\n])", re.IGNORECASE)
_PRESENCE = re.compile(r"(?P<has>has|contains)(?=[ \t\r\n])|misses(?=[ \t\r\n])", re.IGNORECASE)
_FIELD = re.compile(r"(?P<kind>cookie|header|query)(?=[ \t\r\n])", re.IGNORECASE)
_PATH = re.compile(r"path(?=[ \t\r\n=!]|$)", re.IGNORECASE)
_METHOD = re.compile(r"method(?=[ \t\r\n=!]|$)", re.IGNORECASE)
_CLIENT = re.compile(r"client[ \t\r\n]+address(?=[ \t\r\n=!]|$)", re.IGNORECASE)
_SHARE = re.compile(r"(?P<whole>[0-9]+)(?:\.(?P<rest>[0-9]+))?[ \t\r\n]*%(?=[ \t\r\n()]|$)")
_SHARE_OF_CLIENTS = re.compile(
    r"(?:of[ \t\r\n]+clients|by[ \t\r\n]+client[ \t\r\n]+address)(?=[ \t\r\n()&|]|$)", re.IGNORECASE
)
_SHARE_BY = re.compile(r"by[ \t\r\n]+(?P<kind>cookie|header|query)(?=[ \t\r\n])", re.IGNORECASE)
_HOST = re.compile(r"host(?=[ \t\r\n=!])", re.IGNORECASE)
_USER_AGENT = re.compile(r"user[-.]?agent(?=[ \t\r\n=!])", re.IGNORECASE)

#: In a bare name these are more likely `name=value` than part of the name.
QUERY_MARKS = re.compile(r"[=&?]")

_OPERANDS = (
    "host, user-agent, cookie, header, path, query, method, client address, has, misses, a share such as "
    "10% of clients, not, true, false or '('"
)

_PRESENT: dict[str, Callable[[str], Condition]] = {
    "cookie": CookiePresent,
    "header": HeaderPresent,
    "query": QueryPresent,
}
_RELATED: dict[tuple[str, str], Callable[[str, str], Condition]] = {
    ("cookie", "has"): CookieContains,
    ("cookie", "is"): CookieIs,
    ("cookie", "matches"): CookieMatches,
    ("header", "has"): HeaderContains,
    ("header", "is"): HeaderIs,
    ("header", "matches"): HeaderMatches,
    ("query", "has"): QueryContains,
    ("query", "is"): QueryIs,
    ("query", "matches"): QueryMatches,
}
_RELATED_PATH: dict[str, Callable[[str], Condition]] = {
    "has": PathContains,
    "is": PathIs,
    "matches": PathMatches,
    "starts": PathStartsWith,
}


def parse(text: str, source: str = "condition", line: int = 1, column: int = 1) -> Condition:
    """Read one condition; `line` and `column` say where `text` begins in `source`.

    :raises InputError: the text is no condition of the language, too long or too deeply nested.
    """
    return _Reader(text, source, line, column).read()


def expand_user_agent(value: str) -> Condition:
    """The condition behind a browser's name (`IE`, `Safari`, …), or the value itself as it stands."""
    known = _BROWSERS.get(value.lower())
    return UserAgent(value) if known is None else known


_BROWSERS: dict[str, Condition] = {
    "chrome": UserAgent("Chrome"),
    "firefox": UserAgent("Firefox"),
    "edge": UserAgent("Edge"),
    "ie": UserAgent("MSIE"),
    # Chrome also says "Safari", but only Safari says "Version".
    "safari": And((UserAgent("Safari"), UserAgent("Version"))),
}


def _network(text: str) -> Network:
    """:raises ValueError: no address and no network; a network's address has bits beyond its prefix."""
    try:
        if "%" in text:  # an interface of this machine's, which no client's address has
            raise ValueError
        return ip_network(text)
    except ValueError:
        raise ValueError(f"not an address or network: {text!r}{_hint(text)}") from None


def _hint(text: str) -> str:
    try:
        return f" (the network is {ip_network(text, strict=False)})"
    except ValueError:
        return ""


class _Reader:
    """The text, how far it is read, and how deep the nesting is."""

    def __init__(self, text: str, source: str, line: int, column: int) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self._source = source
        self._line = line
        self._column = column

    def read(self) -> Condition:
        self._check_text()
        condition = self._chain(_OR, self._all_of, Or)
        if self.at < len(self.text):
            self._fail(self.at, f"unexpected {self._next_word()!r}", "'and', 'or' or the end")
        return condition

    def _check_text(self) -> None:
        if len(self.text) > MAX_LENGTH:
            self._fail(0, f"a condition of {len(self.text)} characters", f"at most {MAX_LENGTH}")
        for index, character in enumerate(self.text):
            if character not in "\t\r\n" and not is_visible(character):
                self._fail(
                    index, f"invisible character U+{ord(character):04X}", "visible characters and spaces"
                )

    def _all_of(self) -> Condition:
        return self._chain(_AND, self._factor, And)

    def _chain(
        self,
        operator: re.Pattern[str],
        operand: Callable[[], Condition],
        join: Callable[[tuple[Condition, ...]], Condition],
    ) -> Condition:
        operands = [operand()]
        while self._take(operator):
            operands.append(operand())
        return operands[0] if len(operands) == 1 else join(tuple(operands))

    def _factor(self) -> Condition:
        self._space()
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self._fail(self.at, "nested too deeply", f"at most {MAX_DEPTH} levels")
        condition = self._negated_or_nested()
        self.depth -= 1
        self._space()
        return condition

    def _negated_or_nested(self) -> Condition:
        if self._take(_NOT):
            return Not(self._factor())
        opened = self.at
        if not self.text.startswith("(", opened):
            return self._operand()
        self.at += 1
        condition = self._chain(_OR, self._all_of, Or)
        if not self.text.startswith(")", self.at):
            self._fail(
                self.at, f"unexpected {self._next_word()!r}", f"')' for the '(' at {self._position(opened)}"
            )
        self.at += 1
        return condition

    def _operand(self) -> Condition:
        if found := self._take(_CONSTANT):
            return Constant(found["true"] is not None)
        if self._take(_HOST):
            return self._compared(lambda value, quoted: Host(value))
        if self._take(_USER_AGENT):
            return self._user_agent()
        if found := self._take(_PRESENCE):
            return self._presence(negated=found["has"] is None)
        if found := self._take(_FIELD):
            return self._field(found["kind"].lower())
        if self._take(_PATH):
            return self._path()
        if self._take(_METHOD):
            return self._one_of(lambda names: Method(names))
        if self._take(_CLIENT):
            return self._one_of(lambda names: ClientAddress(tuple(map(_network, names))))
        if found := self._take(_SHARE):
            return self._share(found)
        if self.text.startswith("<", self.at):
            self._fail(self.at, "raw HAProxy rules are not supported", _OPERANDS)
        self._fail(self.at, f"unexpected {self._next_word()!r}", _OPERANDS)

    def _user_agent(self) -> Condition:
        self._space()
        if self._take(_MATCHES):
            return self._with_value(lambda pattern: HeaderMatches("user-agent", pattern))
        return self._compared(lambda value, quoted: UserAgent(value) if quoted else expand_user_agent(value))

    def _compared(self, build: Callable[[str, bool], Condition]) -> Condition:
        self._space()
        comparison = self._take(_COMPARISON)
        if comparison is None:
            self._fail(
                self.at, f"unexpected {self._next_word()!r}", "==, !=, is, not, has, contains or misses"
            )
        start, value, quoted = self._value("a value")
        condition = self._built(start, lambda: build(value, quoted))
        return condition if comparison["equal"] else Not(condition)

    def _presence(self, negated: bool) -> Condition:
        self._space()
        field = self._take(_FIELD)
        if field is None:
            self._fail(self.at, f"unexpected {self._next_word()!r}", "cookie, header or query, and its name")
        kind = field["kind"].lower()
        condition = _PRESENT[kind](self._name(kind))
        return Not(condition) if negated else condition

    def _field(self, kind: str) -> Condition:
        name = self._name(kind)
        return self._related(
            {how: partial(_RELATED[kind, how], name) for how in ("has", "is", "matches")},
            "has, contains, misses, is, is not or matches, and a value",
        )

    def _path(self) -> Condition:
        return self._related(
            _RELATED_PATH, "is, is not, starts with, has, contains, misses or matches, and a value"
        )

    def _related(self, builders: Mapping[str, Callable[[str], Condition]], expected: str) -> Condition:
        self._space()
        at = self.at
        relation = self._take(_RELATION)
        how = "" if relation is None else relation.lastgroup or ""
        positive = {"differs": "is", "misses": "has"}.get(how, how)
        if positive not in builders:
            self.at = at
            self._fail(at, f"unexpected {self._next_word()!r}", expected)
        condition = self._with_value(builders[positive])
        return condition if how == positive else Not(condition)

    def _with_value(self, build: Callable[[str], Condition]) -> Condition:
        start, value, _ = self._value("a value")
        return self._built(start, lambda: build(value))

    def _one_of(self, build: Callable[[tuple[str, ...]], Condition]) -> Condition:
        """A list of values; each is checked at its own place."""
        self._space()
        membership = self._take(_MEMBERSHIP)
        if membership is None:
            self._fail(self.at, f"unexpected {self._next_word()!r}", "is, is not, in or not in, and a value")
        values: list[str] = []
        while not values or self._take(_COMMA):
            start, value, _ = self._value("a value", _ITEM)
            self._built(start, partial(build, (value,)))
            values.append(value)
        condition = build(tuple(values))
        return Not(condition) if membership["out"] else condition

    def _share(self, share: re.Match[str]) -> Condition:
        digits = share["rest"] or ""
        if len(share["whole"]) > 3 or len(digits) > 4:
            self._fail(share.start(), f"a share of {share[0][:40]}", "0% to 100%, in steps of 0.0001%")
        millionths = int(share["whole"]) * (WHOLE // 100) + int(digits.ljust(4, "0"))
        self._space()
        header = self._share_key()
        return self._built(share.start(), lambda: Share(millionths, header))

    def _share_key(self) -> str | None:
        """The header whose value decides, None for the client's address."""
        expected = "'of clients' or 'by header' and its name"
        if self._take(_SHARE_OF_CLIENTS):
            return None
        at = self.at
        found = self._take(_SHARE_BY)
        if found is None:
            message = "a share of what? (a random share of the requests is the route's condition_strength)"
            self._fail(at, message, expected)
        if found["kind"].lower() != "header":
            message = f"a share by {found['kind'].lower()}: Envoy draws a stable share of whole headers only"
            self._fail(at, message, expected)
        return self._name("header")

    def _name(self, kind: str) -> str:
        start, name, quoted = self._value(
            "a query parameter's name" if kind == "query" else f"the {kind}'s name"
        )
        if kind == "query":
            if not quoted and QUERY_MARKS.search(name):
                self._fail(start, f"{name!r} as a parameter's name", "a name, or quotes around this one")
            self._built(start, lambda: QueryPresent(name))
            return name
        allowed = COOKIE_NAME if kind == "cookie" else HEADER_NAME
        if not allowed.fullmatch(name):
            self._fail(
                start, f"{name!r} cannot be a {kind}'s name", "a name of letters, digits, '-', '_' or '.'"
            )
        return name

    def _value(self, expected: str, unquoted: re.Pattern[str] = _BARE) -> tuple[int, str, bool]:
        """Where the next value starts, the value, and whether it was quoted."""
        self._space()
        start = self.at
        if self.text.startswith(("'", '"'), start):
            return start, self._quoted(start), True
        bare = self._take(unquoted)
        if bare is None:
            self._fail(start, f"unexpected {self._next_word()!r}", expected)
        return start, bare[0], False

    def _quoted(self, start: int) -> str:
        found = self._take(_QUOTED)
        if found is None:
            self._fail(start, "a quote that does not end", f"a closing {self.text[start]}")
        if found["single"] is not None:
            return found["single"].replace("''", "'")
        return found["double"].replace('""', '"')

    def _built(self, start: int, build: Callable[[], Condition]) -> Condition:
        try:
            return build()
        except ValueError as problem:
            self._fail(start, str(problem), "a value a request can carry")

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def _space(self) -> None:
        self._take(_SPACE)

    def _next_word(self) -> str:
        found = _BARE.match(self.text, self.at)
        if found:
            return found[0][:40]
        return self.text[self.at : self.at + 1] or "end of the condition"

    def _position(self, offset: int) -> Position:
        before = self.text[:offset]
        lines = before.count("\n")
        if not self._line:
            return Position(self._source)
        if not lines:
            return Position(self._source, self._line, self._column + offset)
        return Position(self._source, self._line + lines, offset - before.rfind("\n"))

    def _fail(self, offset: int, message: str, expected: str) -> NoReturn:
        raise InputError(message, self._position(offset), expected)
