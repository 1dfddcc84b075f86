"""The rule types there are. A new one is a file with a `DECLARATION`, and its line here."""

from __future__ import annotations

from typing import Any

from divertor.rules.types import any as any_type
from divertor.rules.types import blacklist, cardinality, change, frequency, new_term, whitelist
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
    frequency.DECLARATION,
    new_term.DECLARATION,
    whitelist.DECLARATION,
)

#: ElastAlert's other types: known by name, refused as not supported yet.
UNSUPPORTED_TYPES = frozenset(
    {
        "spike",
        "flatline",
        "metric_aggregation",
        "spike_aggregation",
        "percentage_match",
    }
)
