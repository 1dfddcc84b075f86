"""The demo's state: only what is the demo's own is ever removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from divertor.cli.demo.setting import MARK, fresh_state, shop_directory
from divertor.cli.errors import RefusedError
from divertor.layout import Layout


def test_a_new_demo_starts_fresh(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "demo")
    fresh_state(layout, keep=False)
    (layout.root / "old").touch()
    fresh_state(layout, keep=False)
    assert [path.name for path in layout.root.iterdir()] == [MARK]


def test_the_last_demo_can_be_kept(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "demo")
    fresh_state(layout, keep=False)
    (layout.root / "old").touch()
    fresh_state(layout, keep=True)
    assert (layout.root / "old").exists()


def test_what_is_not_the_demos_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(RefusedError, match="not a state of the demo"):
        fresh_state(Layout(tmp_path), keep=False)
    assert (tmp_path / "precious").exists()


def test_the_shop_is_in_the_checkout() -> None:
    assert (shop_directory() / "blueprint.yaml").is_file()
