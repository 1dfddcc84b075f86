"""Where a delivery goes, in words that may be shown: hosts, channels, recipients, programs.

An address of a webhook is a secret from its path on, and so are a command's arguments. What is shown is taken
from what an alerter declares (its web addresses, its hosts), so that a new alerter is shown without a line
here. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from divertor.alerts.contract import redacted
from divertor.rules.alerters import ALERTERS
from divertor.rules.alerters.declaration import host
from divertor.rules.reading.actions import WebhookOptions
from divertor.rules.reading.options import Option, urls

#: Options that say who or which room is told, and are no secret.
_NAMES = frozenset(
    """email ses_email slack_channel_override mattermost_channel_override rocket_chat_channel_override
    telegram_room_id chatwork_room_id""".split()
)
#: Addresses that are texts.
_ADDRESSES = frozenset({"opsgenie_addr", "telegram_api_url"})
#: Characters of what is shown, and names of several.
_LONGEST, _MANY = 120, 3


def shown(alerter: str, options: Mapping[str, Any]) -> str:
    """Where one target of an alerter is, such as `https://hooks.slack.com/… #ops`; "" when nothing says."""
    declaration = ALERTERS.get(alerter)
    if declaration is None:
        return ""
    found = [text for option in declaration.options for text in _told(option, options.get(option.name))]
    place = next((text for is_name, text in found if not is_name), "")
    names = [text for is_name, text in found if is_name]
    text = " ".join([*([place] if place else []), *names])
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _told(option: Option, value: Any) -> Iterator[tuple[bool, str]]:
    """What an option says of the place (False) or of whom (True)."""
    if not value:
        return
    if isinstance(value, WebhookOptions):
        yield False, redacted(value.url)
    elif option.read is urls or option.name in _ADDRESSES:
        yield False, redacted(value if isinstance(value, str) else value[0])
    elif option.read is host:
        yield False, str(value)
    elif option.name == "command":
        yield False, _program(value)
    elif option.name in _NAMES:
        if text := _few(value):
            yield True, text


def _program(command: str | Sequence[str]) -> str:
    """What runs, without its arguments."""
    words = command.split(maxsplit=1) if isinstance(command, str) else command
    return words[0] if words else ""


def _few(value: str | Sequence[str]) -> str:
    if isinstance(value, str):
        return value
    named = [one for one in value if one]
    rest = len(named) - _MANY
    return ", ".join(named[:_MANY]) + (f" and {rest} more" if rest > 0 else "")
