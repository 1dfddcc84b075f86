"""What the types over windows remember goes into a checkpoint and comes back the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from divertor.model.events import Event
from divertor.rules import Engine, Rule
from divertor.rules.running import checkpoint
from divertor.rules.running.checkpoint import DamagedError, Mark, packed, parts_of, unpacked

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = {"minutes": 1}
METRIC: dict[str, Any] = {"metric_agg_key": "size", "buffer_time": MINUTE}
SPIKE: dict[str, Any] = {"spike_height": 3, "spike_type": "both", "timeframe": MINUTE}
TYPES: list[dict[str, Any]] = [
    {"type": "flatline", "threshold": 2, "timeframe": MINUTE},
    {"type": "spike", **SPIKE},
    {"type": "spike", "field_value": "size", **SPIKE},
    *(
        {"type": "metric_aggregation", "metric_agg_type": kind, "percentile_range": 50, "max_threshold": 1e9}
        | METRIC
        for kind in ("max", "min", "avg", "sum", "cardinality", "value_count", "percentiles")
    ),
    {"type": "spike_aggregation", "metric_agg_type": "avg", **SPIKE, **METRIC},
    {"type": "percentage_match", "match_bucket_filter": [{"term": {"size": 3}}], "max_percentage": 99}
    | {"buffer_time": MINUTE},
]


@pytest.mark.parametrize("compatible", [False, True], ids=["default", "compatible"])
@pytest.mark.parametrize("number", range(len(TYPES)))
def test_a_state_comes_back_as_it_was(
    rule: Callable[..., Rule], event: Callable[..., Event], number: int, compatible: bool
) -> None:
    engine = Engine([rule(**TYPES[number], query_key="user", compatible=compatible)])
    for second in range(0, 150, 3):
        one = event(second, user=f"u{second % 4}", size=second % 7)
        engine.push(one, one.received)
        engine.advance(START + timedelta(seconds=second))
    snapshot = engine.snapshot()
    back = unpacked(b"".join(packed(Mark("e", 1), parts_of(snapshot))))
    assert back.snapshot.rules["r"].state == snapshot.rules["r"].state


def test_a_checkpoint_of_an_earlier_form_is_refused_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(checkpoint, "FORMAT", 2)
        content = b"".join(packed(Mark("e", 1), parts_of(Engine().snapshot())))
    with pytest.raises(DamagedError, match="of another version"):
        unpacked(content)


def test_all_types_over_windows_are_here() -> None:
    assert len(TYPES) == 12
