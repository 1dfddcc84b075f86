"""One rule of each type, as both engines take it: 1,000 keys, and few enough matches to be of this world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """`options` as a rule file has them. `theirs`: how many events ElastAlert is given (it is slow, and what
    it does per event does not change); 0: it leaves the counting to Elasticsearch, there is nothing to time.
    """

    type: str
    options: dict[str, Any]
    theirs: int = 40_000


MINUTE = {"minutes": 1}
TEN = {"minutes": 10}

CASES = (
    Case("any", {}),
    Case("frequency", {"num_events": 50, "timeframe": MINUTE}),
    Case("blacklist", {"compare_key": "ip", "blacklist": [f"10.1.{net}.2" for net in range(10)]}),
    Case(
        "whitelist",
        {"compare_key": "user", "ignore_null": True, "whitelist": [f"user{n}" for n in range(990)]},
    ),
    Case("change", {"compare_key": "country", "ignore_null": True}, 8_000),
    Case("new_term", {"fields": ["user"]}),
    Case("cardinality", {"timeframe": TEN, "cardinality_field": "ip", "max_cardinality": 100}),
    Case("spike", {"timeframe": MINUTE, "spike_height": 3, "spike_type": "up", "threshold_cur": 10}),
    Case("flatline", {"threshold": 1, "timeframe": TEN}),
    Case(
        "metric_aggregation",
        {"metric_agg_key": "bytes", "metric_agg_type": "avg", "max_threshold": 19_000, "buffer_time": MINUTE},
        0,
    ),
    Case(
        "spike_aggregation",
        {
            "metric_agg_key": "bytes",
            "metric_agg_type": "avg",
            "spike_height": 3,
            "spike_type": "up",
            "timeframe": MINUTE,
            "buffer_time": MINUTE,
        },
        0,
    ),
    Case(
        "percentage_match",
        {
            "match_bucket_filter": [{"term": {"http.response.status": "500"}}],
            "max_percentage": 90,
            "buffer_time": MINUTE,
        },
        0,
    ),
)

QUERY_KEY = "user"
BY_NAME = {case.type: case for case in CASES}
