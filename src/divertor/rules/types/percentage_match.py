"""`type: percentage_match`: the share of events in a window that pass `match_bucket_filter` is above
`max_percentage` or below `min_percentage`.

How the window moves and when it is judged is `band.py`'s. Nothing is judged with fewer than
`min_denominator` events, or none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from divertor.model.documents import Node
from divertor.rules.document import Document
from divertor.rules.filters.dsl import compile_filter
from divertor.rules.filters.filter import Filter
from divertor.rules.reading.options import Option, integer, number
from divertor.rules.types.aggregates import Aggregate
from divertor.rules.types.band import Bounds, make_band
from divertor.rules.types.contract import RuleType, Settings, TypeDeclaration
from divertor.rules.types.metric_aggregation import WINDOW
from divertor.rules.types.readers import NumberFormat, number_format


@dataclass(slots=True)
class Shares:
    """How many events there were, and how many of them passed."""

    fewest: int
    passed: int = 0
    all: int = 0

    def add(self, value: Any) -> None:
        self.passed += bool(value)
        self.all += 1

    def merge(self, other: Self) -> None:
        self.passed += other.passed
        self.all += other.all

    def value(self) -> float | None:
        if not self.all or self.all < self.fewest:
            return None
        return self.passed / self.all * 100


@dataclass(frozen=True, slots=True)
class Percentage:
    """The filter that tells the events apart."""

    filter: Filter
    bounds: Bounds
    fewest: int = 0
    spelling: NumberFormat | None = None
    pushes_up: bool = False
    pushes_down: bool = False

    def empty(self) -> Aggregate:
        return Shares(self.fewest)

    def sample(self, document: Document) -> tuple[Any, ...]:
        return (self.filter.test(document),)

    def fields(self, aggregate: Aggregate, number: float) -> dict[str, Any]:
        shown: dict[str, Any] = {"percentage": number}
        if isinstance(aggregate, Shares):
            shown["denominator"] = aggregate.all
        if self.spelling is not None:
            shown["percentage_formatted"] = self.spelling.of(number)
        return shown

    def summary(self, document: Mapping[str, Any]) -> str:
        shown = document.get("percentage_formatted", document.get("percentage"))
        return (
            f"Percentage violation, value: {shown} (min: {self.bounds.least} max : {self.bounds.most})"
            f" of {document.get('denominator')} items"
        )


def _filter(node: Node, _what: str) -> Filter:
    return compile_filter(node, [])


def make(options: Mapping[str, Any], settings: Settings) -> RuleType[Any]:
    least, most = options["min_percentage"], options["max_percentage"]
    if least is None and most is None:
        raise ValueError("neither max_percentage nor min_percentage")
    bounds = Bounds(least, most)
    percentage = Percentage(
        options["match_bucket_filter"],
        bounds,
        options["min_denominator"],
        options["percentage_format_string"],
    )
    return make_band(percentage, bounds, options, settings)


DECLARATION: TypeDeclaration[Any] = TypeDeclaration(
    "percentage_match",
    (
        Option("match_bucket_filter", _filter, required=True),
        Option("max_percentage", number(0, 100)),
        Option("min_percentage", number(0, 100)),
        Option("min_denominator", integer(0, 1_000_000_000), default=0),
        Option("min_doc_count", integer(1, 1_000_000_000), default=1),
        Option("terms_size", integer(1, 100_000), default=50),
        *WINDOW,
        Option("percentage_format_string", number_format),
    ),
    make,
)
