"""The shapes of answers, for the API's description only: nothing is validated or converted with them.

Documents with many optional keys (blueprints, deployments) are described as far as clients rely on them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Shape(BaseModel):
    """More keys may follow in later versions."""

    model_config = ConfigDict(extra="allow")


class Error(Shape):
    """Every error has this shape. `line` and `column` count from 1; 0 means unknown."""

    message: str = Field(examples=["the weights of the routes add up to 90%"])
    source: str = Field(examples=["request body"])
    line: int = Field(ge=0, examples=[12])
    column: int = Field(ge=0, examples=[7])
    expected: str = Field(examples=["0% or 100%"])


class EventShape(Shape):
    """Something that happened. `timestamp`: when; `received`: when Divertor took it (both UTC)."""

    id: str
    type: str = Field(examples=["detection"])
    timestamp: str = Field(examples=["2026-01-31T12:00:00.000000Z"])
    received: str
    indices: list[str]
    tags: list[str] = Field(examples=[["detection:sql_injection", "service:hackable"]])
    value: Any = None
    body: dict[str, Any]


class Frame(Shape):
    """One place in the call stack, the application's own code only, innermost first."""

    file: str
    line: int
    function: str
    source: str = Field(description="The line of code, when the sensor could read it.")


class DetectionRequest(Shape):
    method: str
    path: str
    address: str = Field(description="The client's.")
    user_agent: str
    session: str
    session_cookie: str
    id: str


class Detection(Shape):
    """What a sensor found: what reached where, how, and what was done."""

    id: str
    timestamp: str
    type: str = Field(examples=["sql_injection"])
    cwe: str
    owasp: str = Field(description="Its place in OWASP's Top Ten, or empty.", examples=["A03:2021"])
    signal: str = Field(description="`attack`, `vulnerability` or `probe` (reached nothing).")
    outcome: str = Field(description="What the sensor did: `diverted`, `blocked`, `reported`.")
    simulated: str = Field(description="What it would have done, if its mode only simulates; else empty.")
    service: str
    version: str
    message: str
    request: DetectionRequest
    source: str = Field(description="Where the payload came in: `query`, `form`, …")
    parameter: str
    payload: str
    sink: str = Field(description="The call that was about to be made.")
    statement: str
    frames: list[Frame]
    event: EventShape


class IsolationShape(Shape):
    """One key being diverted. `expires` null: until removed."""

    id: str
    scope: str = Field(examples=["hackable/hackable"])
    kind: Literal["cookie", "header", "address", "prefix", "bearer", "ja3", "ja4", "user"]
    name: str = Field(examples=["session"])
    value: str
    target: str = Field(examples=["hackable:1.0.0"])
    created: str
    expires: str | None
    by: str
    reason: str
    cause: str = Field(description="The id of the detection behind it, or empty.")
    parent: str = Field(description="The id of the client's key that it continues, or empty.")
    simulated: bool = Field(description="Decided while the policy only watched.")


class ImportShape(Shape):
    """What an import of isolations did, or would do."""

    added: int
    prolonged: int
    unchanged: int
    expired: int = Field(description="Lines that no longer hold.")


class StoppedRuleShape(Shape):
    """A rule that isolates nobody any more."""

    rule: str = Field(examples=["many detections"])
    why: str = Field(examples=["more than 600 new isolations within a minute"])


class RuleShape(Shape):
    """A rule, and what became of it."""

    name: str
    type: str = Field(examples=["frequency"])
    enabled: bool
    index: list[str]
    alerts: list[str]
    query_key: list[str]
    realert: str = Field(examples=["1m"])
    warnings: list[str]
    matches: int
    last_match: str | None
    matches_since: str | None = Field(description="From when on matches are counted; a restart goes on.")
    last_event: str | None = Field(description="When an event of its index last came.")
    watched_since: str | None = Field(description="From when on that is known.")
    silenced: QuietShape | None
    silences_known: bool
    error: str
    source: str
    text: str


class QuietShape(Shape):
    """A silence or a mute of a rule that holds now. `until` null: until it is removed."""

    id: str
    until: str | None
    mute: bool
    partly: bool = Field(description="Only of some of its matches: by key or fields.")
    by: str
    comment: str


class AckShape(Shape):
    """Who looks after an alarm. `until` null: until it is over."""

    by: str
    comment: str
    created: str
    until: str | None


class AlarmShape(Shape):
    """An alarm of a rule: open, or over (`resolved`: it was told that it is)."""

    id: str
    rule: str
    key: str | None = Field(description="The query_key's value.")
    severity: Literal["info", "low", "medium", "high", "critical"]
    state: Literal["open", "resolved", "ended"]
    opened: str
    last: str = Field(description="When it last matched.")
    ended: str | None
    matches: int
    alerts: int = Field(description="How often it was told.")
    suppressed: int = Field(description="Matches since then that nobody was told of.")
    acknowledged: AckShape | None


class WaitingAlertShape(Shape):
    """A message or an action that has not been delivered yet."""

    id: str
    rule: str
    rule_gone: bool = Field(description="The rule was removed; what it found is still delivered.")
    alerter: str = Field(examples=["slack"])
    target: str = Field(description="Where it goes, without secrets.", examples=["https://hooks.slack.com/…"])
    alarm: str = Field(description="The alarm that it is about.")
    state: Literal["waiting", "sending", "failing"]
    attempts: int = Field(description="How often it was tried.")
    error: str = Field(description="Why it was not taken the last time.")
    created: str
    next_try: str | None = Field(description="null: when the one before it, about the same alarm, arrived.")
    until: str | None = Field(description="When it is given up; null: the rule that says so is gone.")


class DroppedShape(Shape):
    """How many alerts were dropped, and how many more of them wait."""

    dropped: int
    left: int


class RetriedShape(Shape):
    """How many alerts are tried now, and how many more of them wait."""

    retried: int
    left: int


class SilenceShape(Shape):
    """Which matches people are not told of, and when. `until` null: until it is removed."""

    id: str
    rule: str = Field(description="A pattern; `*` stands for any characters.", examples=["login *"])
    key: str = Field(description="A pattern for the query_key's value; empty: any.")
    fields: dict[str, str] = Field(description="What the match must hold.", examples=[{"user": "backup"}])
    since: str
    until: str | None
    cron: str = Field(description="When it comes back, if it does.", examples=["0 22 * * sat"])
    zone: str
    lasting: str = Field(description="How long it then holds.", examples=["4h"])
    mute: bool = Field(description="Of one rule, by its name.")
    state: Literal["active", "waiting"]
    by: str
    comment: str
    created: str
    suppressed: int = Field(description="Matches that it held back.")


class Named(Shape):
    """A document of Vamp's: a blueprint, breed, scale or condition."""

    name: str
    kind: str


class RouteShape(Shape):
    weight: str | None = Field(examples=["50%"])
    condition: dict[str, Any] | None = Field(examples=[{"condition": "user-agent == Firefox"}])
    condition_strength: str = Field(examples=["100%"])


class GatewayShape(Shape):
    name: str
    kind: Literal["gateways"]
    port: str = Field(examples=["9051/http"])
    sticky: str
    internal: bool
    routes: dict[str, RouteShape]


class DeploymentShape(Shape):
    name: str
    kind: Literal["deployments"]
    clusters: dict[str, Any]
    gateways: dict[str, Any]
    isolation: dict[str, Any]


class Aggregated(Shape):
    """One number over the events that fit; null when there is none."""

    value: float | None


class MeasurementShape(Shape):
    """What was measured in `window` seconds: times in milliseconds, `errors` in per cent; null: not known."""

    kind: Literal["gateways", "routes", "services", "clusters"]
    window: float
    rate: float
    requests: int
    errors: float | None
    connect_failures: int
    active: int
    responseTime: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    health: float | None


class Health(Shape):
    status: Literal["ok"]


class Info(Shape):
    message: str
    version: str


class StatusShape(Shape):
    """Everything `divertor status` shows."""


class ExchangeShape(Shape):
    """A request of an isolated client, and its answer. `status` null: the client left before it."""

    number: int
    time: str
    kind: Literal["diverted", "isolated", "refused", "simulated"]
    scope: str
    method: str
    host: str
    path: str
    status: int | None
    milliseconds: float | None
    request_bytes: int
    response_bytes: int
    served_by: str
    client: str
    request_id: str
    key: dict[str, str] | None
    isolated: list[dict[str, str]] = Field(description="Keys that were isolated because of it.")
    redacted: list[str]
    detections: list[str] = Field(description="The ids of what a sensor found in it.")


class HeaderShape(Shape):
    name: str
    value: str


class BodyShape(Shape):
    """What was kept of a body: `text`, or `base64` when it is none."""

    size: int
    kept: int
    whole: bool


class FullExchange(ExchangeShape):
    scheme: str
    request_headers: list[HeaderShape]
    request_body: BodyShape
    response_headers: list[HeaderShape]
    response_body: BodyShape


class RecordingShape(Shape):
    """One attacker, as he was watched. `isolation`: as it is, or as it was last known."""

    id: str
    isolation: IsolationShape | None
    holds: bool
    keys: list[str] = Field(description="The ids of every key of his.")
    exchanges: int
    gone: int = Field(description="Exchanges that are no longer kept.")


class RecordedShape(Shape):
    id: str
    isolation: IsolationShape | None
    holds: bool
