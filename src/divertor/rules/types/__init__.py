"""The rule types there are. A new one is a file with a `DECLARATION`, and its line here."""

from __future__ import annotations

from typing import Any

from divertor.rules.types import any as any_type
from divertor.rules.types import frequency
from divertor.rules.types.contract import TypeDeclaration


def _by_name(*declarations: TypeDeclaration[Any]) -> dict[str, TypeDeclaration[Any]]:
    table = {declaration.name: declaration for declaration in declarations}
    if len(table) != len(declarations):
        raise ValueError("two rule types with one name")
    return table


TYPES = _by_name(any_type.DECLARATION, frequency.DECLARATION)

#: ElastAlert's other types: known by name, refused as not supported yet.
UNSUPPORTED_TYPES = frozenset(
    {
        "blacklist",
        "whitelist",
        "change",
        "spike",
        "flatline",
        "new_term",
        "cardinality",
        "metric_aggregation",
        "spike_aggregation",
        "percentage_match",
    }
)
