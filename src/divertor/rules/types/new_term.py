"""`type: new_term`: an event in which a field has a value that was not seen for `terms_window_size`.

`fields` are fields or lists of fields (a composite: its values together), the `query_key` if there are
none; each is looked at by itself, so one event may match several times. The elements of a list are values
by themselves. With `alert_on_missing_field`, an event without a value matches too. The match names the
field in `new_field` or `missing_field`.

What is known comes from the events themselves: after a loss they are read again for as long as
`terms_window_size` (`span`). Where there is no past yet, `learning` says for how long, from the first event
on, everything is taken as known.

In compatible mode no term is ever forgotten, a list is one value, 0 and false count as missing, and a match
also names what an earlier one of the same event named.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Values
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice, product
from typing import Any, TypeAlias

from divertor.model.documents import Node, Sequence
from divertor.model.fields import fail, items_of, text_of
from divertor.rules.document import Document
from divertor.rules.reading.options import Option, boolean, span
from divertor.rules.types.contract import Hit, Observation, Settings, TypeDeclaration
from divertor.rules.types.remembered import MAX_VALUE, compact, idle, longest_idle

#: Terms of one rule that are remembered.
MAX_TERMS = 1_000_000

#: Different terms of one field that one event can bring: lists, and their combinations in composites. An
#: event with more matches.
MAX_TERMS_OF_EVENT = 1000

_MICROSECOND = timedelta(microseconds=1)

#: What is looked at together: one field, or several of a composite.
Fields: TypeAlias = tuple[str, ...]

#: A value, after its field's number where a rule has several; a composite's number and its values.
Term: TypeAlias = str | tuple[int | str, ...]


@dataclass(slots=True)
class Terms:
    """When each term was last seen, the longest unseen first; when learning ends, once something was seen."""

    seen: dict[Term, int] = field(default_factory=dict)
    learning_until: int | None = None
    forgotten: int = 0


@dataclass(frozen=True, slots=True)
class NewTerm:
    """`window` and `learning` in microseconds."""

    fields: tuple[Fields, ...]
    window: int
    learning: int = 0
    alert_on_missing_field: bool = False
    max_terms: int = MAX_TERMS
    compatible: bool = False

    def start(self) -> Terms:
        return Terms()

    def span(self) -> timedelta:
        return timedelta(microseconds=self.window)

    def step(self, state: Terms, seen: Observation, now: int) -> list[Hit]:
        if state.learning_until is None:
            state.learning_until = seen.micros + self.learning
        silent = self.learning > 0 and seen.micros < state.learning_until
        hits: list[Hit] = []
        for number, names in enumerate(self.fields):
            found = self._looked_at(state, seen, number, names)
            if found and not silent:
                hits.append(self._hit(seen, found, names, hits))
        return hits

    def tick(self, state: Terms, now: int) -> list[Hit]:
        if not self.compatible:
            for term in idle(state.seen, lambda micros: now - micros >= self.window):
                del state.seen[term]
        return []

    def summary(self, _document: Mapping[str, Any], _time: datetime) -> str:
        return ""

    def _looked_at(self, state: Terms, seen: Observation, number: int, names: Fields) -> str:
        """Remember the event's terms; what there is to say of them: `new_field`, `missing_field` or
        nothing.
        """
        terms = self._terms(seen.document, number, names)
        if not terms:
            return "missing_field" if self.alert_on_missing_field else ""
        # Whoever fills a list with what is known hides nothing behind it: what is not looked at is new.
        is_new = len(terms) > MAX_TERMS_OF_EVENT
        for term in terms[:MAX_TERMS_OF_EVENT]:
            is_new = self._is_new(state, term, seen.micros) or is_new
        return "new_field" if is_new else ""

    def _terms(self, document: Document, number: int, names: Fields) -> Values[Term]:
        if self.compatible:
            values = [document.get(name) for name in names]
            if not all(values):
                return []
            choices: list[Values[str]] = [[_as_python(value)] for value in values]
        elif len(names) == 1 == len(self.fields):
            # A tuple for each of a million terms would take as much as their times and their places together.
            return _different(document, names[0])
        else:
            choices = [_different(document, name) for name in names]
        if len(choices) > 1:
            return [(number, *values) for values in islice(product(*choices), MAX_TERMS_OF_EVENT + 1)]
        return choices[0] if len(self.fields) == 1 else [f"{number} {value}" for value in choices[0]]

    def _is_new(self, state: Terms, term: Term, micros: int) -> bool:
        # Taken out and put back, so that the dict stays in the order in which terms were seen.
        before = state.seen.pop(term, None)
        state.seen[term] = micros if before is None or before < micros else before
        if before is not None:
            return micros - before >= self.window and not self.compatible
        if len(state.seen) > self.max_terms:
            for oldest in longest_idle(state.seen):
                del state.seen[oldest]
                state.forgotten += 1
        return True

    def _hit(self, seen: Observation, found: str, names: Fields, earlier: list[Hit]) -> Hit:
        name = names[0] if len(names) == 1 else list(names)
        fields = {**(earlier[-1].fields if earlier and self.compatible else {}), found: name}
        cause = f"{seen.event.id} {','.join(names)}" if len(self.fields) > 1 else seen.event.id
        return Hit(seen.key, seen.micros, cause, seen.event, fields)


def _different(document: Document, name: str) -> Values[str]:
    """The values of a field, each once."""
    values = document.values(name)
    if len(values) == 1 and values[0].__class__ is str and 0 < len(values[0]) <= MAX_VALUE:
        return values  # the usual case: nothing to leave out, nothing to spell
    found = [compact(value) for value in values if value != ""]
    return found if len(found) < 2 else list(dict.fromkeys(found))


def _as_python(value: Any) -> str:
    """A value so that two are equal when Python says so: 1, 1.0 and true, but not "1"."""
    if isinstance(value, bool | int) and abs(value) < 2**53:
        value = float(value)
    return f"{type(value).__name__} {compact(value)}"


def fields_of(node: Node, what: str) -> tuple[Fields, ...]:
    """A field, or a list of fields and of lists of them."""
    found = tuple(_names(item, what) for item in items_of(node))
    if not found:
        fail(node, f"{what} is empty", "one field or more")
    return found


def _names(node: Node, what: str) -> Fields:
    names = tuple(text_of(item, what) for item in items_of(node)) if isinstance(node, Sequence) else ()
    if isinstance(node, Sequence) and not names:
        fail(node, f"a composite of {what} is empty", "one field or more")
    return names or (text_of(node, what),)


def make(options: Mapping[str, Any], settings: Settings) -> NewTerm:
    fields = options["fields"] or ((settings.query_key,) if settings.query_key else ())
    if not fields:
        raise ValueError("neither fields nor a query_key, whose new values to tell")
    return NewTerm(
        fields=fields,
        window=options["terms_window_size"] // _MICROSECOND,
        learning=options["learning"] // _MICROSECOND,
        alert_on_missing_field=options["alert_on_missing_field"],
        compatible=settings.compatible,
    )


DECLARATION: TypeDeclaration[Terms] = TypeDeclaration(
    "new_term",
    (
        Option("fields", fields_of, default=()),
        Option("terms_window_size", span(), default=timedelta(days=30)),
        Option("window_step_size", span(), default=timedelta(days=1)),
        Option("alert_on_missing_field", boolean, default=False),
        Option("use_keyword_postfix", boolean, default=True),
        Option("learning", span(zero=True), default=timedelta(0)),
    ),
    make,
)
