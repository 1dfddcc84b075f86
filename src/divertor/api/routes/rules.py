"""`/rules`: the rule files that judge events, and what they found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from divertor.api.answers import Paged, answer, page_headers, prefers_yaml
from divertor.api.bodies import SOURCE, Sent
from divertor.api.context import Api, By, ValidateOnly
from divertor.api.describe import body, errors
from divertor.api.schemas import RuleShape
from divertor.api.services import RuleStatus, Services
from divertor.errors import InputError, Position, UnavailableError
from divertor.model.events import format_time, moment_of
from divertor.model.quantities import format_seconds
from divertor.rules import Rule
from divertor.rules.alarms import Silence
from divertor.rules.reading.files import load_stored

router = APIRouter(prefix="/rules", tags=["rules"])

_EXAMPLE = """\
name: many detections
type: frequency
index: bitsensor
num_events: 5
timeframe: {minutes: 1}
query_key: context.ip
filter:
  - query_string: {query: "detections.type: *"}
alert: debug
"""


@router.get("", summary="List rules", response_model=list[RuleShape], responses=errors())
async def list_rules(request: Request, api: Api, page: Paged) -> Response:
    found = page.of(rules := api.rules.list())
    quiet = await _silences(api, [each.rule.name for each in found])
    told = [status_to_json(each, quiet) for each in found]
    return answer(request, told, headers=page_headers(request, page, len(rules)))


@router.get(
    "/{name:path}",
    summary="Get a rule",
    description="As YAML (`Accept: application/yaml`): the rule file itself.",
    response_model=RuleShape,
    responses=errors(404),
)
async def get_rule(request: Request, name: str, api: Api) -> Response:
    status = api.rules.get(name)
    if prefers_yaml(request.headers.get("accept", "")):
        return Response(status.rule.text.encode("utf-8", "replace"), media_type="application/yaml")
    return answer(request, await _told(api, name))


@router.put(
    "/{name:path}",
    summary="Store a rule",
    description="It judges events from now on. A rule without `name` is named by the address. "
    "409: a rule file has a rule of that name.",
    response_model=RuleShape,
    responses=errors(409, 413, 415),
    openapi_extra=body("The rule file.", _EXAMPLE),
)
async def put_rule(
    request: Request, name: str, api: Api, by: By, sent: Sent, validate_only: ValidateOnly = False
) -> Response:
    rule = await sent.read(load_stored)
    if rule.name not in (name, SOURCE):
        raise InputError(
            f"the name {rule.name[:80]!r} in the body of a request for {name[:80]!r}",
            Position(SOURCE),
            repr(name[:80]),
        )
    if validate_only:
        return answer(request, rule_to_json(rule))
    await api.rules.put(name, sent.text, by)
    return answer(request, await _told(api, name))


@router.delete("/{name:path}", summary="Remove a rule", status_code=204, responses=errors(404, 409))
async def delete_rule(name: str, api: Api, by: By) -> Response:
    await api.rules.delete(name, by)
    return Response(status_code=204)


async def _told(api: Services, name: str) -> dict[str, Any]:
    return status_to_json(api.rules.get(name), await _silences(api, [name]))


async def _silences(api: Services, rules: Sequence[str]) -> Mapping[str, Silence] | None:
    """The silence of each of those rules that has one. None: nobody knows, the broker is away; the rules
    themselves are known all the same.
    """
    try:
        return await api.alarms.quiet(rules)
    except UnavailableError:
        return None


def status_to_json(status: RuleStatus, silences: Mapping[str, Silence] | None) -> dict[str, Any]:
    """A rule, what became of it, and the silence that keeps people from being told, if that is known."""
    silence = None if silences is None else silences.get(status.rule.name)
    return rule_to_json(status.rule) | {
        "matches": status.matches,
        "last_match": _time(status.last_match),
        "matches_since": _time(status.since),
        "last_event": _time(status.last_event),
        "watched_since": _time(status.watched),
        "silenced": None if silence is None else _quiet_to_json(silence),
        "silences_known": silences is not None,
        "error": status.error,
    }


def _quiet_to_json(silence: Silence) -> dict[str, Any]:
    return {
        "id": silence.id,
        "until": None if silence.end is None else format_time(moment_of(silence.end)),
        "mute": silence.mute,
        "partly": silence.is_partial,
        "by": silence.by,
        "comment": silence.comment,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)


def rule_to_json(rule: Rule) -> dict[str, Any]:
    """A rule that has found nothing yet."""
    return {
        "name": rule.name,
        "type": rule.type,
        "enabled": rule.is_enabled,
        "index": list(rule.index),
        "alerts": [alert.name for alert in rule.alerts],
        "query_key": list(rule.query_key),
        "realert": format_seconds(rule.alarm.realert.total_seconds()),
        "warnings": list(rule.warnings),
        "matches": 0,
        "last_match": None,
        "matches_since": None,
        "last_event": None,
        "watched_since": None,
        "silenced": None,
        "silences_known": True,
        "error": "",
        "source": rule.source,
        "text": rule.text,
    }
