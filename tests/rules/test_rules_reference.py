"""The reference page names every option, type and alerter there is."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from divertor.ingest.otlp import decode_logs
from divertor.rules import backtest, load_rule
from divertor.rules.alerters import ACTIONS
from divertor.rules.filters.dsl import QUERIES
from divertor.rules.reading.load import COMMON
from divertor.rules.reading.vocabulary import ALIASES, REFUSED, WITHOUT_EFFECT
from divertor.rules.types import TYPES

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "rules.md"


def test_the_page_names_everything_a_rule_may_say() -> None:
    named = set(re.findall(r"`([\w*]+)[`:]", PAGE.read_text()))
    options = {option.name for declared in (*TYPES.values(),) for option in declared.options}
    kinds = (COMMON, REFUSED, WITHOUT_EFFECT, ALIASES, ACTIONS, TYPES, QUERIES)
    assert options.union(*kinds) - named == set()


def test_the_first_example_alerts_on_what_a_sensor_sends() -> None:
    (example, *_rest) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    sent = {"divertor.detection.type": "sql_injection", "client.address": "192.0.2.1", "url.path": "/login"}
    attributes = [{"key": name, "value": {"stringValue": value}} for name, value in sent.items()]
    record = {"eventName": "divertor.detection", "attributes": attributes}
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    times = [start + timedelta(seconds=number) for number in range(3)]
    events = [event for time in times for event in decode_logs(body, "application/json", time)]
    (match,) = backtest(load_rule(example, "example.yaml"), events)
    assert match.key == "192.0.2.1"
