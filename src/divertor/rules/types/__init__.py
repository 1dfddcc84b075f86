"""The rule types there are. A new one is a file with a `DECLARATION`, and its line here."""

from __future__ import annotations

from typing import Any

from divertor.rules.types import any as any_type
from divertor.rules.types import (
    blacklist,
    cardinality,
    change,
    correlation,
    flatline,
    frequency,
    metric_aggregation,
    new_term,
    percentage_match,
    spike,
    spike_aggregation,
    whitelist,
)
from divertor.rules.types.contract import TypeDeclaration


def _by_name(*declarations: TypeDeclaration[Any]) -> dict[str, TypeDeclaration[Any]]:
    table = {declaration.name: declaration for declaration in declarations}
    if len(table) != len(declarations):
        raise ValueError("two rule types with one name")
    return table


TYPES = _by_name(
    any_type.DECLARATION,
    blacklist.DECLARATION,
    cardinality.DECLARATION,
    change.DECLARATION,
    correlation.CORRELATION,
    correlation.SEQUENCE,
    flatline.DECLARATION,
    frequency.DECLARATION,
    metric_aggregation.DECLARATION,
    new_term.DECLARATION,
    percentage_match.DECLARATION,
    spike.DECLARATION,
    spike_aggregation.DECLARATION,
    whitelist.DECLARATION,
)
