"""ElastAlert 2's own `run_rule` over an Elasticsearch made of a list: the other side of the tests of
aggregations.

Runs beside `oracle.py` in ElastAlert's environment. Which stretches of time a run looks at, the query it
writes and what a rule class makes of the answer are ElastAlert's; only the answer is computed here, value by
value, from the documents so far. Each line of standard input is a JSON list of streams `{"type", "options",
"buffer", "every", "batches": [{"end", "events": [{"micros", "fields"}]}]}` with times and lengths in
microseconds, each line of output the list of `{"matches": [[…] for each batch], "error"}`; what ElastAlert
raises ends a stream.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime, timedelta
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from threading import local
from types import ModuleType
from typing import Any

logging.disable(logging.CRITICAL)


ABSENT = frozenset(
    """apscheduler croniter envparse exotel jira jsonpointer jsonschema prison prometheus_client pyzabbix
    statsd stomp tencentcloud twilio""".split()
)


def _anything(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (Exception,), {"__init__": lambda self, *_args, **_more: None})


class Absent(Loader, MetaPathFinder):
    """Stands in for the packages that ElastAlert's main module imports for schedules and alerts, which are
    not used here and not installed.
    """

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        absent = fullname.partition(".")[0] in ABSENT
        return ModuleSpec(fullname, self, is_package=True) if absent else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name)
        module.__getattr__ = _anything  # type: ignore[method-assign]
        return module

    def exec_module(self, module: ModuleType) -> None:
        return None


# Asked last: only for what is not there.
sys.meta_path.append(Absent())
main_module: Any = import_module("elastalert.elastalert")
ruletypes: Any = import_module("elastalert.ruletypes")
util: Any = import_module("elastalert.util")

CLASSES = {
    "metric_aggregation": ruletypes.MetricAggregationRule,
    "spike_aggregation": ruletypes.SpikeMetricAggregationRule,
    "percentage_match": ruletypes.PercentageMatchRule,
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SECOND = 1_000_000
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def micros_of(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // MICROSECOND


class ListOfDocuments:
    """Answers a search with aggregations."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []

    def search(self, *, body: dict[str, Any], **_more: Any) -> dict[str, Any]:
        (within,) = [one["range"]["@timestamp"] for one in _filters(body["query"]) if "range" in one]
        first, last = micros_of(within["gt"]), micros_of(within["lte"])
        found = [one for one in self.documents if first < one["micros"] <= last]
        return {"hits": {"total": {"value": len(found)}}, "aggregations": answer(body["aggs"], found)}


def _filters(query: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = query["bool"]["filter"]["bool"]["must"]
    return found


def answer(aggs: dict[str, Any], documents: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: _one(aggregation, documents) for name, aggregation in aggs.items()}


def _one(aggregation: dict[str, Any], documents: list[dict[str, Any]]) -> dict[str, Any]:
    inner = aggregation.get("aggs", {})
    if "terms" in aggregation:
        return {"buckets": _terms(aggregation["terms"], inner, documents)}
    if "date_histogram" in aggregation:
        return {"buckets": _histogram(aggregation["date_histogram"], inner, documents)}
    if "filters" in aggregation:
        (term,) = aggregation["filters"]["filters"]["match_bucket"]["bool"]["must"]
        ((name, wanted),) = term["term"].items()
        passed = sum(one["fields"].get(name) == wanted for one in documents)
        counts = {"match_bucket": passed, "_other_": len(documents) - passed}
        return {"buckets": {bucket: {"doc_count": count} for bucket, count in counts.items()}}
    ((kind, about),) = aggregation.items()
    values = [one["fields"][about["field"]] for one in documents if about["field"] in one["fields"]]
    if kind == "percentiles":
        (rank,) = about["percents"]
        return {"values": {f"{rank:.1f}": percentile(sorted(values), rank) if values else None}}
    return {"value": number(kind, values)}


def _terms(
    terms: dict[str, Any], inner: dict[str, Any], documents: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in documents:
        if terms["field"] in one["fields"]:
            groups.setdefault(one["fields"][terms["field"]], []).append(one)
    kept = [(key, own) for key, own in groups.items() if len(own) >= terms["min_doc_count"]]
    kept.sort(key=lambda pair: (-len(pair[1]), pair[0]))
    return [{"key": key, "doc_count": len(own), **answer(inner, own)} for key, own in kept[: terms["size"]]]


def _histogram(
    histogram: dict[str, Any], inner: dict[str, Any], documents: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    interval = histogram["fixed_interval"]
    width = int(interval[:-1]) * UNITS[interval[-1]] * SECOND
    offset = int(histogram.get("offset", "+0s")[1:-1]) * SECOND
    numbers = [(one["micros"] - offset) // width for one in documents]
    buckets = []
    for number_ in range(min(numbers, default=0), max(numbers, default=-1) + 1):
        own = [one for one, place in zip(documents, numbers, strict=True) if place == number_]
        start = EPOCH + (number_ * width + offset) * MICROSECOND
        buckets.append({"key_as_string": start.isoformat(), "doc_count": len(own), **answer(inner, own)})
    return buckets


def number(kind: str, values: list[Any]) -> Any:
    if kind == "cardinality":
        return len(set(values))
    if kind == "value_count":
        return len(values)
    if kind == "sum":
        return float(sum(values))
    if not values:
        return None
    if kind == "avg":
        return sum(values) / len(values)
    return float(min(values) if kind == "min" else max(values))


def percentile(values: list[float], rank: float) -> float:
    place = (len(values) - 1) * rank / 100
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


class Runner(main_module.ElastAlerter):  # type: ignore[misc]
    """ElastAlert without its command line, its schedule, its own index and its alerts."""

    def __init__(self, stream: dict[str, Any]) -> None:
        self.thread_data = local()
        self.buffer_time = stream["buffer"] * MICROSECOND
        self.run_every = stream["every"] * MICROSECOND
        self.index = ListOfDocuments()
        self.told: list[dict[str, Any]] = []
        self.statsd = None

    def get_elasticsearch_client(self, rule: dict[str, Any]) -> ListOfDocuments:
        return self.index

    def get_starttime(self, rule: dict[str, Any]) -> None:
        return None

    def is_silenced(self, rule_name: str) -> bool:
        return False

    def writeback(self, *_args: Any, **_more: Any) -> None:
        return None

    def alert(self, matches: list[dict[str, Any]], rule: dict[str, Any], **_more: Any) -> None:
        self.told += matches


def rule_of(stream: dict[str, Any], runner: Runner) -> dict[str, Any]:
    """A rule as ElastAlert's loader leaves it."""
    options = stream["options"]
    rule = {
        **options,
        "name": "r",
        "index": "i",
        "filter": [],
        "timestamp_field": "@timestamp",
        "dt_to_ts": util.dt_to_ts,
        "ts_to_dt": util.ts_to_dt,
        "buffer_time": runner.buffer_time,
        "run_every": runner.run_every,
        "realert": timedelta(0),
        "realert_key": "r",
        "aggregation": None,
        "agg_matches": [],
        "match_enhancements": [],
    }
    for name in ("timeframe", "bucket_interval"):
        if name in options:
            rule[f"{name}_timedelta" if name == "bucket_interval" else name] = timedelta(**options[name])
    if isinstance(options.get("query_key"), list):
        rule |= {"compound_query_key": options["query_key"], "query_key": ",".join(options["query_key"])}
    rule["type"] = CLASSES[stream["type"]](rule)
    return rule


def run(stream: dict[str, Any]) -> dict[str, Any]:
    matches: list[list[Any]] = []
    # A list that is kept between calls; what another stream raised may have left keys in it.
    ruletypes.SpikeMetricAggregationRule.unwrap_term_buckets.__defaults__ = ([],)
    try:
        runner = Runner(stream)
        rule = rule_of(stream, runner)
        for batch in stream["batches"]:
            runner.index.documents += batch["events"]
            runner.told = []
            runner.run_rule(rule, EPOCH + batch["end"] * MICROSECOND)
            matches.append([as_document(one) for one in runner.told])
    except Exception as problem:
        return {"matches": matches, "error": f"{type(problem).__name__}: {problem}"}
    return {"matches": matches, "error": None}


def as_document(match: dict[str, Any]) -> dict[str, Any]:
    spelled = match["@timestamp"]
    return {**match, "@timestamp": micros_of(spelled)}


def main() -> None:
    main_module.ts_now = lambda: datetime(9999, 1, 1, tzinfo=UTC)
    for line in sys.stdin:
        print(json.dumps([run(stream) for stream in json.loads(line)]), flush=True)


if __name__ == "__main__":
    main()
