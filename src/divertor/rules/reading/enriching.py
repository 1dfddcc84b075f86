"""The options that say what a match gets before it is told: enhancements, counts of its most frequent values,
properties of the rule, and links.

What they do is `enhancements.py`, `counts.py` and `discover.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from divertor.model.documents import MappingNode, Node
from divertor.model.fields import fail, items_of, suggestion, text_of
from divertor.rules.reading.options import (
    Given,
    Option,
    OptionGroup,
    boolean,
    integer,
    span,
    text,
    text_mapping,
    texts,
)
from divertor.rules.rule import DiscoverOptions, EnrichOptions, LinkOptions
from divertor.rules.running.enhancements import BUILT_IN
from divertor.rules.wording.template import Template, parse_link

_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", re.ASCII)


def _enhancements(node: Node, what: str) -> tuple[str, ...]:
    return tuple(_enhancement(item, what) for item in items_of(node))


def _enhancement(node: Node, what: str) -> str:
    name = text_of(node, what)
    if name not in BUILT_IN and not _PATH.fullmatch(name):
        fail(node, f"{name[:80]!r} is no enhancement", f"module.Class, or {suggestion(name, BUILT_IN)}")
    return name


def _read_enrich(_given: Given, values: Mapping[str, Any]) -> EnrichOptions:
    return EnrichOptions(
        enhancements=values["match_enhancements"],
        first=values["run_enhancements_first"],
        counted=values["top_count_keys"],
        top=values["top_count_number"],
        rule_parameters=values["include_rule_params_in_matches"],
    )


GROUP: OptionGroup = OptionGroup(
    "enrich",
    (
        Option("match_enhancements", _enhancements, default=()),
        Option("run_enhancements_first", boolean, default=False),
        Option("top_count_keys", texts, default=()),
        Option("top_count_number", integer(1, 1000), default=5),
        Option("include_rule_params_in_matches", texts, default=()),
        Option("copy_fields", text_mapping, default={}),
        Option("remove_fields", texts, default=()),
    ),
    _read_enrich,
)


def _links(node: Node, what: str) -> tuple[tuple[str, Template], ...]:
    """Titles and addresses; or one address alone."""
    if isinstance(node, MappingNode):
        return tuple((key.text, link(item, what)) for key, item in node.entries)
    return tuple((what, link(item, what)) for item in items_of(node))


def link(node: Node, what: str) -> Template:
    """An address with `{field}` where values go; its beginning is the author's alone."""
    written = text_of(node, what).strip()
    if not re.match(r"https?://[^\s{}/?#]+([/?#]|$)", written) or not written.isprintable() or " " in written:
        fail(node, f"{what} is no web address", "https://host/… with {field} only after the host")
    return parse_link(written)


def _dashboard(node: Node, what: str) -> tuple[tuple[str, Template], ...]:
    return (("Dashboard", link(node, what)),)


def _read_links(given: Given, values: Mapping[str, Any]) -> LinkOptions:
    discover = tuple(
        found
        for product in ("kibana", "opensearch")
        if (found := _discover(given, values, product)) is not None
    )
    return LinkOptions((*values["dashboard_url"], *values["links"]), discover)


def _discover(given: Given, values: Mapping[str, Any], product: str) -> DiscoverOptions | None:
    if not values[f"generate_{product}_discover_url"]:
        return None
    for needed in ("app_url", "index_pattern_id"):
        if values[f"{product}_discover_{needed}"] is None:
            place = given.node(f"generate_{product}_discover_url")
            assert place is not None
            fail(place, f"a link to {product.capitalize()} without {product}_discover_{needed}")
    return DiscoverOptions(
        product=product,
        address=values[f"{product}_discover_app_url"],
        index=values[f"{product}_discover_index_pattern_id"],
        columns=values[f"{product}_discover_columns"],
        before=values[f"{product}_discover_from_timedelta"],
        after=values[f"{product}_discover_to_timedelta"],
    )


def _address(node: Node, what: str) -> str:
    written = text_of(node, what).strip()
    if not re.match(r"https?://[^\s/?#]+", written) or not written.isprintable() or " " in written:
        fail(node, f"{what} is no web address", "https://host/…")
    return written


def _discover_options(product: str) -> tuple[Option, ...]:
    return (
        Option(f"generate_{product}_discover_url", boolean, default=False),
        Option(f"{product}_discover_app_url", _address),
        Option(f"{product}_discover_version", text),
        Option(f"{product}_discover_index_pattern_id", text),
        Option(f"{product}_discover_columns", texts, default=("_source",)),
        Option(f"{product}_discover_from_timedelta", span(zero=True)),
        Option(f"{product}_discover_to_timedelta", span(zero=True)),
    )


LINKS: OptionGroup = OptionGroup(
    "links",
    (
        Option("links", _links, default=()),
        Option("dashboard_url", _dashboard, default=()),
        *_discover_options("kibana"),
        *_discover_options("opensearch"),
    ),
    _read_links,
)

#: Without `timeframe` or an option of its own, a link to Discover shows so much before and after.
AROUND = timedelta(minutes=10)
