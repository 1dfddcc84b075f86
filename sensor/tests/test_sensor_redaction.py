"""What a report must not carry away: passwords, tokens, cookies, card numbers."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from divertor_sensor.frameworks.wsgi import DivertorWSGI
from divertor_sensor.reports.detection import Detection
from divertor_sensor.reports.redaction import is_secret, masked, secret_words, without_secrets
from divertor_sensor.sensor import Sensor
from divertor_sensor.sources.inputs import Input

SECRET = ["password", "passwd", "user[pass]", "api_key", "X-Api-Key", "authorization", "csrf_token", "pin"]
SECRET += ["card_number", "client_secret", "new-pwd", "sid", "otp", "private_key"]
PLAIN = ["author", "authors[]", "shipping", "name", "q", "keyword", "passenger", "opinion", "residence", "id"]


@pytest.mark.parametrize("name", SECRET)
def test_a_name_of_a_secret_is_known(name: str) -> None:
    assert is_secret("form", name) and len(SECRET) == 14


@pytest.mark.parametrize("name", PLAIN)
def test_any_other_name_is_not_taken_for_a_secrets(name: str) -> None:
    assert not is_secret("form", name) and len(PLAIN) == 10


def test_every_cookie_is_secret() -> None:
    assert is_secret("cookie", "theme")


def test_an_attack_in_a_secret_keeps_its_shape() -> None:
    assert masked("hunter2' OR 1=1 -- tail") == "***' OR 1=1 -- ***"


def test_the_words_of_secrets_disappear_from_a_statement() -> None:
    words = secret_words([Input("form", "password", "hunter2' x"), Input("form", "name", "bob")])
    statement = "update users set password = 'hunter2\\' x' where name = 'bob'"
    assert without_secrets(statement, words) == "update users set password = '***\\' x' where name = 'bob'"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("pay 4111 1111 1111 1111 now", "pay *** now"),
        ("4111111111111111", "***"),
        ("5500-0000-0000-0004", "***"),
        ("4111111111111112", "4111111111111112"),
        ("0000000000000000", "0000000000000000"),
        ("1700000000000000001x", "1700000000000000001x"),
    ],
)
def test_a_card_number_is_known_by_its_check_digit(text: str, hidden: str) -> None:
    assert without_secrets(text, frozenset()) == hidden


def test_secrets_without_end_are_looked_at_up_to_a_bound() -> None:
    values = [Input("cookie", str(number), "a" * 9 + str(number)) for number in range(5000)]
    assert len(secret_words(values)) == 64


def careless(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Puts a parameter, and two secrets it has learned otherwise, into one statement."""
    database = sqlite3.connect(":memory:")
    value = environ["QUERY_STRING"].partition("&")[0][2:].replace("%20", " ")
    try:
        database.execute(f"select 'hunter2', 'tok3n99' where 'a' = '{value}'").fetchall()
    finally:
        database.close()
    return []


def test_a_report_of_an_attack_holds_no_secret_of_its_request(
    make_sensor: Callable[..., Sensor], kept: list[Detection]
) -> None:
    environ: dict[str, Any] = {"QUERY_STRING": "q=b'%20or%201=1%20--&password=hunter2"}
    environ |= {"HTTP_COOKIE": "session=tok3n99", "REMOTE_ADDR": ""}
    setup_testing_defaults(environ)
    list(DivertorWSGI(careless, make_sensor())(environ, lambda *_: None))
    (found,) = kept
    assert found.statement == "select '***', '***' where 'a' = 'b' or 1=1 --'"
    assert found.payload == "b' or 1=1 --" and "hunter2" not in found.summary()
