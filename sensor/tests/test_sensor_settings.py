"""The environment contract, and what bad values lead to."""

from __future__ import annotations

import pytest

from divertor_sensor.settings import DEFAULT_SESSION_COOKIES, Mode, Settings, is_enabled, read_settings


def test_an_empty_environment_gives_the_safe_defaults() -> None:
    assert read_settings({}) == (Settings(), ())


def test_every_name_of_the_contract_is_read() -> None:
    settings, warnings = read_settings(
        {
            "DIVERTOR_MODE": "divert",
            "DIVERTOR_ENDPOINT": "http://127.0.0.1:9090/",
            "DIVERTOR_INGEST_TOKEN": "in",
            "DIVERTOR_DIVERT_TOKEN": "out",
            "DIVERTOR_SERVICE": "hackable",
            "DIVERTOR_VERSION": "hackable:1.1.0",
            "DIVERTOR_INSTANCE": "hackable-1",
            "DIVERTOR_SESSION_COOKIE": "sid, other",
            "DIVERTOR_TRUSTED_HOPS": "1",
            "DIVERTOR_INSIDE_HOSTS": "Hooks.internal:8080, 10.0.0.7",
        }
    )
    assert not warnings
    assert settings == Settings(
        mode=Mode.DIVERT,
        endpoint="http://127.0.0.1:9090",
        ingest_token="in",
        divert_token="out",
        service="hackable",
        version="hackable:1.1.0",
        instance="hackable-1",
        session_cookies=("sid", "other"),
        trusted_hops=1,
        inside_hosts=("hooks.internal:8080", "10.0.0.7"),
    )


BAD = [
    ("DIVERTOR_MODE", "destroy"),
    ("DIVERTOR_ENDPOINT", "ftp://x"),
    ("DIVERTOR_ENDPOINT", "http://"),
    ("DIVERTOR_ENDPOINT", "http://h:99999"),
    ("DIVERTOR_INGEST_TOKEN", "a\r\nb"),
    ("DIVERTOR_DIVERT_TOKEN", "ü"),
    ("DIVERTOR_TRUSTED_HOPS", "-1"),
    ("DIVERTOR_TRUSTED_HOPS", "many"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_gives_one_warning_and_the_default(name: str, value: str) -> None:
    settings, warnings = read_settings({name: value})
    assert settings == Settings() and len(warnings) == 1 and name in warnings[0]


def test_an_empty_list_of_session_cookies_means_the_usual_ones() -> None:
    assert read_settings({"DIVERTOR_SESSION_COOKIE": " , "})[0].session_cookies == DEFAULT_SESSION_COOKIES


def test_only_a_clear_yes_enables_the_sensor() -> None:
    assert [is_enabled({"DIVERTOR_SENSOR": text}) for text in ("1", "true", "0", "", "no")] == [
        True,
        True,
        False,
        False,
        False,
    ]
