"""The condition language: who takes a route, said in words such as `user-agent = Chrome and has cookie beta`.

`parse` reads text, `to_text` writes it, `matches` answers for one request, `to_envoy` says the same to
Envoy. Pure: nothing here knows gateways, routes or files.
"""

from divertor.conditions.envoy import to_envoy
from divertor.conditions.nodes import (
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
    RequestView,
    Share,
    UserAgent,
)
from divertor.conditions.parser import parse
from divertor.conditions.predicate import matches
from divertor.conditions.text import to_text

__all__ = [
    "And",
    "ClientAddress",
    "Condition",
    "Constant",
    "CookieContains",
    "CookieIs",
    "CookieMatches",
    "CookiePresent",
    "HeaderContains",
    "HeaderIs",
    "HeaderMatches",
    "HeaderPresent",
    "Host",
    "Method",
    "Not",
    "Or",
    "PathContains",
    "PathIs",
    "PathMatches",
    "PathStartsWith",
    "QueryContains",
    "QueryIs",
    "QueryMatches",
    "QueryPresent",
    "RequestView",
    "Share",
    "UserAgent",
    "matches",
    "parse",
    "to_envoy",
    "to_text",
]
