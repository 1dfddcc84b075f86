"""Rules: ElastAlert rule files over a stream of events.

`load_rule` reads one, `load_rules` a directory; `Engine` runs them; `backtest` runs one over stored events.
What fires is a `Match`; putting it into words and delivering it is `divertor.alerts`.
"""

from __future__ import annotations

from divertor.rules.notification import Notification
from divertor.rules.reading.files import load_rules
from divertor.rules.reading.load import load_rule
from divertor.rules.rule import AlertSpec, IsolateOptions, Match, Rule, Status
from divertor.rules.running.backtest import backtest
from divertor.rules.running.engine import Engine

__all__ = [
    "AlertSpec",
    "Engine",
    "IsolateOptions",
    "Match",
    "Notification",
    "Rule",
    "Status",
    "backtest",
    "load_rule",
    "load_rules",
]
