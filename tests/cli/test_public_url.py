"""Where people reach the API, for links in alerts."""

from __future__ import annotations

from pathlib import Path

import pytest

from divertor.cli.preparing import Wish, wish
from divertor.errors import InputError
from divertor.layout import Layout, Settings


def asked(tmp_path: Path, url: str) -> Wish:
    blueprint = tmp_path / "b.yaml"
    return wish(
        Layout(tmp_path),
        blueprint,
        None,
        listen="127.0.0.1",
        port_offset=0,
        isolate=True,
        color=False,
        public_url=url,
    )


def test_links_lead_into_the_api(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.write_settings(asked(tmp_path, "https://divertor.example/").settings)
    assert layout.read_settings().links == "https://divertor.example/api/v1"


def test_without_an_address_there_are_no_links() -> None:
    assert Settings().links == ""


@pytest.mark.parametrize("url", ["divertor.example", "javascript:alert(1)", "ftp://divertor.example"])
def test_what_is_no_web_address_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="no web address"):
        asked(tmp_path, url)
