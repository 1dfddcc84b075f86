"""Vamp's examples of conditions, each with what it means in plain Python, written without our parser.

The numbers are those of `docs/reference/vamp.md`. Nothing here is a test: `test_vamp_examples` asks them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product


@dataclass(frozen=True, slots=True)
class Sent:
    """What a condition of Vamp's can ask of a request; an absent header is an empty one."""

    host: str = "shop.example"
    agent: str = ""
    cookies: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


Meaning = Callable[[Sent], bool]


@dataclass(frozen=True, slots=True)
class Example:
    """A text, the requests to ask it of, and which of them it holds for."""

    number: str
    text: str
    requests: Sequence[Sent]
    holds: Meaning
    #: Holds, or fails, for whatever is asked.
    constant: bool = False


AGENTS = [
    Sent(agent=agent)
    for agent in (
        "",
        "a",
        "b",
        "xaybz",
        "firefox",
        "Mozilla/5.0 Firefox/9",
        "Chrome/1 Safari/2",
        "Mozilla/5.0 Version/1 Safari/2",
        "Mozilla/4.0 (compatible; MSIE 7)",
        "Edge/1",
        "Mozilla/5.0 Macintosh",
        "x a (Macintosh; b) c",
        "a IOS 9",
    )
]
HOSTS = [
    Sent(host=host) for host in ("localhost", "LOCALHOST", "localhost:80", "my.localhost", "local", "a.b")
]
COOKIES = [
    Sent(cookies=cookies)
    for cookies in (
        {},
        {"vamp": "12345"},
        {"vamp": "0123456"},
        {"vamp": "1234"},
        {"vamp": ""},
        {"other": "12345"},
        {"other": "vamp", "vamp": "x12345"},
        {"Vamp": "12345"},
        {"SHOPSESSION": "a|shopping_basket_items=0|b"},
        {"SHOPSESSION": "shopping_basket_items=1"},
    )
]
HEADERS = [
    Sent(headers=headers)
    for headers in (
        {},
        {"vamp": "12345"},
        {"VAMP": "x12345y"},
        {"vamp": "1234"},
        {"vamp": ""},
        {"vamps": "12345"},
        {"accept": "application/vnd.v1+json"},
        {"Accept": "*/*"},
        {"x-vamp-my-cool-header": "1"},
    )
]
#: The eight requests with and without each of three cookies.
ABC = [
    Sent(cookies={name: "1" for name, there in zip("abc", chosen, strict=True) if there})
    for chosen in product((True, False), repeat=3)
]
BROWSERS = [
    Sent(agent=one.agent, cookies=cookies, headers=headers)
    for one in AGENTS
    for cookies, headers in (({}, {}), ({"vamp": "1"}, {"X-Vamp-My-Cool-Header": "1"}))
]


def agent(*parts: str) -> Meaning:
    """The user agent contains all of these."""
    return lambda sent: all(part in sent.agent for part in parts)


def no(meaning: Meaning) -> Meaning:
    return lambda sent: not meaning(sent)


def is_localhost(sent: Sent) -> bool:
    """A host is one in any case and on any port: what Vamp does otherwise is in the manual."""
    return sent.host.lower().partition(":")[0] == "localhost"


def cookie(part: str, name: str = "vamp") -> Meaning:
    return lambda sent: part in sent.cookies.get(name, "")


def has_cookie(sent: Sent) -> bool:
    return "vamp" in sent.cookies


def header(part: str, name: str = "vamp") -> Meaning:
    return lambda sent: any(part in value for key, value in sent.headers.items() if key.lower() == name)


def has_header(name: str) -> Meaning:
    return lambda sent: name in {key.lower() for key in sent.headers}


def a_not_b(sent: Sent) -> bool:
    return "a" in sent.agent and "b" not in sent.agent


FIREFOX = agent("Firefox")

#: Vamp's ConditionDefinitionParserSpec; its raw rules are in `RAW`.
DEFINITIONS: list[Example] = [
    Example("1.3-1", "user-agent == a and user-agent != b", AGENTS, a_not_b),
    Example("1.3-2", "user-agent == a and not user-agent == b", AGENTS, a_not_b),
    Example("1.3-4", "User-Agent==Firefox", AGENTS, FIREFOX),
    Example("1.3-5a", "User-Agent== Firefox ", AGENTS, FIREFOX),
    Example("1.3-5b", "User-Agent == Firefox ", AGENTS, FIREFOX),
    Example("1.3-6", " User-Agent ! Firefox ", AGENTS, no(FIREFOX)),
    Example("1.3-7", " User-Agent != Firefox ", AGENTS, no(FIREFOX)),
    Example("1.3-8", "user.agent != Firefox", AGENTS, no(FIREFOX)),
    Example("1.3-9", "User-Agent is Firefox", AGENTS, FIREFOX),
    Example("1.3-10", "User-Agent not Firefox", AGENTS, no(FIREFOX)),
    Example("1.3-11", " ( User-Agent == Firefox ) ", AGENTS, FIREFOX),
    Example("1.3-12", "host == localhost", HOSTS, is_localhost),
    Example("1.3-13", "host != localhost", HOSTS, no(is_localhost)),
    Example("1.3-14", "host is localhost", HOSTS, is_localhost),
    Example("1.3-15", "host not localhost", HOSTS, no(is_localhost)),
    Example("1.3-16", "host misses localhost", HOSTS, no(is_localhost)),
    Example("1.3-17", "host has localhost", HOSTS, is_localhost),
    Example("1.3-18", "host contains localhost", HOSTS, is_localhost),
    Example("1.3-19", "! host is localhost", HOSTS, no(is_localhost)),
    Example("1.3-20", "not host is localhost", HOSTS, no(is_localhost)),
    Example("1.3-21a", "has cookie vamp", COOKIES, has_cookie),
    Example("1.3-21b", "contains cookie vamp", COOKIES, has_cookie),
    Example("1.3-22", "misses cookie vamp", COOKIES, no(has_cookie)),
    Example("1.3-23a", "has header vamp", HEADERS, has_header("vamp")),
    Example("1.3-23b", "contains header vamp", HEADERS, has_header("vamp")),
    Example("1.3-24", "misses header vamp", HEADERS, no(has_header("vamp"))),
    Example("1.3-25a", "cookie vamp has 12345", COOKIES, cookie("12345")),
    Example("1.3-25b", "cookie vamp contains 12345", COOKIES, cookie("12345")),
    Example("1.3-26", "cookie vamp misses 12345", COOKIES, no(cookie("12345"))),
    Example("1.3-27a", "header vamp has 12345", HEADERS, header("12345")),
    Example("1.3-27b", "header vamp contains 12345", HEADERS, header("12345")),
    Example("1.3-28", "header vamp misses 12345", HEADERS, no(header("12345"))),
]


def of_three(number: str, text: str, holds: Callable[[bool, bool, bool], object]) -> Example:
    """An example of the BooleanParserSpec; its operand `a` is written `has cookie a` here."""

    def meaning(sent: Sent) -> bool:
        return bool(holds("a" in sent.cookies, "b" in sent.cookies, "c" in sent.cookies))

    answers = {meaning(sent) for sent in ABC}
    return Example(number, text.replace("%", "has cookie "), ABC, meaning, len(answers) == 1)


#: Vamp's BooleanParserSpec.
BOOLEANS: list[Example] = [
    of_three("1.3-b1", "((%a))", lambda a, b, c: a),
    of_three("1.3-b2", "TRUE", lambda a, b, c: True),
    of_three("1.3-b3", "t ", lambda a, b, c: True),
    of_three("1.3-b4", " 1 ", lambda a, b, c: True),
    of_three("1.3-b5", "((1))", lambda a, b, c: True),
    of_three("1.3-b6", "False", lambda a, b, c: False),
    of_three("1.3-b7", " F", lambda a, b, c: False),
    of_three("1.3-b8", " 0 ", lambda a, b, c: False),
    of_three("1.3-b9", "(false)", lambda a, b, c: False),
    of_three("1.3-b10", "not %a", lambda a, b, c: not a),
    of_three("1.3-b11", "! %a", lambda a, b, c: not a),
    of_three("1.3-b12", " not %a ", lambda a, b, c: not a),
    of_three("1.3-b13", "%a and %b", lambda a, b, c: a and b),
    of_three("1.3-b14", "%a && %b", lambda a, b, c: a and b),
    of_three("1.3-b15", "%a & %b", lambda a, b, c: a and b),
    of_three("1.3-b16", "%a AND %b And %c", lambda a, b, c: a and b and c),
    of_three("1.3-b17", "%a or %b", lambda a, b, c: a or b),
    of_three("1.3-b18", "%a || %b", lambda a, b, c: a or b),
    of_three("1.3-b19", "%a | %b", lambda a, b, c: a or b),
    of_three("1.3-b20", " %a or  %b ", lambda a, b, c: a or b),
    of_three("1.3-b21", "%a Or %b | %c", lambda a, b, c: a or b or c),
    of_three("1.3-b22", "true and true", lambda a, b, c: True),
    of_three("1.3-b23", "1 and 0", lambda a, b, c: False),
    of_three("1.3-b24", "F && F", lambda a, b, c: False),
    of_three("1.3-b25", "%a & false", lambda a, b, c: False),
    of_three("1.3-b26", "%a and (%b and %c)", lambda a, b, c: a and b and c),
    of_three("1.3-b27", "%a and %b or %c", lambda a, b, c: (a and b) or c),
    of_three("1.3-b28", "%a or %b and %c", lambda a, b, c: a or (b and c)),
    of_three("1.3-b29", "!(%a and %b) and %c", lambda a, b, c: c and not (a and b)),
    of_three("1.3-b30", "(%a or %b) and %c", lambda a, b, c: (a or b) and c),
    of_three("1.3-b31", "%a or (%b and %c)", lambda a, b, c: a or (b and c)),
]


def one_of_two_with_a_cookie(sent: Sent) -> bool:
    return ("Chrome" in sent.agent or "Firefox" in sent.agent) and "vamp" in sent.cookies


def chrome_with_a_header(sent: Sent) -> bool:
    return "Chrome" in sent.agent and has_header("x-vamp-my-cool-header")(sent)


#: Vamp's HaProxyAclResolverSpec (`r`), its documentation (`d`), and the names it has for browsers (`u`).
OTHERS: list[Example] = [
    Example(
        "1.3-r1",
        "(User-Agent = Chrome OR User-Agent = Firefox) AND has cookie vamp",
        BROWSERS,
        one_of_two_with_a_cookie,
    ),
    Example("1.3-r6", 'User-Agent == "Mozilla/5.0 Macintosh"', AGENTS, agent("Mozilla/5.0 Macintosh")),
    Example("1.3-r7", "User-Agent = 'a (Macintosh; b) c'", AGENTS, agent("a (Macintosh; b) c")),
    Example("1.3-d1", "User-Agent = IOS", AGENTS, agent("IOS")),
    Example(
        "1.3-d2",
        "User-Agent = Chrome AND Has Header X-VAMP-MY-COOL-HEADER",
        BROWSERS,
        chrome_with_a_header,
    ),
    Example(
        "1.3-d3",
        "Cookie SHOPSESSION Contains shopping_basket_items=0",
        COOKIES,
        cookie("shopping_basket_items=0", "SHOPSESSION"),
    ),
    Example("1.3-d4", "Header Accept Contains v1", HEADERS, header("v1", "accept")),
    Example("1.3-u1", "user-agent = cHROME", AGENTS, agent("Chrome")),
    Example("1.3-u2", "user-agent = fireFOX", AGENTS, FIREFOX),
    Example("1.3-u3", "user-agent = edge", AGENTS, agent("Edge")),
    Example("1.3-u4", "useragent is ie", AGENTS, agent("MSIE")),
    Example("1.3-u5", "user-agent = safari", AGENTS, agent("Safari", "Version")),
]

#: Raw HAProxy rules of both specifications. We refuse them, wherever they are written.
RAW: list[tuple[str, str]] = [
    ("1.3-3a", "<water ⇒ ice>"),
    ("1.3-3b", "  <  water  ⇒  ice  > "),
    ("1.3-r2", "hdr_sub(user-agent) Android"),
    ("1.3-r3", "< hdr_sub(user-agent) Android >"),
    ("1.3-r4", "<hdr_sub(user-agent) Android> or <hdr_sub(user-agent) Chrome>"),
    ("1.3-r5", "not <hdr_sub(user-agent) Android> and User-Agent != Chrome"),
]

EXAMPLES = DEFINITIONS + BOOLEANS + OTHERS
