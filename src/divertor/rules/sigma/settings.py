"""`sigma.yaml`: how the Sigma rules beside it and below are to be read and how they alert.

```yaml
defaults: {alert: [slack], slack_webhook_url: https://hooks.slack.com/services/…, realert: {minutes: 10}}
fields: {CommandLine: process.command_line, User: [user.name, user.id]}
logsources:
- {category: process_creation, product: windows, index: winlogbeat-*, filter: [{term: {event.code: 1}}]}
- {category: webserver, index: [bitsensor, access-*], fields: {cs-uri-query: http.request.query}}
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from divertor.errors import InputError, Position
from divertor.model.documents import Node, parse_documents, to_value
from divertor.model.fields import Fields, entries_of, fail, items_of, text_of
from divertor.rules.sigma.detection import Query

#: What the file may be called.
SETTINGS = ("sigma.yaml", "sigma.yml")

_KEYS = ("category", "product", "service")


@dataclass(frozen=True, slots=True)
class Logsource:
    """Which events a logsource of Sigma stands for: their indices, queries they all pass, and how their
    fields are called. `wanted` is what a rule's logsource has to say to mean this one.
    """

    index: tuple[str, ...] = ("*",)
    wanted: Mapping[str, str] = field(default_factory=dict)
    filter: tuple[Query, ...] = ()
    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def is_default(self) -> bool:
        return not self.wanted and self.index == ("*",)


@dataclass(frozen=True, slots=True)
class SigmaSettings:
    """`defaults` are options for every rule; `fields` the names of event fields by Sigma's."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)
    logsources: tuple[Logsource, ...] = ()

    def name_of(self, name: str) -> str:
        """What a field that events are grouped or counted by is called."""
        return self.fields.get(name, (name,))[0]

    def logsource(self, asked: Any) -> Logsource:
        """The one that fits the rule's logsource in the most keys; all events if none does."""
        said = {name: str(getattr(asked, name) or "").lower() for name in _KEYS}
        fitting = [
            one for one in self.logsources if all(said[name] == value for name, value in one.wanted.items())
        ]
        return max(fitting, key=lambda one: len(one.wanted), default=Logsource())


def read_settings(text: str, source: str) -> SigmaSettings:
    """A settings file.

    :raises InputError: it is not understood.
    """
    documents = parse_documents(text, source)
    if len(documents) != 1:
        raise InputError(f"{len(documents)} documents", Position(source, 1, 1), "one mapping")
    given = Fields(documents[0], "Sigma settings", ("defaults", "fields", "logsources"))
    defaults = given.get("defaults")
    entries_of(defaults, "defaults")
    return SigmaSettings(
        defaults={} if defaults is None else to_value(defaults),
        fields=_names(given.get("fields")),
        logsources=tuple(_logsource(item) for item in items_of(given.get("logsources"))),
    )


def _names(node: Node | None) -> dict[str, Sequence[str]]:
    found: dict[str, Sequence[str]] = {}
    for key, item in entries_of(node, "fields"):
        found[key.text] = tuple(text_of(one, key.text) for one in items_of(item))
        if not found[key.text]:
            fail(item, f"{key.text!r} without a name", "a field of events")
    return found


def _logsource(node: Node) -> Logsource:
    given = Fields(node, "a logsource", (*_KEYS, "index", "filter", "fields"))
    wanted = {name: text_of(item, name).lower() for name in _KEYS if (item := given.get(name)) is not None}
    index = tuple(text_of(item, "index") for item in items_of(given.get("index"))) or ("*",)
    queries = given.get("filter")
    return Logsource(
        index=index,
        wanted=wanted,
        filter=() if queries is None else tuple(to_value(item) for item in items_of(queries)),
        fields=_names(given.get("fields")),
    )
