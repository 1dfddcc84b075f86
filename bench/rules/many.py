"""Many different rules on one stream, and a stream for them.

The rules are drawn so that their filters have the kinds that 133 rule files found in public repositories
have (docs/reference/benchmarks.md): mostly query strings with AND, OR, NOT, wildcards, phrases, groups and
`_exists_`, then `term`; a few `match_phrase`, `wildcard`, `range` and `bool`. Fields and values are those of
one of five sources (web server, SSH, audit, Windows process creation, application), as rules on one stream
are about different things. An event is of one of these sources. A rule looks for any of 208 words, whichever
is frequent or rare in the stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from bench.rules.stream import record

_ENDS = (
    "act", "ber", "cast", "dox", "erg", "fil", "gan", "hol", "ipt", "jax", "kon", "lum", "mir", "nod", "oph",
    "pex", "qui", "rast", "sim", "tov", "ul", "vor", "wex", "xan", "yth", "zor",
)  # fmt: skip
#: Words that events and filters draw from: rules look for any of them, events mostly hold the first ones.
_WORDS = [
    f"{start}{end}" for start in ("ab", "cor", "del", "mon", "pra", "sul", "tir", "vex") for end in _ENDS
]

#: Per source: its fields with a text each, and those with a number.
SOURCES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "web": (
        ("http.request.method", "url.path", "user_agent.name", "source.ip"),
        ("http.response.status", "bytes"),
    ),
    "ssh": (("process.name", "user.name", "source.ip", "message"), ("process.pid",)),
    "audit": (("auditd.syscall", "process.executable", "user.name", "file.path"), ("auditd.exit",)),
    "windows": (
        ("process.command_line", "process.parent.name", "winlog.channel", "user.name"),
        ("winlog.event_id",),
    ),
    "app": (("log.level", "logger", "message", "labels.release"), ("duration",)),
}

#: How often each kind of filter is drawn, of a hundred: as in the sample, without its rules that have no
#: filter. One in a hundred is left of them: more of them on one stream would be the same rule again.
KINDS = {
    "and": 32, "or": 12, "not": 10, "wildcard": 12, "phrase": 8, "group": 6, "exists": 2, "bare": 1,
    "term": 11, "match_phrase": 1, "wildcard_query": 1, "range": 2, "bool": 1, "everything": 1,
}  # fmt: skip

#: Fields with several words.
_LONG = ("message", "process.command_line")

#: Rule types as in the sample, those that need no further fields.
TYPES: dict[str, tuple[int, dict[str, Any]]] = {
    "any": (69, {}),
    "frequency": (25, {"num_events": 20, "timeframe": {"minutes": 5}}),
    "flatline": (12, {"threshold": 1, "timeframe": {"minutes": 5}}),
    "spike": (5, {"spike_height": 3, "spike_type": "up", "timeframe": {"minutes": 5}, "threshold_cur": 20}),
}


def rules(count: int, seed: int = 7) -> list[dict[str, Any]]:
    """The options of `count` rules."""
    random = Random(seed)
    kinds = random.choices(list(KINDS), list(KINDS.values()), k=count)
    types = random.choices(list(TYPES), [weight for weight, _options in TYPES.values()], k=count)
    return [
        _rule(number, kind, type_, random)
        for number, (kind, type_) in enumerate(zip(kinds, types, strict=True))
    ]


def _rule(number: int, kind: str, type_: str, random: Random) -> dict[str, Any]:
    texts, numbers = SOURCES[random.choice(list(SOURCES))]
    options = {"name": f"rule {number}", "type": type_, **TYPES[type_][1]}
    if random.random() < 0.3:
        options["query_key"] = random.choice(texts)
    query = _filter(kind, random, texts, numbers)
    return {**options, "filter": [query]} if query else options


def _filter(
    kind: str, random: Random, texts: tuple[str, ...], numbers: tuple[str, ...]
) -> dict[str, Any] | None:
    field, other = random.sample(texts, 2)
    one, two, three = random.sample(_WORDS, 3)
    number = random.randrange(10_000)
    strings = {
        "and": f"{field}:{one} AND {other}:{two}",
        "or": f"{field}:{one} OR {other}:{two}",
        "not": f"{field}:{one} AND NOT {other}:{two}",
        "wildcard": f"{field}:*{one[1:]}* AND {other}:{two}",
        "phrase": f'{field}:"{one} {two}"',
        "group": f"{field}:({one} OR {two} OR {three})",
        "exists": f"_exists_:{numbers[0]} AND {field}:{one}",
        "bare": f"{one} AND {two}",
    }
    queries: dict[str, dict[str, Any] | None] = {
        "term": {"term": {field: one}},
        "match_phrase": {"match_phrase": {field: f"{one} {two}"}},
        "wildcard_query": {"wildcard": {field: f"{one[:4]}*"}},
        "range": {"range": {numbers[0]: {"gte": 9000 + number / 10}}},
        "bool": {"bool": {"must": [{"term": {field: one}}], "must_not": [{"term": {other: two}}]}},
        "everything": None,
    }
    return {"query_string": {"query": strings[kind]}} if kind in strings else queries[kind]


def records(count: int, seed: int = 11) -> Iterator[dict[str, Any]]:
    """Events of all sources; their words are mostly those at the front of the list."""
    random = Random(seed)
    sources = list(SOURCES.items())
    for place in range(count):
        name, (texts, numbers) = random.choice(sources)
        body: dict[str, Any] = {"source": {"name": name}}
        for field in texts:
            _put(
                body,
                field,
                " ".join(
                    _word(random) for _ in range(4 if field in ("message", "process.command_line") else 1)
                ),
            )
        for field in numbers:
            _put(body, field, random.randrange(9_000))
        yield record(place, body)


def _word(random: Random) -> str:
    return _WORDS[min(int(random.expovariate(1 / 25)), len(_WORDS) - 1)]


def _put(body: dict[str, Any], path: str, value: Any) -> None:
    *above, last = path.split(".")
    for name in above:
        body = body.setdefault(name, {})
    body[last] = value
