"""Every alerter there is, by name: the declarations of the modules beside this one, and the actions.

To add an alerter, add its declaration here as a module of its name, and its delivery as the module of the
same name in `divertor.alerts`; nothing else lists alerters.
"""

from __future__ import annotations

import importlib
import pkgutil

from divertor.rules.alerters.declaration import AlerterDeclaration
from divertor.rules.reading.actions import (
    ReleaseOptions,
    read_event,
    read_isolate,
    read_release,
    read_webhook,
)
from divertor.rules.reading.options import Option
from divertor.rules.rule import IsolateOptions

#: Not alerters, but what alerters are declared with.
_SUPPORT = frozenset({"declaration", "reading", "shell", "table"})

#: Alerters with one option that is called as they are.
ACTIONS = {
    "isolate": AlerterDeclaration(
        "isolate", (Option("isolate", read_isolate, default=IsolateOptions()),), resolved="nothing"
    ),
    "release": AlerterDeclaration(
        "release", (Option("release", read_release, default=ReleaseOptions()),), resolved="nothing"
    ),
    "webhook": AlerterDeclaration("webhook", (Option("webhook", read_webhook, required=True),)),
    "event": AlerterDeclaration("event", (Option("event", read_event, required=True),)),
}


def _found() -> dict[str, AlerterDeclaration]:
    package = __name__.rpartition(".")[0]
    path = importlib.import_module(package).__path__
    names = sorted(found.name for found in pkgutil.iter_modules(path) if found.name not in _SUPPORT)
    return {name: _declared(package, name) for name in names}


def _declared(package: str, name: str) -> AlerterDeclaration:
    declaration = importlib.import_module(f"{package}.{name}").DECLARATION
    if not isinstance(declaration, AlerterDeclaration) or declaration.name != name:
        raise TypeError(f"{package}.{name} declares no alerter of its name")
    return declaration


#: Alerters that deliver messages.
MESSENGERS = _found()

ALERTERS = {**MESSENGERS, **ACTIONS}
