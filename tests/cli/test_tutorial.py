"""The manuals that lead a newcomer: what they tell one to write can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from divertor.model.deploying import deploy
from divertor.model.reading import read_blueprint
from divertor.model.resolving import resolve

ROOT = Path(__file__).parents[2]
BLUEPRINTS = [
    (name, text)
    for name in ("README.md", "docs/tutorial.md")
    for text in re.findall(r"^```yaml\n(.*?)^```", (ROOT / name).read_text(encoding="utf-8"), re.M | re.S)
    if "clusters:" in text
]


@pytest.mark.parametrize(("name", "text"), BLUEPRINTS)
def test_a_blueprint_of_a_manual_can_be_deployed(name: str, text: str) -> None:
    deployment = deploy(resolve(read_blueprint(text, name), {}), "shop")
    assert deployment.gateways and deployment.isolation


def test_there_are_such_blueprints() -> None:
    assert [name for name, _ in BLUEPRINTS] == ["README.md", "docs/tutorial.md"]
