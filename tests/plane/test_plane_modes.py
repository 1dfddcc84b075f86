"""The mode of a policy reaches its sensors by a file, not by their environment: that would restart them."""

from __future__ import annotations

from pathlib import Path

import pytest

from divertor.model.artifacts import IsolationPolicy, Mode
from divertor.plane.environment import Modes

SCOPE = "shop/web"


def policies(mode: Mode) -> dict[str, IsolationPolicy]:
    return {SCOPE: IsolationPolicy("web", "web:1", (), mode=mode)}


def test_watching_begins_before_the_gateway_changes_and_diverting_after(tmp_path: Path) -> None:
    modes = Modes(tmp_path / "modes")
    modes.restrain(policies(Mode.DIVERT))
    assert not modes.path(SCOPE).exists()
    modes.release(policies(Mode.DIVERT))
    assert modes.path(SCOPE).read_text() == "divert"
    modes.restrain(policies(Mode.SIMULATE))
    modes.release(policies(Mode.SIMULATE))
    assert modes.path(SCOPE).read_text() == "report"


def test_the_files_are_private_and_one_for_each_scope(tmp_path: Path) -> None:
    modes = Modes(tmp_path / "modes")
    modes.restrain(
        {**policies(Mode.SIMULATE), "../../x": IsolationPolicy("x", "x:1", (), mode=Mode.SIMULATE)}
    )
    found = list((tmp_path / "modes").iterdir())
    assert len(found) == 2 and {path.stat().st_mode & 0o777 for path in found} == {0o600}


def test_a_mode_that_cannot_be_written_is_told_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "modes").write_text("in the way")
    modes = Modes(tmp_path / "modes")
    modes.restrain(policies(Mode.SIMULATE))
    assert "not told to report" in caplog.text
    (tmp_path / "modes").unlink()
    modes.restrain(policies(Mode.SIMULATE))
    assert modes.path(SCOPE).read_text() == "report"
