"""How a rule is doing, in a few words: for whoever wonders why nothing happens, or too much. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from divertor.cli.text import short_span, short_time

#: Seconds without an event of a rule's index after which that is worth a word.
SILENT = 3600.0
#: Indices of Divertor's own in which nothing happens while all is well; its logs are none of them.
_RARE, _LOGS = ("divertor-", "bitsensor"), "divertor-log"


def trouble(rule: Mapping[str, Any], stopped: Mapping[str, str]) -> str:
    """What somebody has to know of a rule who wonders why nothing happens."""
    why = stopped.get(str(rule.get("name")))
    if why is not None:
        return f"stopped: {why}"
    return "disabled" if rule.get("enabled") is False else str(rule.get("error") or "")


def quiet(rule: Mapping[str, Any]) -> str:
    """Until when people are not told of what a rule finds, and on whose word; "" when they are."""
    if rule.get("silences_known") is False:
        return "unknown: the broker is away"
    silence = rule.get("silenced")
    if not silence:
        return ""
    what = "muted" if silence.get("mute") else "partly silenced" if silence.get("partly") else "silenced"
    end = short_time(silence.get("until"))
    by = f" by {silence['by']}" if silence.get("by") else ""
    return f"{what} until {end}{by}" if end else f"{what}{by}"


def unheard(rule: Mapping[str, Any], now: datetime) -> str:
    """That nothing arrives which the rule could judge: a field that fell silent, or an index that is called
    otherwise; "" when there is no reason to say so.
    """
    patterns = [str(each) for each in rule.get("index") or []]
    if rule.get("enabled") is False or all(map(_is_rare, patterns)):
        return ""
    last, watched = rule.get("last_event"), rule.get("watched_since")
    since = last or watched
    if not since or _seconds(since, now) < SILENT:
        return ""
    named = ", ".join(patterns)
    if last:
        return f"no event of {named} for {short_span(last, now)}"
    return f"no event of {named} has come since {short_time(watched)}"


def details(rule: Mapping[str, Any], waiting: int, why: str, now: datetime) -> Iterator[tuple[str, object]]:
    """What is known of a rule, line by line: a word, and what it is. `waiting` messages are on their way, and
    `why` is what ails it.
    """
    last = rule.get("last_event")
    ago = short_span(last, now)
    counted = short_time(rule.get("matches_since"))
    alerts = ", ".join(map(str, rule.get("alerts") or []))
    words = "1 message waits" if waiting == 1 else f"{waiting:,} messages wait"
    rows: list[tuple[str, object]] = [
        ("rule", rule.get("name")),
        ("type", rule.get("type")),
        ("from", rule.get("source")),
        ("index", ", ".join(map(str, rule.get("index") or []))),
        ("query key", ", ".join(map(str, rule.get("query_key") or []))),
        ("last event", f"{short_time(last)} ({ago} ago)" if ago else short_time(last)),
        ("matches", f"{rule.get('matches')} since {counted}" if counted else rule.get("matches")),
        ("last match", short_time(rule.get("last_match"))),
        ("alerts", alerts),
        ("realert", rule.get("realert")),
        ("quiet", quiet(rule)),
        ("waiting", f"{words} to be delivered; see `divertor alerts`" if waiting else ""),
        ("trouble", why),
        ("hint", unheard(rule, now)),
        *(("warning", each) for each in rule.get("warnings") or []),
    ]
    yield from ((label, value) for label, value in rows if value not in (None, ""))


def _is_rare(pattern: str) -> bool:
    return pattern.startswith(_RARE) and not pattern.startswith(_LOGS)


def _seconds(since: object, now: datetime) -> float:
    try:
        return (now - datetime.fromisoformat(str(since))).total_seconds()
    except (ValueError, TypeError):
        return 0.0
