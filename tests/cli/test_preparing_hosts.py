"""The port of virtual hosts, looked at before a stack starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from divertor.cli.preparing import Checked, Wish, require_ports, wish
from divertor.errors import ConflictError
from divertor.layout import Layout, Settings
from divertor.model.reading import read_blueprint
from divertor.runtime.ports import pick_port

TEXT = """
name: shop
gateways: {9051: {routes: web, %s}}
clusters: {web: {breed: {name: "web:1", deployable: {type: command, definition: run}, ports: {port: 80}}}}
"""


def checked(tmp_path: Path, port: int, own: str = "sticky: none") -> Checked:
    text = TEXT.replace("9051", str(pick_port(low=21000))) % own
    ports = [pick_port(low=low) for low in (22000, 23000)]
    settings = Settings(api_port=ports[0], nats_port=ports[1], virtual_hosts_port=port)
    return Checked(Wish(Layout(tmp_path), settings), read_blueprint(text, "x"))


def test_it_is_a_setting_of_the_installation(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    options = {"listen": "127.0.0.1", "port_offset": 0, "isolate": True, "color": False}
    asked = wish(layout, tmp_path / "b.yaml", None, **options, virtual_hosts_port=8000)  # type: ignore[arg-type]
    layout.write_settings(asked.settings)
    assert layout.read_settings().virtual_hosts_port == 8000


def test_it_may_be_taken_by_no_part_of_the_stack(tmp_path: Path) -> None:
    found = checked(tmp_path, 0)
    settings = found.wish.settings
    taken = replace(settings, virtual_hosts_port=settings.api_port)
    with pytest.raises(ConflictError, match="wanted for virtual hosts and by the API"):
        require_ports(replace(found, wish=replace(found.wish, settings=taken)))


def test_no_gateway_of_the_blueprint_may_want_it(tmp_path: Path) -> None:
    found = checked(tmp_path, 0)
    (gateway,) = found.blueprint.gateways
    settings = replace(found.wish.settings, virtual_hosts_port=gateway.port or 0)
    with pytest.raises(ConflictError, match="wanted by a gateway and by the virtual hosts"):
        require_ports(replace(found, wish=replace(found.wish, settings=settings)))


def test_a_blueprint_with_virtual_hosts_needs_one(tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="--virtual-hosts-port"):
        require_ports(checked(tmp_path, 0, "virtual_hosts: shop.example"))
    require_ports(checked(tmp_path, pick_port(low=24000), "virtual_hosts: shop.example"))
