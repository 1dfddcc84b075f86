"""From a verdict to the match that alerts show: the document, projected, with its counts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from divertor.model.events import format_time, moment_of
from divertor.rules.alarms import Verdict
from divertor.rules.rule import Match, Rule
from divertor.rules.running.projection import project
from divertor.rules.types.contract import Hit


def match_of(rule: Rule, verdict: Verdict, num_hits: int, num_matches: int) -> Match:
    """The match of a verdict; the counts are since the rule's last alert."""
    hit = verdict.hit
    time = moment_of(hit.micros)
    document = _document(rule, hit, time)
    document["num_hits"] = num_hits
    document["num_matches"] = num_matches
    if verdict.suppressed:
        document["num_suppressed"] = verdict.suppressed
    return Match(
        id=verdict.id,
        rule=rule,
        document=document,
        event=hit.event,
        num_hits=num_hits,
        num_matches=num_matches,
        time=time,
        key=hit.key,
        alarm=verdict.alarm,
        status=verdict.status,
        severity=verdict.severity,
        severities=verdict.severities,
        suppressed=verdict.suppressed,
        audience=verdict.audience,
    )


def _document(rule: Rule, hit: Hit, time: datetime) -> dict[str, Any]:
    if hit.event is None:
        document: dict[str, Any] = {"@timestamp": format_time(time)}
        if len(rule.query_key) == 1 and hit.key is not None:
            document[rule.query_key[0]] = hit.key
    else:
        document = project(hit.event.document(), rule.include, keep=_kept(rule) if rule.include else ())
    if len(rule.query_key) > 1:
        document[",".join(rule.query_key)] = hit.key
    document.update(hit.fields)
    if hit.related is not None:
        document["related_events"] = [project(one.document(), rule.include) for one in hit.related]
    return document


def _kept(rule: Rule) -> tuple[str, ...]:
    """The fields that a rule goes by: a match has them, whatever `include` says."""
    compared = rule.properties.get("compare_key")
    names = map(str, compared) if isinstance(compared, list) else (str(compared),) if compared else ()
    gathered = rule.gather.key if rule.gather is not None else ()
    return (*rule.query_key, rule.clock.field, *names, *gathered, *rule.enrich.counted)
