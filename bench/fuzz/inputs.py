"""Where the fuzzer's inputs come from: texts that are right, made wrong, and plain noise.

Pure: the same random generator gives the same inputs.
"""

from __future__ import annotations

import random
import re

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
    """name: z
gateways:
  443:
    tls: {certificate: /etc/c.pem, key: /etc/k.pem, client_ca: /etc/ca.pem, optional: true, minimum: 1.3}
    proxy_protocol: true
    trusted_proxies: [10.0.0.0/8, "2001:db8::/32"]
    virtual_hosts: [shop.example, "*.shop.example"]
    rate_limits: [100/minute per client address, {requests: 5, every: 1s, per: cookie s, burst: 9}]
    timeout: 30s
    idle_timeout: 5m
    retries: {attempts: 2, on: [5xx, reset], per_try: 250ms}
    headers: {request: {set: {x-a: b}, add: {x-c: [d, e]}, remove: x-f}, response: {remove: [server]}}
    mirror: {c/v:2: 10%}
    routes: {inner: {rewrites: ["/v1%[path] if path is /old", path: /new if true], weight: 50%}, c/p: {}}
  inner: {routes: {c/p: {}, "[10.0.0.1:80]": {condition: has cookie a}}}
  9000/tcp: {routes: "[[::1]:80]"}
  chosen: {selector: "label(v)((.*)) and not namespace($namespace)", routes: {(1): {weight: 30%}}}
  red: {routes: {red: {selector: 'image(a/(b|c):.*) || port(80) && index(0)'}}}
clusters:
  c:
    services:
      - breed: {name: "v:1", deployable: i, ports: {p: 80/http2}}
        circuit_breaker: {requests: 7, retries: 0}
      - {breed: {name: "v:2", deployable: i, ports: {p: 80/grpc}}, outlier_detection: true}
    outlier_detection: {errors: 3, interval: 1s, ejection: 30s, maximum: 50%}
    gateways: {virtual_hosts: c.example, mirror: "v:2", routes: {"v:1": {headers: {response: {set: {a: b}}}}}}
isolation:
  c:
    to: "v:1"
    keys: [cookie s, bearer token, client address/24/56, tls ja4, user id, header x-k]
    mode: simulate
    allow: client address in 10.0.0.0/8
    record: {body: 64KB, limit: 8MB, redact: [header authorization, cookie s, field password]}
""",
]
SELECTORS = [
    "label(io.vamp.*)(sava:1.(.*)) and index(0)",
    "!(port(8080) || ip(172.17.0.2)) && true",
    "label(app)(foo) && label(version)((.*))",
    "name(a(b|c)*[d-f]{2,3}) or not kind(command) & namespace($namespace)",
    r"image((?i)(.*)/x:\d+\.(\d+)) | type(\)) and group([)]) or id((()|a)*) and port_index(7)",
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
SELECTOR_WORDS = (
    "name id kind type namespace group image label ip host port index port_index true false and or not ! & "
    "&& | || ( ) ((.*)) (a) (80) [)] \\) \\ [ ] {1000} * + ? (a|b)* (?: $namespace . é \t \0"
).split(" ")
#: Beyond what keyboards have: control characters, surrogates' neighbours, other breaks, combining marks.
STRANGE = "\0\x07\x1b\x7f\x85\xa0\u200b\u2028\u202e\ufeff\ufffd\uffff\U0001f600\u0301\r"
LONGEST = 3000
#: A plain value behind its key, in a mapping in braces or on a line of its own.
_VALUE = re.compile(r"(?<=: )[^\s{}\[\],\"'][^{}\[\],\n\"']*")


def condition_text(rng: random.Random) -> str:
    """A text for the condition reader."""
    return mixed(rng, CONDITIONS, WORDS)


def blueprint_text(rng: random.Random) -> str:
    """A text for the blueprint reader; one in four is right but for a condition, a selector or one value."""
    kind = rng.random()
    if kind < 0.1:
        return BLUEPRINTS[0].replace("cookie a has b", _quoted(condition_text(rng)))
    if kind < 0.15:
        return BLUEPRINTS[-1].replace(
            '"label(v)((.*)) and not namespace($namespace)"', _quoted(selector_text(rng))
        )
    if kind < 0.25:
        return _with_another_value(rng, BLUEPRINTS[-1])
    return mixed(rng, BLUEPRINTS, YAML_WORDS)


def selector_text(rng: random.Random) -> str:
    """A text for the selector reader."""
    return mixed(rng, SELECTORS, SELECTOR_WORDS)


def mixed(rng: random.Random, right: list[str], words: list[str]) -> str:
    """A right text with mistakes, words without order, or noise."""
    kind = rng.random()
    if kind < 0.65:
        return _mutated(rng, rng.choice(right), right, words)
    if kind < 0.85:
        return rng.choice(["", " "]).join(rng.choices(words, k=rng.randint(0, 30)))
    if kind < 0.98:
        return "".join(_character(rng) for _ in range(rng.randint(0, 40)))
    return (rng.choice(words) + rng.choice(["", " "])) * rng.randint(100, LONGEST // 4)


def _quoted(text: str) -> str:
    """In YAML's single quotes, in one line."""
    return "'" + text[:200].replace("'", "''").replace("\n", " ") + "'"


def _with_another_value(rng: random.Random, text: str) -> str:
    """One value of a mapping is another text, in quotes: the structure holds, the value hardly ever does."""
    found = rng.choice(list(_VALUE.finditer(text)))
    other = rng.choice(
        [rng.choice(YAML_WORDS), rng.choice(WORDS), _mutated(rng, found[0], BLUEPRINTS, YAML_WORDS)]
    )
    return text[: found.start()] + _quoted(other) + text[found.end() :]


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
