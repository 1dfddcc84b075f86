"""`debug`: a line in the log."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration

DECLARATION = AlerterDeclaration("debug", (), resolved="a line")
