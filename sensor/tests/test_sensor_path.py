"""What the path detector promises beyond its vectors."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor_sensor.detectors import Candidate, Finding, path
from divertor_sensor.sources.inputs import Input
from divertor_sensor.work import Work

NAMES = st.lists(st.sampled_from(["..", ".", "a", "b", "", "..x"]), min_size=1, max_size=6).map("/".join)


def finding(opened: str, value: str) -> Finding | None:
    origin = Input("query", "q", value)
    return path.judge(opened, [Candidate(text, origin) for text in path.select(value)], Work()).finding


@given(NAMES)
@settings(max_examples=300, deadline=None)
def test_every_way_out_of_the_directory_is_found_and_no_way_inside(name: str) -> None:
    target = posixpath.normpath(f"/srv/files/{name}")
    escapes = target != "/srv/files" and not target.startswith("/srv/files/")
    assert (finding(f"/srv/files/{name}", name) is not None) == escapes


def test_a_path_the_app_resolved_first_is_recognised_by_its_end() -> None:
    assert finding("/etc/passwd", "../../../etc/passwd") is not None


def test_a_path_that_pathlib_tidied_is_recognised() -> None:
    assert finding("files/../../etc/passwd", "..//.././etc/passwd") is not None


def test_an_encoded_traversal_is_recognised_after_decoding() -> None:
    assert finding("files/../x", "%2e%2e/x") is not None


def test_an_absolute_path_inside_another_directory_is_fine() -> None:
    assert finding("/srv/root/etc/passwd", "/etc/passwd") is None


def test_steps_are_found_when_the_app_strips_the_slashes_before_them() -> None:
    assert finding("../config.py", "/../config.py") is not None
    assert finding("/srv/files/../config.py", "//../config.py") is not None


def test_a_name_behind_a_tilde_is_an_ending_like_any_other_outside_a_home() -> None:
    assert finding("/srv/app/templates/profile.html", "~/profile.html") is None
    for found in ("/home/app/profile.html", "/var/home/app/profile.html", "/root/profile.html"):
        assert finding(found, "~/profile.html") is not None


def test_what_only_homes_have_and_what_lies_deeper_is_found_in_any_directory() -> None:
    assert finding("/data/users/7/.netrc", "~/.netrc") is not None
    assert finding("/etc/passwd", "~/etc/passwd") is not None


def test_the_home_of_the_app_is_a_home_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path, "_OWN_HOME", "/data/app")
    assert finding("/data/app/secret.txt", "~/secret.txt") is not None
    assert finding("/data/web/secret.txt", "~/secret.txt") is None
