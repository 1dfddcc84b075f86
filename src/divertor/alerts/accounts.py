"""Account files: a small YAML file with `user` and `password`, or `apikey`, beside the rule that names it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from divertor.alerts.contract import DeliveryError
from divertor.errors import InputError
from divertor.model.documents import MappingNode, parse_documents
from divertor.rules.rule import Rule

_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Account:
    """Who signs in: a user with a password, or whoever has the key."""

    user: str = ""
    password: str = ""
    apikey: str = ""


def read_account(name: str, rule: Rule) -> Account:
    """The account of a file; a relative name is relative to the rule's file.

    :raises DeliveryError: there is none; nothing of the file is in the message.
    """
    path = Path(name) if Path(name).is_absolute() else Path(rule.source).parent / name
    try:
        with path.open("rb") as file:
            written = file.read(_MAX).decode()
        (node,) = parse_documents(written, "account")
    except (OSError, UnicodeDecodeError, ValueError, InputError):
        raise DeliveryError(f"the account file {path.name[:80]!r} cannot be read", again=True) from None
    found = (
        {key.text: getattr(item, "text", "") for key, item in node.entries}
        if isinstance(node, MappingNode)
        else {}
    )
    account = Account(found.get("user", ""), found.get("password", ""), found.get("apikey", ""))
    if not account.apikey and not (account.user and account.password):
        raise DeliveryError(f"the account file {path.name[:80]!r} has no user and password", again=False)
    return account
