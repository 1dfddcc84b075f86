"""Tokens: made once, kept as hashes, compared whole."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from divertor.api.auth import Auth, Principal, Role, may
from divertor.errors import UnavailableError


def bearer(token: str) -> bytes:
    return f"Bearer {token}".encode()


def test_created_tokens_are_good_and_have_their_roles(tmp_path: Path) -> None:
    auth, admin, ingest = Auth.create(tmp_path / "auth.json")
    assert auth.identify(bearer(admin)) == Principal("admin", Role.ADMIN)
    assert auth.identify(bearer(ingest)) == Principal("ingest", Role.INGEST)


def test_the_file_is_private_and_holds_no_token(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    _auth, admin, ingest = Auth.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert admin not in path.read_text()
    assert ingest not in path.read_text()


def test_a_loaded_file_knows_the_same_tokens(tmp_path: Path) -> None:
    auth, _admin, _ingest = Auth.create(tmp_path / "auth.json")
    assert Auth.load(tmp_path / "auth.json") == auth


def test_new_tokens_end_the_old_ones(tmp_path: Path) -> None:
    _auth, admin, _ingest = Auth.create(tmp_path / "auth.json")
    Auth.create(tmp_path / "auth.json")
    assert Auth.load(tmp_path / "auth.json").identify(bearer(admin)) is None


@pytest.mark.parametrize("length", [0, 1, 42])
def test_a_part_of_a_token_is_no_token(length: int, tmp_path: Path) -> None:
    auth, admin, _ingest = Auth.create(tmp_path / "auth.json")
    assert auth.identify(bearer(admin[:length])) is None


def test_only_the_bearer_scheme_counts_in_any_case(tmp_path: Path) -> None:
    auth, admin, _ingest = Auth.create(tmp_path / "auth.json")
    assert auth.identify(f"bEARER  {admin} ".encode()) is not None
    for header in (admin, f"Basic {admin}", f"Bearer{admin}", f"Bearer {admin} x", f"Bearer {'x' * 2000}"):
        assert auth.identify(header.encode()) is None


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"tokens": [{}]}', '{"tokens": [{"name": "a", "role": "admin", "sha256": "00"}]}'],
)
def test_a_damaged_file_is_refused_not_ignored(content: str, tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(UnavailableError, match=r"auth\.json"):
        Auth.load(path)


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    Auth.create(tmp_path / "auth.json")
    (tmp_path / "auth.json").chmod(0o620)
    with pytest.raises(UnavailableError, match="others may write"):
        Auth.load(tmp_path / "auth.json")


def test_a_missing_file_is_a_clear_message(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot be read"):
        Auth.load(tmp_path / "auth.json")


def test_the_file_is_json_with_names(tmp_path: Path) -> None:
    Auth.create(tmp_path / "auth.json")
    tokens = json.loads((tmp_path / "auth.json").read_text())["tokens"]
    assert [token["role"] for token in tokens] == ["admin", "ingest"]


def test_an_ingest_token_may_write_events_and_nothing_else() -> None:
    assert may(Role.INGEST, "POST", "/v1/logs")
    assert may(Role.INGEST, "POST", "/api/v1/events")
    for method, path in (("GET", "/api/v1/events"), ("POST", "/api/v1/isolations"), ("POST", "/v1/logs/")):
        assert not may(Role.INGEST, method, path)
        assert may(Role.ADMIN, method, path)
