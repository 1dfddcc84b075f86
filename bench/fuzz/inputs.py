"""Where the fuzzer's inputs come from: texts that are right, made wrong, and plain noise.

Pure: the same random generator gives the same inputs.
"""

from __future__ import annotations

import random

CONDITIONS = [
    'cookie PHPSESSID has 3f9c or user-agent = "sqlmap"',
    "(User-Agent = Chrome OR User-Agent = Firefox) AND has cookie vamp",
    "not host is shop.example:8080 && misses header X-Beta",
    "client address not in 10.0.0.0/8, 2001:db8::/32 and path starts with /admin",
    "method in POST, PUT and not (path is /login or path is /logout)",
    "query id matches '\\d+' and header Authorization matches 'Bearer .+'",
    "user-agent matches '(?i).*(bot|crawler|spider).*' and method is GET",
    "cookie session matches '[0-9a-f]{32}' && host is [::1]",
    "has query debug or query q is not 'it''s' or path contains \"%é\"",
    "12.5% of clients and not 10% by header X-User",
    "header a is b and cookie c is not d or ! user-agent is not e",
    "true and (false or t) and 1 or 0",
]
BLUEPRINTS = [
    """name: shop
gateways:
  9051: hackable/port
clusters:
  hackable:
    gateways:
      routes:
        hackable:1.0.0: {weight: 0%}
        hackable:1.1.0: {weight: 100%, condition: cookie a has b, condition_strength: 50%}
    services:
      - breed: {name: "hackable:1.0.0", deployable: {type: command, definition: run}, ports: {port: 80/http}}
        scale: {cpu: 0.2, memory: 512MB, instances: 1}
      - breed:
          name: hackable:1.1.0
          deployable: {type: address, definition: "127.0.0.1:80"}
          ports: {port: 80}
isolation:
  hackable: {to: "hackable:1.0.0", keys: [cookie session, client address], for: 24h}
""",
    """{name: x, clusters: {c: {breed: {name: b, deployable: i, ports: {p: 80}}}}, gateways: {8080: c/p}}
""",
    """name: y
clusters:
  c:
    services:
      - {breed: {name: a, deployable: i, ports: {p: 80}, env: {A: $B}}}
      - &b {breed: {ref: b}, scale: s}
    gateways: {sticky: route, routes: {a: {condition: 10% of clients or path is /x}, b: {weight: 1%}}}
    health_checks: {path: /up, interval: 5s, failures: 3}
environment_variables: {c.A: '1', c.B: 2}
""",
]
WORDS = (
    "host user-agent cookie header query path method client address has contains misses matches is not in "
    "starts with and or true 1 % of clients by == != ! & | && || ( ) ' \" '' < > , [a]+ (a|b){2,3} "
    "\\d (?i) a.* 10.0.0.0/8 ::1 /x GET 25% 0.5% é x \t \n"
).split(" ")
YAML_WORDS = (
    "name: clusters: gateways: routes: services: breed: scale: ports: weight: condition: isolation: keys: "
    "to: for: { } [ ] , : - ? | > & * ! !!str &a *a << ~ null yes 50% 8080 80/http 1e999 0x1f 24h 512MB '' "
    '" # --- ... \n \n\n \t $A ${c.B} -'
).split(" ")
#: Beyond what keyboards have: control characters, surrogates' neighbours, other breaks, combining marks.
STRANGE = "\0\x07\x1b\x7f\x85\xa0\u200b\u2028\u202e\ufeff\ufffd\uffff\U0001f600\u0301\r"
LONGEST = 3000


def condition_text(rng: random.Random) -> str:
    """A text for the condition reader."""
    return _text(rng, CONDITIONS, WORDS)


def blueprint_text(rng: random.Random) -> str:
    """A text for the blueprint reader; one in four is right but for its condition."""
    if rng.random() < 0.25:
        quoted = condition_text(rng)[:200].replace("'", "''").replace("\n", " ")
        return BLUEPRINTS[0].replace("cookie a has b", f"'{quoted}'")
    return _text(rng, BLUEPRINTS, YAML_WORDS)


def _text(rng: random.Random, right: list[str], words: list[str]) -> str:
    kind = rng.random()
    if kind < 0.65:
        return _mutated(rng, rng.choice(right), right, words)
    if kind < 0.85:
        return rng.choice(["", " "]).join(rng.choices(words, k=rng.randint(0, 30)))
    if kind < 0.98:
        return "".join(_character(rng) for _ in range(rng.randint(0, 40)))
    return (rng.choice(words) + rng.choice(["", " "])) * rng.randint(100, LONGEST // 4)


def _mutated(rng: random.Random, text: str, right: list[str], words: list[str]) -> str:
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        start = rng.randint(0, len(text))
        end = min(len(text), start + int(rng.expovariate(0.2)))
        text = text[:start] + _instead(rng, text[start:end], right, words) + text[end:]
    return text[:LONGEST]


def _instead(rng: random.Random, cut: str, right: list[str], words: list[str]) -> str:
    """What stands where `cut` was."""
    other = rng.choice(right)
    begin = rng.randrange(len(other))
    return rng.choice(
        [
            "",
            cut * 2,
            cut[::-1],
            cut.swapcase(),
            cut + _character(rng),
            rng.choice(words),
            f" {rng.choice(words)} ",
            other[begin : begin + rng.randint(1, 40)],
            cut * rng.choice([3, 20]),
        ]
    )


def _character(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.7:
        return chr(rng.randint(32, 126))
    return (
        rng.choice(STRANGE) if kind < 0.85 else chr(rng.choice([rng.randint(0, 255), rng.randint(0, 0xD7FF)]))
    )
