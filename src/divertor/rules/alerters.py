"""Which alerters a rule may name and what options they take. Delivering is `divertor.alerts`.

One declaration per alerter; the loader, the hints and the reference page's test derive from this table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from divertor.model.documents import MappingNode, Node, Scalar
from divertor.model.fields import fail, is_null, items_of, suggestion, text_of
from divertor.rules.actions import (
    ReleaseOptions,
    read_event,
    read_isolate,
    read_release,
    read_webhook,
)
from divertor.rules.options import (
    Given,
    Option,
    boolean,
    command,
    mapping,
    number,
    text,
    text_mapping,
    texts,
    urls,
)
from divertor.rules.rule import AlertSpec, IsolateOptions

_OLD_PLACEHOLDER = re.compile(r"%\([^()]*\)")
_NEW_PLACEHOLDER = re.compile(r"(?<!\$)\{[A-Za-z_@][\w.@\-\[\]]*\}")


def _nothing(_options: Mapping[str, Any]) -> list[str]:
    return []


@dataclass(frozen=True, slots=True)
class AlerterDeclaration:
    """An alerter as the loader knows it; `refused` are options of ElastAlert's that are not supported yet."""

    name: str
    options: tuple[Option, ...]
    refused: tuple[str, ...] = ()
    warnings: Callable[[Mapping[str, Any]], list[str]] = _nothing


def _slack_fields(node: Node, what: str) -> tuple[dict[str, Any], ...]:
    return tuple(_slack_field(item, what) for item in items_of(node))


def _slack_field(node: Node, what: str) -> dict[str, Any]:
    options = (
        Option("title", text, required=True),
        Option("value", text, required=True),
        Option("short", boolean, default=False),
    )
    given = Given.of(node, what)
    for name, (key, _item) in given.entries.items():
        if name not in {option.name for option in options}:
            fail(key, f"unknown key {name[:80]!r} in {what}", "title, value, short")
    return given.read_all(options, f"a field of {what}")


def _colour(node: Node, what: str) -> str:
    colour = text_of(node, what)
    if colour not in ("good", "warning", "danger") and not re.fullmatch(r"#[0-9A-Fa-f]{6}", colour):
        fail(node, f"{what} is {colour[:40]!r}", "good, warning, danger or #rrggbb")
    return colour


def _safe_command(node: Node, what: str) -> str | list[str]:
    """A command into which no value of a match can bring code or choose the program."""
    given = command(node, what)
    if isinstance(given, str):
        if not given.strip():
            fail(node, f"{what} is empty", "a shell script, or a list of a program and its arguments")
        if _OLD_PLACEHOLDER.search(given):
            fail(
                node,
                "values of a match are never put into a shell script: whoever attacks chooses them",
                "a list (command: [program, '%(field)s']), or pipe_match_json: true",
            )
        return given
    if not given[0] or _OLD_PLACEHOLDER.search(given[0]) or _NEW_PLACEHOLDER.search(given[0]):
        fail(node, "the program to run is empty or chosen by the match", "a fixed program as first element")
    return given


def _command_warnings(options: Mapping[str, Any]) -> list[str]:
    given = options["command"]
    found = _NEW_PLACEHOLDER.search(given) if isinstance(given, str) else None
    if found is None:
        return []
    return [f"{found[0]} in a command that is one text is given to the shell as it is, not replaced"]


def _by_name(*declarations: AlerterDeclaration) -> dict[str, AlerterDeclaration]:
    table = {declaration.name: declaration for declaration in declarations}
    if len(table) != len(declarations):
        raise ValueError("two alerters with one name")
    return table


def _texts_of_slack(*names: str) -> tuple[Option, ...]:
    return tuple(Option(name, text, default="") for name in names)


ALERTERS = _by_name(
    AlerterDeclaration(
        "slack",
        (
            Option("slack_webhook_url", urls, required=True),
            Option("slack_channel_override", texts, default=("",)),
            Option("slack_username_override", text, default="elastalert"),
            Option("slack_parse_override", text, default="none"),
            Option("slack_emoji_override", text, default=":ghost:"),
            Option("slack_msg_color", _colour, default="danger"),
            Option("slack_alert_fields", _slack_fields, default=()),
            Option("slack_timeout", number(0.1, 120), default=10.0),
            *_texts_of_slack(
                "slack_text_string",
                "slack_icon_url_override",
                "slack_title",
                "slack_title_link",
                "slack_footer",
                "slack_footer_icon",
                "slack_image_url",
                "slack_thumb_url",
                "slack_author_name",
                "slack_author_link",
                "slack_author_icon",
                "slack_msg_pretext",
            ),
        ),
        refused=(
            "slack_proxy",
            "slack_ignore_ssl_errors",
            "slack_ca_certs",
            "slack_attach_kibana_discover_url",
            "slack_attach_opensearch_discover_url",
            "slack_attach_jira_ticket_url",
        ),
    ),
    AlerterDeclaration(
        "command",
        (
            Option("command", _safe_command, required=True),
            Option("pipe_match_json", boolean, default=False),
            Option("pipe_alert_text", boolean, default=False),
            Option("fail_on_non_zero_exit", boolean, default=False),
            Option("command_timeout", number(0.1, 3600), default=60.0),
        ),
        warnings=_command_warnings,
    ),
    AlerterDeclaration(
        "post",
        (
            Option("http_post_url", urls, required=True),
            Option("http_post_payload", text_mapping, default={}),
            Option("http_post_static_payload", mapping, default={}),
            Option("http_post_headers", text_mapping, default={}),
            Option("http_post_all_values", boolean),
            Option("http_post_timeout", number(0.1, 120), default=10.0),
        ),
        refused=("http_post_proxy", "http_post_ca_certs", "http_post_ignore_ssl_errors"),
    ),
    AlerterDeclaration("debug", ()),
    AlerterDeclaration("isolate", (Option("isolate", read_isolate, default=IsolateOptions()),)),
    AlerterDeclaration("release", (Option("release", read_release, default=ReleaseOptions()),)),
    AlerterDeclaration("webhook", (Option("webhook", read_webhook, required=True),)),
    AlerterDeclaration("event", (Option("event", read_event, required=True),)),
)

#: Alerters with one option that is called as they are.
ACTIONS = frozenset({"isolate", "release", "webhook", "event"})

#: ElastAlert's other alerters: known by name, refused as not supported yet.
UNSUPPORTED_ALERTERS = frozenset(
    """alerta alertmanager chatwork datadog dingtalk discord email exotel flashduty gelf gitter googlechat
    hivealerter indexer iris jira lark line matrixhookshot mattermost ms_power_automate opsgenie pagerduty
    pagertree post2 rocketchat servicenow ses smseagle sns sqs stomp telegram tencent_sms twilio victorops
    webex_webhook workwechat yzj zabbix""".split()
)


def read_alerts(node: Node, rule: Given) -> tuple[AlertSpec, ...]:
    """The entries of `alert`: names, or one-key mappings of a name to options that override the rule's.

    :raises InputError: an unknown alerter, a missing or unknown option.
    """
    alerts = tuple(spec for item in items_of(node) for spec in _entry(item, rule))
    if not alerts:
        fail(node, "no alert", f"one of {', '.join(sorted(ALERTERS))}")
    return alerts


def _entry(node: Node, rule: Given) -> list[AlertSpec]:
    if not isinstance(node, MappingNode):
        name = text_of(node, "alert")
        return [_spec(name, node, rule)]
    return [_spec(key.text, key, _nested(key, item, rule)) for key, item in node.entries]


def _nested(key: Scalar, node: Node, rule: Given) -> Given:
    """A nested entry's options over the rule's; what an action holds is the value of its one option."""
    if is_null(node):
        return rule
    if key.text in ACTIONS:
        return Given({**rule.entries, key.text: (key, node)}, node.position)
    given = Given.of(node, f"the options of {key.text}")
    declaration = ALERTERS.get(key.text)
    if declaration is not None:
        _check_names(given, declaration)
    return given.over(rule)


def _check_names(given: Given, declaration: AlerterDeclaration) -> None:
    known = {option.name for option in declaration.options}
    for name, (key, _item) in given.entries.items():
        if name in declaration.refused:
            fail(key, f"{name!r} is not supported yet")
        if name not in known:
            fail(key, f"unknown option {name[:80]!r} of {declaration.name}", suggestion(name, known))


def alerter_names(node: Node | None) -> Iterator[tuple[str, Node]]:
    """The names in `alert`, each with its place."""
    for item in items_of(node):
        if isinstance(item, MappingNode):
            yield from ((key.text, key) for key, _options in item.entries)
        else:
            yield text_of(item, "alert"), item


def find_alerter(name: str, node: Node) -> AlerterDeclaration:
    """:raises InputError: there is none of this name."""
    if name in UNSUPPORTED_ALERTERS or "." in name:
        fail(node, f"the alerter {name[:80]!r} is not supported yet", ", ".join(sorted(ALERTERS)))
    declaration = ALERTERS.get(name)
    if declaration is None:
        fail(node, f"unknown alerter {name[:80]!r}", suggestion(name, ALERTERS))
    return declaration


def _spec(name: str, node: Node, given: Given) -> AlertSpec:
    declaration = find_alerter(name, node)
    _refuse_references(given, declaration)
    options = given.read_all(declaration.options, f"alert {name}")
    return AlertSpec(name, _completed(options))


def _refuse_references(given: Given, declaration: AlerterDeclaration) -> None:
    """`$name$` would be another property's value in ElastAlert; taken literally it would be sent as it is."""
    for option in declaration.options:
        node = given.node(option.name)
        if isinstance(node, Scalar) and re.fullmatch(r"\$[^$\s]+\$", node.text):
            fail(
                node,
                f"a reference to another option ({option.name}) is not supported yet",
                "the value itself",
            )


def _completed(options: dict[str, Any]) -> dict[str, Any]:
    """Without a payload of its own, `post` sends the whole match."""
    if "http_post_all_values" in options and options["http_post_all_values"] is None:
        options["http_post_all_values"] = not options["http_post_payload"]
    return options
