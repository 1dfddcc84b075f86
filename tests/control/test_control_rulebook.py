"""Rules that change while they are used: what is understood holds at once, what is not changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.control.test_control_rules import until

from divertor.bus import Bus, State
from divertor.control.rulebook import KIND, Rulebook
from divertor.errors import InputError
from divertor.rules import Rule
from divertor.rules.reading.files import load_stored

pytestmark = pytest.mark.anyio

ANY = "name: every\ntype: any\nindex: logs\nalert: debug\n"


class Shelf:
    """A rulebook, what it told, and how often its rules changed."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.told: list[str] = []
        self.used: list[Mapping[str, Rule]] = []
        self.book = Rulebook(state, self.used.append, self.told.append)


@asynccontextmanager
async def shelf(broker: Any) -> AsyncIterator[Shelf]:
    bus = await Bus.connect(broker.url, broker.password, "test")
    try:
        yield Shelf(State(bus))
    finally:
        await bus.close()


async def test_a_file_that_changes_is_used_as_it_is_then(broker: Any, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(ANY)
    async with shelf(broker) as here:
        await here.book.load(tmp_path)
        assert not here.book.look()
        (tmp_path / "a.yaml").write_text(ANY + "description: other\n")
        (tmp_path / "b.yaml").write_text(ANY.replace("every", "more"))
        assert here.book.look()
        assert sorted(here.used[-1]) == ["every", "more"] and "other" in here.used[-1]["every"].text


async def test_a_file_that_is_gone_takes_its_rule_with_it(broker: Any, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(ANY)
    async with shelf(broker) as here:
        await here.book.load(tmp_path)
        (tmp_path / "a.yaml").unlink()
        assert here.book.look() and not here.used[-1]


async def test_a_bad_file_is_refused_and_told_once_and_the_old_rule_stays(
    broker: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(ANY)
    (tmp_path / "b.yaml").write_text(ANY.replace("every", "more"))
    async with shelf(broker) as here:
        await here.book.load(tmp_path)
        (tmp_path / "a.yaml").write_text("name: every\ntype: nonsense\n")
        (tmp_path / "b.yaml").write_text(ANY.replace("every", "more") + "description: new\n")
        here.book.look()
        here.book.look()
        assert here.used[-1]["every"].text == ANY and "new" in here.used[-1]["more"].text
        assert len(here.told) == 1 and "a.yaml:2:7" in here.told[0]
        assert "nonsense" in here.book.why_refused(here.used[-1]["every"])
        (tmp_path / "a.yaml").write_text(ANY + "description: mended\n")
        here.book.look()
        assert here.book.refused == {} and here.book.why_refused(here.used[-1]["every"]) == ""


async def test_a_second_file_of_one_name_is_refused_while_running(broker: Any, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(ANY)
    async with shelf(broker) as here:
        await here.book.load(tmp_path)
        (tmp_path / "b.yaml").write_text(ANY)
        here.book.look()
        assert here.used[-1]["every"].source.endswith("a.yaml") and "second rule" in here.told[0]


async def test_a_bad_file_at_the_start_is_an_error(broker: Any, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: every\n")
    async with shelf(broker) as here:
        with pytest.raises(InputError):
            await here.book.load(tmp_path)


async def test_what_another_process_stores_and_deletes_is_followed(broker: Any) -> None:
    async with shelf(broker) as here:
        await here.book.load(None)
        watching = asyncio.create_task(here.book.watch())
        await here.state.put(KIND, "every", {"text": ANY})
        await until(lambda: "every" in here.book.rules)
        await here.state.put(KIND, "every", {"text": "nonsense: ["})
        await until(lambda: here.told)
        assert here.book.rules["every"].text == ANY
        await here.state.delete(KIND, "every")
        await until(lambda: not here.book.rules)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_a_stored_rule_that_is_not_understood_any_more_stops_nothing(broker: Any) -> None:
    async with shelf(broker) as here:
        await here.state.put(KIND, "old", {"text": "name: old\ntype: gone\n"})
        await here.state.put(KIND, "every", {"text": ANY})
        await here.book.load(None)
        assert sorted(here.book.rules) == ["every"] and "old" in here.book.refused


async def test_a_stored_rule_sees_no_list_in_a_file(broker: Any, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("secret\n")
    text = f"{ANY.replace('any', 'whitelist')}compare_key: user\nwhitelist: ['!file {tmp_path}/names.txt']\n"
    with pytest.raises(InputError, match="only rule files see"):
        load_stored(text, "every")
    async with shelf(broker) as here:
        await here.state.put(KIND, "every", {"text": text})
        await here.book.load(None)
        assert not here.used[-1] and "every" in here.book.refused


async def test_lists_are_read_again_when_their_file_changes(broker: Any, tmp_path: Path) -> None:
    text = ANY.replace("any", "blacklist") + "compare_key: path\nblacklist: ['!file bad.txt']\n"
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "bad.txt").write_text("/one\n")
    async with shelf(broker) as here:
        await here.book.load(tmp_path)
        behaviour: Any = here.used[-1]["every"].behaviour
        assert behaviour.listed.entries.has("/one") and not behaviour.listed.entries.has("/two")
        (tmp_path / "bad.txt").write_text("/one\n/two\n")
        here.book.look()
        behaviour = here.used[-1]["every"].behaviour
        assert behaviour.listed.entries.has("/two")
