"""Rule workers as processes of their own: killed under load, and two at once. The long run is in `bench`."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.rules_kill import campaign
from tests.conftest import missing_server

from divertor.bus import server_binary
from divertor.errors import ConflictError, InputError, UnavailableError
from divertor.plane.rules import named

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _needs_a_broker() -> None:
    try:
        server_binary()
    except UnavailableError as problem:
        missing_server(str(problem))


async def test_every_match_is_alerted_once_however_often_the_worker_is_killed(tmp_path: Path) -> None:
    outcome = await campaign(tmp_path, kills=10, rate=150, pause=(0.02, 0.4))
    assert outcome.is_exact and outcome.expected > 100 and outcome.kills == 10


async def test_of_two_workers_one_tells_and_the_other_takes_over_when_it_is_killed(tmp_path: Path) -> None:
    outcome = await campaign(tmp_path, kills=4, rate=100, pause=(0.1, 0.5), workers=2)
    assert outcome.is_exact and outcome.expected > 50


async def test_a_worker_has_its_name_for_itself(tmp_path: Path) -> None:
    with named(tmp_path, "") as first, named(tmp_path, "") as second:
        assert (first, second) == ("worker-1", "worker-2")
        with pytest.raises(ConflictError), named(tmp_path, "worker-1"):
            pass
    with named(tmp_path, "worker-1") as again:
        assert again == "worker-1"


@pytest.mark.parametrize("name", ["../x", "plane", "a b", "x" * 61, "é"])
async def test_a_workers_name_is_a_plain_word(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError), named(tmp_path, name):
        pass
