"""ElastAlert 2's side of the benchmark. Runs in an environment of its own: `theirs.py TYPE EVENTS`.

What each event costs there, in CPU seconds: `process_hits` and `remove_duplicate_events`, which every rule
does for every document it gets, and the rule class itself, fed as the main loop feeds it: batches of
`run_every` with a `garbage_collect` after each. Reading Elasticsearch's answer (HTTP, JSON) is left out, and
so is what happens to matches.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

sys.path.insert(0, str(Path(__file__).parents[2]))
warnings.simplefilter("ignore")

from bench.rules.cases import BY_NAME, QUERY_KEY  # noqa: E402
from bench.rules.stream import RATE, hits  # noqa: E402

logging.disable(logging.CRITICAL)
#: Events of ten seconds at a time: what a run_every of ten seconds finds.
BATCH = 10 * RATE
SPANS = ("timeframe", "buffer_time")


def main_module() -> Any:
    """`elastalert.elastalert`, whose packages for scheduling and metrics stand empty where they are missing:
    the two functions need none of them.
    """
    while True:
        try:
            return import_module("elastalert.elastalert")
        except ModuleNotFoundError as problem:
            assert problem.name is not None and not problem.name.startswith("elastalert")
            sys.modules[problem.name] = MagicMock()


def rule_options(kind: str, util: Any) -> dict[str, Any]:
    options: dict[str, Any] = {
        name: timedelta(**value) if name in SPANS else value for name, value in BY_NAME[kind].options.items()
    }
    options |= {
        "name": "r",
        "type": kind,
        "index": "logs",
        "query_key": QUERY_KEY,
        "timestamp_field": "@timestamp",
        "_source_enabled": True,
        "ts_to_dt": util.ts_to_dt,
        "dt_to_ts": util.dt_to_ts,
        "processed_hits": {},
        "alert_on_missing_field": False,
    }
    if "compare_key" in options:
        # The loader makes these of compare_key.
        options["compound_compare_key"] = [options["compare_key"]]
    for name in ("blacklist", "whitelist"):
        if name in options:
            options[name] = set(options[name])
    return options


def rule_of(kind: str, util: Any) -> tuple[Any, dict[str, Any]]:
    ruletypes: Any = import_module("elastalert.ruletypes")
    classes = {
        "any": ruletypes.AnyRule,
        "frequency": ruletypes.FrequencyRule,
        "blacklist": ruletypes.BlacklistRule,
        "whitelist": ruletypes.WhitelistRule,
        "change": ruletypes.ChangeRule,
        "new_term": ruletypes.NewTermsRule,
        "cardinality": ruletypes.CardinalityRule,
        "spike": ruletypes.SpikeRule,
        "flatline": ruletypes.FlatlineRule,
    }
    options = rule_options(kind, util)
    if kind == "new_term":
        classes[kind].get_all_terms = lambda self, args: None
    rule = classes[kind](options, None) if kind == "new_term" else classes[kind](options)
    if kind == "new_term":
        rule.fields = ["user"]
        rule.seen_values = {"user": []}
    return rule, options


def main() -> None:
    kind, count = sys.argv[1], int(sys.argv[2])
    elastalert, util = main_module(), import_module("elastalert.util")
    rule, options = rule_of(kind, util)
    found = hits(count)
    me = SimpleNamespace()
    per_hit = in_class = 0.0
    matches = 0
    for first in range(0, count, BATCH):
        started = time.process_time()
        data = elastalert.ElastAlerter.process_hits(options, found[first : first + BATCH])
        data = elastalert.ElastAlerter.remove_duplicate_events(me, data, options)
        between = time.process_time()
        rule.add_data(data)
        rule.garbage_collect(data[-1]["@timestamp"])
        ended = time.process_time()
        per_hit += between - started
        in_class += ended - between
        matches += len(rule.matches)
        rule.matches[:] = []
    print(json.dumps({"per_hit": per_hit, "in_class": in_class, "events": count, "matches": matches}))


if __name__ == "__main__":
    main()
