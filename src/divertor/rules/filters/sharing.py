"""Filters that say the same are known by it, so that an event is tested once for all rules that share one."""

from __future__ import annotations

from dataclasses import replace

from divertor.model.documents import Node, Scalar, Sequence
from divertor.rules.filters.filter import Filter


def known_by(node: Node, compiled: Filter) -> Filter:
    """The filter with what its author wrote as its `source`, wherever that stands in the file."""
    return replace(compiled, source=repr(_spelling(node)))


def _spelling(node: Node) -> object:
    if isinstance(node, Scalar):
        return node.text, node.value
    if isinstance(node, Sequence):
        return [_spelling(item) for item in node.items]
    return {key.text: _spelling(item) for key, item in node.entries}
