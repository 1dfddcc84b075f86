"""`divertor status`: what it prints of the API's answer."""

from __future__ import annotations

from divertor.cli.status import _flat


def test_what_is_refused_is_said_once_with_its_place() -> None:
    why = "/etc/divertor/rules/login.yaml:2:7: unknown rule type"
    found = {"rules": {"count": 1, "refused": {"/etc/divertor/rules/login.yaml": why}}}
    assert _flat(found) == [("rules count", "1"), ("rules refused", why)]
