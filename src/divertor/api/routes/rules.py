"""`/rules`: the rule files that judge events, and what they found."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from divertor.api.answers import Paged, answer, answer_page, prefers_yaml
from divertor.api.bodies import SOURCE, Sent
from divertor.api.context import Api, By, ValidateOnly
from divertor.api.describe import body, errors
from divertor.api.schemas import RuleShape
from divertor.api.services import RuleStatus
from divertor.errors import InputError, Position
from divertor.model.events import format_time
from divertor.model.quantities import format_seconds
from divertor.rules import Rule
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
    return answer_page(request, page, api.rules.list(), status_to_json)


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
    return answer(request, status_to_json(status))


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
    return answer(request, status_to_json(api.rules.get(name)))


@router.delete("/{name:path}", summary="Remove a rule", status_code=204, responses=errors(404, 409))
async def delete_rule(name: str, api: Api, by: By) -> Response:
    await api.rules.delete(name, by)
    return Response(status_code=204)


def status_to_json(status: RuleStatus) -> dict[str, Any]:
    """A rule, and what became of it."""
    last = status.last_match
    return rule_to_json(status.rule) | {
        "matches": status.matches,
        "last_match": None if last is None else format_time(last),
        "error": status.error,
    }


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
        "error": "",
        "source": rule.source,
        "text": rule.text,
    }
