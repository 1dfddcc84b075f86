"""`/alarms` and `/silences`: which alarms are open, who looks after them, and what people are not told of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from divertor.api.answers import Paged, answer, answer_page
from divertor.api.bodies import Body, Sent
from divertor.api.context import Api, By, Surroundings
from divertor.api.describe import body, errors
from divertor.api.schemas import AlarmShape, SilenceShape
from divertor.errors import NotFoundError
from divertor.model.documents import Node
from divertor.model.events import format_time, micros_of, moment_of, parse_time
from divertor.model.fields import Fields, entries_of, fail, parsed, text_of
from divertor.model.quantities import format_seconds, parse_duration
from divertor.rules.alarms import Ack, Shown, Silence
from divertor.rules.rule import Severity
from divertor.rules.schedule import Cron, zone_of

router = APIRouter(tags=["alarms"])

_MICROSECOND = timedelta(microseconds=1)
_MAX_TEXT = 1000
_MAX_FIELDS = 16
_UNTIL = ("for", "until", "comment")
_SILENCE = ("rule", "key", "fields", "from", "cron", "zone", "lasting", *_UNTIL)

_ACK_EXAMPLE = "for: 4h\ncomment: I am on it\n"
_SILENCE_EXAMPLE = """\
rule: "login *"
fields: {user: backup}
from: 2026-01-31T22:00:00Z
until: 2026-02-01T04:00:00Z
comment: the backup server moves
"""

State = Annotated[
    Literal["open", "over", "all"], Query(description="Open ones, those that are over, or both.")
]
RuleName = Annotated[str, Query(max_length=200, description="Only of this rule.")]
Level = Annotated[Severity | None, Query(description="Only of this severity.")]


@router.get(
    "/alarms",
    summary="List alarms",
    description="The latest first; of those that are over, a few hundred are remembered.",
    response_model=list[AlarmShape],
    responses=errors(),
)
async def list_alarms(
    request: Request,
    api: Api,
    page: Paged,
    state: State = "open",
    rule: RuleName = "",
    severity: Level = None,
) -> Response:
    open_ones, over = await api.alarms.list()
    found: Sequence[Shown] = {"open": [*open_ones], "over": [*over], "all": [*open_ones, *over]}[state]
    if rule:
        found = [each for each in found if each.alarm.rule == rule]
    if severity is not None:
        found = [each for each in found if each.alarm.severity is severity]
    return answer_page(request, page, found, alarm_to_json)


@router.get("/alarms/{id}", summary="Get an alarm", response_model=AlarmShape, responses=errors(404))
async def get_alarm(request: Request, id: str, api: Api) -> Response:
    return answer(request, alarm_to_json(await api.alarms.get(id)))


@router.post(
    "/alarms/{id}/ack",
    summary="Acknowledge an alarm",
    description=(
        "No more messages about it until it is over, `for` a span, or `until` a time. What its rule does"
        " besides telling people (isolations), it goes on doing."
    ),
    response_model=AlarmShape,
    responses=errors(404, 409, 413, 415),
    openapi_extra=body("Until when, and why; may be empty.", _ACK_EXAMPLE, required=False),
)
async def acknowledge(
    request: Request, id: str, api: Api, by: By, sent: Sent, world: Surroundings
) -> Response:
    fields = await _optional_fields(sent, "an acknowledgement", _UNTIL)
    until = None if fields is None else _until(fields, world.now())
    comment = "" if fields is None else _text(fields, "comment")
    return answer(request, alarm_to_json(await api.alarms.acknowledge(id, until, by, comment)))


@router.delete(
    "/alarms/{id}/ack",
    summary="Take an acknowledgement back",
    status_code=204,
    responses=errors(404),
)
async def unacknowledge(id: str, api: Api, by: By) -> Response:
    await api.alarms.unacknowledge(id, by)
    return Response(status_code=204)


@router.get(
    "/silences",
    summary="List silences",
    description="The latest first; mutes of rules are among them.",
    response_model=list[SilenceShape],
    responses=errors(),
)
async def list_silences(request: Request, api: Api, page: Paged, world: Surroundings) -> Response:
    found, suppressed = await api.alarms.silences()
    now = micros_of(world.now())
    return answer_page(
        request, page, found, lambda each: silence_to_json(each, now, suppressed.get(each.id, 0))
    )


@router.post(
    "/silences",
    summary="Add a silence",
    description=(
        "People are not told of matches that fit `rule`, `key` and all `fields`, from `from` (now, if it is"
        " left out) until `until` or `for` a span (`forever`: until it is removed). With `cron`, `zone` and"
        " `lasting` it holds for so long from each of those minutes on, a maintenance window that comes"
        " back. Isolations go on."
    ),
    status_code=201,
    response_model=SilenceShape,
    responses=errors(409, 413, 415),
    openapi_extra=body("Which matches, and when.", _SILENCE_EXAMPLE),
)
async def add_silence(request: Request, api: Api, by: By, sent: Sent, world: Surroundings) -> Response:
    wanted = _silence(await sent.node(), world.now())
    made = await api.alarms.silence(wanted, by)
    return answer(request, silence_to_json(made, micros_of(world.now()), 0), 201)


@router.get("/silences/{id}", summary="Get a silence", response_model=SilenceShape, responses=errors(404))
async def get_silence(request: Request, id: str, api: Api, world: Surroundings) -> Response:
    found, suppressed = await api.alarms.silences()
    for each in found:
        if each.id == id:
            shown = silence_to_json(each, micros_of(world.now()), suppressed.get(id, 0))
            return answer(request, shown)
    raise NotFoundError(f"no silence {id[:80]!r}")


@router.delete("/silences/{id}", summary="End a silence", status_code=204, responses=errors(404))
async def remove_silence(id: str, api: Api, by: By) -> Response:
    await api.alarms.unsilence(id, by)
    return Response(status_code=204)


@router.post(
    "/rules/{name:path}/mute",
    summary="Mute a rule",
    description="People are told of none of its matches, `for` a span, `until` a time, or until `unmute`.",
    response_model=SilenceShape,
    responses=errors(404, 409, 413, 415),
    openapi_extra=body("Until when, and why; may be empty.", _ACK_EXAMPLE, required=False),
)
async def mute(request: Request, name: str, api: Api, by: By, sent: Sent, world: Surroundings) -> Response:
    fields = await _optional_fields(sent, "a mute", _UNTIL)
    until = None if fields is None else _until(fields, world.now())
    comment = "" if fields is None else _text(fields, "comment")
    made = await api.alarms.mute(name, until, by, comment)
    return answer(request, silence_to_json(made, micros_of(world.now()), 0))


@router.post(
    "/rules/{name:path}/unmute", summary="Let a muted rule speak", status_code=204, responses=errors(404)
)
async def unmute(name: str, api: Api, by: By) -> Response:
    await api.alarms.unmute(name, by)
    return Response(status_code=204)


def alarm_to_json(shown: Shown) -> dict[str, Any]:
    """An alarm, and who looks after it."""
    alarm = shown.alarm
    over = "resolved" if alarm.resolved else "ended"
    return {
        "id": alarm.id,
        "rule": alarm.rule,
        "key": alarm.key,
        "severity": alarm.severity.value,
        "state": "open" if alarm.ended is None else over,
        "opened": _time(alarm.opened),
        "last": _time(alarm.last),
        "ended": _time_or_none(alarm.ended),
        "matches": alarm.matches,
        "alerts": alarm.alerts,
        "suppressed": alarm.suppressed,
        "acknowledged": None if shown.ack is None else _ack_to_json(shown.ack),
    }


def _ack_to_json(ack: Ack) -> dict[str, Any]:
    return {
        "by": ack.by,
        "comment": ack.comment,
        "created": _time(ack.created),
        "until": _time_or_none(ack.until),
    }


def silence_to_json(silence: Silence, now: int, suppressed: int) -> dict[str, Any]:
    """A silence as it is at `now`, in microseconds since the epoch."""
    cron = silence.cron
    return {
        "id": silence.id,
        "rule": silence.rule,
        "key": silence.key,
        "fields": dict(silence.fields),
        "since": _time(silence.start),
        "until": _time_or_none(silence.end),
        "cron": "" if cron is None else cron.text,
        "zone": "" if cron is None else cron.zone,
        "lasting": "" if cron is None else format_seconds(silence.lasting / 1_000_000),
        "mute": silence.mute,
        "state": "active" if silence.is_active(now) else "waiting",
        "by": silence.by,
        "comment": silence.comment,
        "created": _time(silence.created),
        "suppressed": suppressed,
    }


def _silence(node: Node, now: datetime) -> Silence:
    fields = Fields(node, "a silence", _SILENCE)
    if not any(name in fields for name in ("rule", "key", "fields")):
        fail(node, "a silence of everything", "rule, key or fields (rule: '*' for every rule)")
    if "for" not in fields and "until" not in fields:
        fail(node, "a silence without an end", "until, or for (for: forever if it is meant)")
    start = fields.get("from")
    begins = now if start is None else parsed(start, "time", _moment)
    end = _until(fields, begins)
    if end is not None and end <= max(begins, now):
        fail(node, "a silence that is over before it begins", "a later end")
    cron, lasting = _cron(fields)
    return Silence(
        id="",
        rule=_text(fields, "rule") or "*",
        key=_text(fields, "key"),
        fields=_values(fields.get("fields")),
        start=micros_of(begins),
        end=None if end is None else micros_of(end),
        cron=cron,
        lasting=lasting,
        comment=_text(fields, "comment"),
    )


def _cron(fields: Fields) -> tuple[Cron | None, int]:
    node, lasting = fields.get("cron"), fields.get("lasting")
    if node is None:
        for name in ("lasting", "zone"):
            if name in fields:
                fail(fields.node, f"{name!r} without 'cron'", "both, or neither")
        return None, 0
    if lasting is None:
        fail(node, "'cron' without 'lasting'", "how long it holds, such as lasting: 4h")
    place = fields.get("zone")
    zone = "UTC" if place is None else parsed(place, "time zone", lambda text: str(zone_of(text)))
    duration = parsed(lasting, "span of time", _span)
    return parsed(node, "cron expression", lambda text: Cron.parse(text, zone)), duration // _MICROSECOND


def _values(node: Node | None) -> tuple[tuple[str, str], ...]:
    found = tuple((key.text, text_of(item, key.text)) for key, item in entries_of(node, "fields"))
    if node is not None and (not 0 < len(found) <= _MAX_FIELDS or any(len(v) > _MAX_TEXT for _, v in found)):
        fail(node, "no fields, or too many or too long ones", f"1 to {_MAX_FIELDS}")
    return found


def _until(fields: Fields, start: datetime) -> datetime | None:
    """The end that `for` or `until` gives; None: none."""
    span, until = fields.get("for"), fields.get("until")
    if span is not None and until is not None:
        fail(until, "'until' beside 'for'", "one or the other")
    if until is not None:
        return parsed(until, "time", _moment)
    duration = None if span is None else parsed(span, "span of time", parse_duration)
    return None if duration is None else start + duration


def _span(text: str) -> timedelta:
    duration = parse_duration(text)
    if duration is None:
        raise ValueError("a span such as 4h")
    return duration


def _moment(text: str) -> datetime:
    try:
        return parse_time(text)
    except (ValueError, OverflowError):
        raise ValueError("an ISO 8601 time such as 2026-01-31T12:00:00Z") from None


async def _optional_fields(sent: Body, what: str, known: tuple[str, ...]) -> Fields | None:
    return None if sent.is_empty else Fields(await sent.node(), what, known)


def _text(fields: Fields, name: str) -> str:
    node = fields.get(name)
    text = "" if node is None else text_of(node, f"{name!r}")
    if node is not None and len(text) > _MAX_TEXT:
        fail(node, f"{name!r} is too long", f"at most {_MAX_TEXT} characters")
    return text


def _time(micros: int) -> str:
    return format_time(moment_of(micros))


def _time_or_none(micros: int | None) -> str | None:
    return None if micros is None else _time(micros)
