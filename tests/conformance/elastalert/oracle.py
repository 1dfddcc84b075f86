"""ElastAlert 2's own rule classes, asked line by line: the other side of the conformance tests.

Runs in an environment of its own, which has `elastalert2` and nothing of Divertor. Each line of standard
input is a JSON list of streams, each line of standard output the list of their results. A stream makes one
rule object from its options and feeds it step by step, as ElastAlert's main loop would. Times are
microseconds since the epoch, wrapped as `{"$time": n}`; lengths of time `{"$span": n}`.

A stream: `{"type", "options", "feed": [[kind, payload], …], "seen": {field: [values]}, "keep": bool}`.
Kinds: `data` (a list of documents), `count`, `terms`, `aggregation` (a list of [micros, payload] pairs) and
`collect` (micros: garbage_collect). `seen` is what new_term found before; `keep` keeps what classes
remember between rules. The result: `{"matches": [[…] for each step], "texts": […] (get_match_str), "error":
null or what was raised}`; a raising step ends the stream, as it disables a rule.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

logging.disable(logging.CRITICAL)
ruletypes: Any = import_module("elastalert.ruletypes")
util: Any = import_module("elastalert.util")

CLASSES = {
    "any": ruletypes.AnyRule,
    "blacklist": ruletypes.BlacklistRule,
    "whitelist": ruletypes.WhitelistRule,
    "change": ruletypes.ChangeRule,
    "frequency": ruletypes.FrequencyRule,
    "spike": ruletypes.SpikeRule,
    "flatline": ruletypes.FlatlineRule,
    "new_term": ruletypes.NewTermsRule,
    "cardinality": ruletypes.CardinalityRule,
    "metric_aggregation": ruletypes.MetricAggregationRule,
    "spike_aggregation": ruletypes.SpikeMetricAggregationRule,
    "percentage_match": ruletypes.PercentageMatchRule,
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class NoElasticsearch:
    """Answers new_term's question for the terms of the past with none."""

    def search(self, **_query: Any) -> dict[str, Any]:
        return {}


def decode(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"$time"}:
            return EPOCH + value["$time"] * MICROSECOND
        if value.keys() == {"$span"}:
            return value["$span"] * MICROSECOND
        return {key: decode(inner) for key, inner in value.items()}
    return [decode(inner) for inner in value] if isinstance(value, list) else value


def encode(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"$time": (value - EPOCH) // MICROSECOND}
    if isinstance(value, timedelta):
        return {"$span": value // MICROSECOND}
    if isinstance(value, dict):
        return {str(key): encode(inner) for key, inner in value.items()}
    return [encode(inner) for inner in value] if isinstance(value, list | tuple | set) else value


def as_loaded(options: dict[str, Any]) -> dict[str, Any]:
    """What ElastAlert's loader adds to options that name several fields, and its defaults."""
    rule = {
        "index": "logs",
        "timestamp_field": "@timestamp",
        "dt_to_ts": util.dt_to_ts,
        "ts_to_dt": util.ts_to_dt,
        **options,
    }
    rule.setdefault("use_local_time", False)
    for name in ("query_key", "compare_key"):
        given = rule.get(name)
        if isinstance(given, list):
            rule[f"compound_{name}"] = given
            rule[name] = ",".join(given)
        elif given is not None and name == "compare_key":
            rule["compound_compare_key"] = [given]
    if len(rule.get("compound_query_key", "ab")) == 1:
        del rule["compound_query_key"]
    return rule


def make(stream: dict[str, Any]) -> Any:
    if not stream.get("keep"):
        ruletypes.ChangeRule.change_map = {}
        ruletypes.ChangeRule.occurrence_time = {}
    ruletypes.elasticsearch_client = lambda _rules: NoElasticsearch()
    rule = CLASSES[stream["type"]](as_loaded(decode(stream["options"])))
    for field, values in stream.get("seen", {}).items():
        name = tuple(field.split(",")) if "," in field else field
        rule.seen_values[name] = [tuple(one) if isinstance(one, list) else one for one in values]
    return rule


def with_compound_key(rule: Any, document: dict[str, Any]) -> dict[str, Any]:
    names = rule.rules.get("compound_query_key")
    if names:
        document[rule.rules["query_key"]] = ", ".join(
            str(util.lookup_es_key(document, name)) for name in names
        )
    return document


def feed(rule: Any, kind: str, payload: Any) -> None:
    if kind == "data":
        rule.add_data([with_compound_key(rule, decode(one)) for one in payload])
    elif kind == "collect":
        rule.garbage_collect(EPOCH + payload * MICROSECOND)
    else:
        timed = {EPOCH + micros * MICROSECOND: decode(inner) for micros, inner in payload}
        getattr(rule, f"add_{kind}_data")(timed)


def answer(stream: dict[str, Any]) -> dict[str, Any]:
    matches: list[list[Any]] = []
    texts: list[str] = []
    try:
        rule = make(stream)
        for kind, payload in stream["feed"]:
            feed(rule, kind, payload)
            matches.append([as_document(match) for match in rule.matches])
            texts += [rule.get_match_str(match) for match in rule.matches] if stream.get("texts") else []
            rule.matches = []
    except Exception as problem:
        return {"matches": matches, "texts": texts, "error": f"{type(problem).__name__}: {problem}"}
    return {"matches": matches, "texts": texts, "error": None}


def as_document(match: dict[str, Any]) -> Any:
    """The match; its time, which add_match spelled out, as a time again."""
    spelled = match.get("@timestamp")
    time = datetime.fromisoformat(spelled) if isinstance(spelled, str) else spelled
    related = [as_document(one) for one in match.get("related_events", ())]
    more = {"related_events": related} if "related_events" in match else {}
    return encode({**match, "@timestamp": time} | more)


def main() -> None:
    for line in sys.stdin:
        print(json.dumps([answer(stream) for stream in json.loads(line)]), flush=True)


if __name__ == "__main__":
    main()
