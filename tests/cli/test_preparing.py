"""Before a stack starts: what would fail is told, and nothing is half done."""

from __future__ import annotations

import shutil
import socket
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from divertor.cli.errors import RefusedError
from divertor.cli.preparing import Wish, check, create_tokens, wish, write
from divertor.errors import ConflictError, InputError, UnavailableError
from divertor.layout import Layout, Settings
from divertor.runtime.ports import pick_port

BLUEPRINT = """\
name: shop
gateways:
  {port}: web/port
clusters:
  web:
    services:
      - breed:
          name: web:1
          deployable: {{type: {type}, definition: {definition}}}
          ports: {{port: 8080/http}}
"""


class Case(NamedTuple):
    """A wish that can be granted, until a test spoils it."""

    layout: Layout
    blueprint: Path
    port: int
    settings: Settings

    def check(self, settings: Settings | None = None) -> None:
        check(Wish(self.layout, settings or self.settings))

    def rewrite(self, type: str = "command", definition: str = "true") -> None:
        text = BLUEPRINT.format(port=self.port, type=type, definition=definition)
        self.blueprint.write_text(text)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    ports = [pick_port(low=low) for low in (21000, 22000, 23000)]
    blueprint = tmp_path / "blueprint.yaml"
    settings = Settings(api_port=ports[1], nats_port=ports[2], blueprint=str(blueprint))
    made = Case(Layout(tmp_path / "state"), blueprint, ports[0], settings)
    made.rewrite()
    return made


@pytest.fixture
def taken(case: Case) -> Iterator[None]:
    """The gateway's port, in use."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", case.port))
        holder.listen()
        yield


def test_what_can_be_granted_passes(case: Case) -> None:
    case.check()


def test_a_taken_port_is_told_with_its_holder(case: Case, taken: None) -> None:
    with pytest.raises(ConflictError, match=rf"port {case.port} on 127.0.0.1 is in use by .*\(pid \d+\)"):
        case.check()


def test_a_blueprint_is_refused_at_its_place(case: Case) -> None:
    case.blueprint.write_text("name: shop\nclusters:\n  web:\n    servces: []\n")
    with pytest.raises(InputError, match=r"blueprint.yaml:4:5: .*servces"):
        case.check()


def test_a_program_that_is_not_there_is_refused_at_its_place(case: Case) -> None:
    case.rewrite(definition="no-such-program --port $PORT")
    with pytest.raises(
        InputError, match=r"blueprint.yaml:\d+:\d+: web:1: there is no program 'no-such-program'"
    ):
        case.check()


def test_a_deployable_nobody_can_run_is_refused(case: Case) -> None:
    case.rewrite(type="container/docker", definition="shop:latest")
    with pytest.raises(InputError, match="not supported yet"):
        case.check()


def test_a_command_that_cannot_be_split_is_refused(case: Case) -> None:
    case.rewrite(definition="""'true "unbalanced'""")
    with pytest.raises(InputError, match="cannot be split"):
        case.check()


def test_a_command_may_name_what_only_the_running_stack_knows(case: Case) -> None:
    case.rewrite(definition="true $PORT $DIVERTOR_DATA")
    case.check()


def test_a_blueprint_that_is_not_there_is_told(case: Case) -> None:
    case.blueprint.unlink()
    with pytest.raises(UnavailableError, match=r"blueprint.yaml: No such file"):
        case.check()


def test_a_rule_is_refused_at_its_place(case: Case, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "bad.yaml").write_text("name: x\ntype: anny\nalert: debug\n")
    settings = replace(case.settings, rules=str(rules))
    with pytest.raises(InputError, match=r"bad.yaml:2:7: .*anny"):
        case.check(settings)


def test_a_gateway_may_not_want_the_apis_port(case: Case) -> None:
    settings = replace(case.settings, api_port=case.port)
    with pytest.raises(ConflictError, match="wanted by a gateway and by the API"):
        case.check(settings)


def test_a_corrupt_state_directory_is_told(case: Case) -> None:
    case.layout.create()
    case.layout.secrets.write_text("{]")
    with pytest.raises(UnavailableError, match=r"secrets.json: cannot be read"):
        case.check()


def test_a_state_directory_that_is_a_file_is_told(case: Case) -> None:
    case.layout.root.write_text("")
    with pytest.raises(UnavailableError, match="state"):
        case.check()


def test_a_path_too_long_for_a_socket_is_told(case: Case) -> None:
    deep = Case(Layout(case.layout.root / ("x" * 100)), *case[1:])
    with pytest.raises(UnavailableError, match="too long for a socket"):
        deep.check()


def test_a_full_disk_is_told(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage("/")._replace(free=1024)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(UnavailableError, match="the disk is full: 0 MB free"):
        case.check()


def test_settings_that_are_junk_are_told(case: Case) -> None:
    case.layout.create()
    for junk in (b"[]", b"\xff\xfe", b"[" * 100_000, b'{"api_port": "x"}'):
        case.layout.settings.write_bytes(junk)
        with pytest.raises(UnavailableError, match=r"settings.json: "):
            case.check()


def test_what_the_broker_may_store_is_written_down_and_kept_when_the_disk_is_smaller(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = check(Wish(case.layout, case.settings))
    for total in (6000 * 2**20, 200 * 2**20):
        disk = shutil.disk_usage("/")._replace(total=total, free=0)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, disk=disk: disk)
        write(checked)
        assert "max_file_store: 3000MB\n" in (case.layout.nats / "nats.conf").read_text()


def test_damaged_files_of_envoys_are_made_anew(case: Case) -> None:
    checked = check(Wish(case.layout, case.settings))
    write(checked)
    xds = case.layout.envoy / "xds"
    damaged = [case.layout.table, case.layout.recent, xds / "lds/lds.json", xds / "cds/cds.json"]
    sound = [path.read_bytes() for path in damaged]
    for path in damaged:
        path.write_bytes(b"junk")
    write(checked)
    assert [path.read_bytes() for path in damaged] == sound


def test_an_access_log_that_others_could_read_is_made_private(case: Case) -> None:
    checked = check(Wish(case.layout, case.settings))
    case.layout.access_log.touch(0o644)
    write(checked)
    assert stat.S_IMODE(case.layout.access_log.stat().st_mode) == 0o600


def test_a_relative_state_directory_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Layout(Path("state")).access_log == tmp_path / "state/envoy/isolated.log"


def test_a_filter_that_was_not_built_is_told(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("divertor.gateway.process.FILTER", Path("/nonexistent/filter.so"))
    with pytest.raises(UnavailableError, match="not built"):
        case.check()


def test_tokens_are_for_their_owner_alone(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    create_tokens(layout)
    for path in (layout.auth, layout.admin_token, layout.ingest_token):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert layout.admin_token.read_text().strip() not in layout.auth.read_text()


def test_a_second_start_keeps_the_tokens(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    create_tokens(layout)
    token = layout.admin_token.read_text()
    create_tokens(layout)
    assert layout.admin_token.read_text() == token


def test_a_lost_token_is_replaced(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    create_tokens(layout)
    layout.ingest_token.unlink()
    create_tokens(layout)
    assert layout.ingest_token.read_text().strip()


def test_an_address_to_listen_on_must_be_one(case: Case) -> None:
    with pytest.raises(InputError, match="--listen"):
        _wish(case, listen="localhost")


def test_an_offset_must_lead_to_ports(case: Case) -> None:
    with pytest.raises(RefusedError, match="out of the range"):
        _wish(case, port_offset=60_000)


def _wish(case: Case, listen: str = "127.0.0.1", port_offset: int = 0) -> Wish:
    return wish(
        case.layout,
        case.blueprint,
        None,
        listen=listen,
        port_offset=port_offset,
        isolate=True,
        color=False,
    )
