"""A rule whose filter is an EQL sequence: `type: any` over events that belong together.

ElastAlert asks Elasticsearch for whole sequences and takes each as a match; here the rule becomes a
correlation of the sequence's events.
"""

from __future__ import annotations

from datetime import timedelta

from divertor.model.documents import MappingNode, Node, Scalar
from divertor.model.fields import fail, items_of, text_of
from divertor.rules.filters.eql import Sequence, Step, is_sequence, parse_sequence
from divertor.rules.types.correlation import Correlation, Part


def sequence_of(
    filter_: Node | None, kind: Node | None, late: timedelta = timedelta(0)
) -> Correlation | None:
    """The correlation that a rule's `filter` asks for with an EQL sequence; None when it asks for none.

    `late`: how much later than it happened an event may come.

    :raises InputError: the sequence is not alone, the rule has another type than `any`, or it makes no sense.
    """
    items = items_of(filter_)
    node = next((found for item in items if (found := _eql(item)) is not None), None)
    if node is None:
        return None
    if len(items) > 1 or kind is None or text_of(kind, "type") != "any":
        fail(node, "a sequence is the whole filter of a rule of type any", "type: sequence for more")
    sequence = parse_sequence(node.text, node.position)
    if sequence.maxspan is None:
        fail(node, "a sequence without a bound", "with maxspan=5m")
    try:
        return _correlation(sequence, sequence.maxspan, late)
    except ValueError as problem:
        fail(node, f"a sequence: {problem}", "type: frequency for one kind of event")


def _eql(item: Node) -> Scalar | None:
    entries = item.entries if isinstance(item, MappingNode) else ()
    if len(entries) != 1 or entries[0][0].text != "eql":
        return None
    node = entries[0][1]
    return node if isinstance(node, Scalar) and is_sequence(node.text) else None


def _correlation(sequence: Sequence, maxspan: timedelta, late: timedelta) -> Correlation:
    key = sequence.steps[0].by
    parts: list[Part] = []
    for number, step in enumerate(sequence.steps, 1):
        if sequence.until is not None and parts:
            # What ends the wait must not come between two of the events.
            parts.append(_part(f"end {number}", sequence.until, key, without=True))
        parts.append(_part(f"event {number}", step, key))
    return Correlation(tuple(parts), maxspan, ordered=True, query_key=key, late=late)


def _part(name: str, step: Step, key: tuple[str, ...], *, without: bool = False) -> Part:
    return Part(name, step.filter, step.runs, () if step.by == key else step.by, without)
