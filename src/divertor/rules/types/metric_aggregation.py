"""`type: metric_aggregation`: min, max, avg, sum, cardinality, value_count or a percentile of a field over a
window is above `max_threshold` or below `min_threshold`.

How the window moves and when it is judged is `band.py`'s; what the kinds are and how exact,
`aggregates.py`'s. More events can only raise a max, a sum, a cardinality and a value_count, and only lower a
min, so an upper bound of the former and a lower bound of the latter are judged with each event. (Negative
numbers can lower a sum again; it was above when it was told.) A percentile lies between the two values beside
its rank. A list is as many values; a text that is a number counts as one; other values are passed over,
except that value_count and cardinality take any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from divertor.model.documents import Node
from divertor.model.fields import fail
from divertor.rules.document import Document
from divertor.rules.reading.options import Option, boolean, integer, number, span, text
from divertor.rules.types.aggregates import KINDS, OF_ANYTHING, Aggregate, number_of
from divertor.rules.types.band import Bounds, make_band
from divertor.rules.types.contract import RuleType, Settings, TypeDeclaration
from divertor.rules.types.readers import NumberFormat, choice, number_format

_LARGEST = 1e30

#: Kinds that more events can only raise.
_RISING = frozenset({"max", "sum", "cardinality", "value_count"})


@dataclass(frozen=True, slots=True)
class Metric:
    """A field and what its values add up to."""

    key: str
    kind: str
    rank: float = 0
    bounds: Bounds | None = None
    spelling: NumberFormat | None = None
    pushes_up: bool = False
    pushes_down: bool = False

    @property
    def name(self) -> str:
        """The match's field."""
        return f"metric_{self.key}_{self.kind}"

    def empty(self) -> Aggregate:
        return KINDS[self.kind](self.rank)

    def sample(self, document: Document) -> tuple[Any, ...]:
        values = document.values(self.key)
        if self.kind in OF_ANYTHING:
            return values
        return tuple(value for one in values if (value := number_of(one)) is not None)

    def fields(self, _aggregate: Aggregate, number: float) -> dict[str, Any]:
        shown: dict[str, Any] = {self.name: number, "metric_agg_value": number}
        if self.spelling is not None:
            shown[f"{self.name}_formatted"] = shown["metric_agg_value_formatted"] = self.spelling.of(number)
        return shown

    def summary(self, document: Mapping[str, Any]) -> str:
        found = document.get(self.name)
        spelled = document.get(f"{self.name}_formatted", found)
        least = None if self.bounds is None else self.bounds.least
        most = None if self.bounds is None else self.bounds.most
        return f"Threshold violation, {self.kind}:{self.key} {spelled} (min: {least} max : {most})"


def no_script(node: Node, what: str) -> Any:
    """Painless runs in Elasticsearch only.

    :raises InputError: always.
    """
    fail(node, f"{what} is a script for Elasticsearch, which does not run here", "metric_agg_key alone")


def percentile_rank(options: Mapping[str, Any]) -> float:
    """The rank of a percentile, 0 for other kinds.

    :raises ValueError: a percentile without one.
    """
    rank: float | None = options["percentile_range"]
    if options["metric_agg_type"] == "percentiles" and rank is None:
        raise ValueError("percentiles without percentile_range")
    return rank or 0.0


def make(options: Mapping[str, Any], settings: Settings) -> RuleType[Any]:
    least, most = options["min_threshold"], options["max_threshold"]
    if least is None and most is None:
        raise ValueError("neither max_threshold nor min_threshold")
    bounds = Bounds(least, most)
    metric = Metric(
        options["metric_agg_key"],
        options["metric_agg_type"],
        percentile_rank(options),
        bounds,
        options["metric_format_string"],
        pushes_up=most is not None and options["metric_agg_type"] in _RISING,
        pushes_down=least is not None and options["metric_agg_type"] == "min",
    )
    return make_band(metric, bounds, options, settings)


#: What is aggregated.
METRIC = (
    Option("metric_agg_key", text, required=True),
    Option("metric_agg_type", choice(*KINDS), required=True),
    Option("percentile_range", number(0, 100)),
    Option("metric_agg_script", no_script),
    Option("min_doc_count", integer(1, 1_000_000_000), default=1),
    Option("terms_size", integer(1, 100_000), default=50),
)

#: Over which windows.
WINDOW = (
    Option("bucket_interval", span()),
    Option("sync_bucket_interval", boolean, default=False),
    Option("use_run_every_query_size", boolean, default=False),
    Option("allow_buffer_time_overlap", boolean, default=False),
)

DECLARATION: TypeDeclaration[Any] = TypeDeclaration(
    "metric_aggregation",
    (
        *METRIC,
        *WINDOW,
        Option("max_threshold", number(-_LARGEST, _LARGEST)),
        Option("min_threshold", number(-_LARGEST, _LARGEST)),
        Option("metric_format_string", number_format),
    ),
    make,
)
