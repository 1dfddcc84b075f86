"""The forms of a value that are followed: each is what a line of an app would make of it."""

from __future__ import annotations

import base64
import html
import json
import os.path
import time
import unicodedata
from collections.abc import Callable
from urllib.parse import quote, unquote, unquote_plus

import pytest

from divertor_sensor.sources.derived import derived_values

ATTACK = "x' or 1=1 --"

#: What an app does with a value, and the value that a client sends for it.
REWRITINGS: dict[str, tuple[Callable[[str], str], str]] = {
    "trims": (str.strip, f"\t{ATTACK} "),
    "collapses white space": (lambda value: " ".join(value.split()), ATTACK.replace(" ", "\n\t ")),
    "removes control characters": (lambda value: value.replace("\0", ""), "x'\0 or 1=1"),
    "takes lower case": (str.lower, "../Etc/PASSWD"),
    "decodes once more": (unquote, quote(ATTACK)),
    "decodes once more, with a plus": (unquote_plus, "x%27+or+1=1"),
    "decodes three times": (lambda value: unquote(unquote(unquote(value))), quote(quote(quote(ATTACK)))),
    "resolves entities": (html.unescape, "x&#39; or 1=1"),
    "decodes, then resolves entities": (lambda value: html.unescape(unquote(value)), "x%26#39; or 1=1"),
    "resolves escapes": (lambda value: value.encode().decode("unicode_escape"), "x\\u0027 or \\x271"),
    "resolves percent escapes": (lambda value: value.replace("%u0027", "'"), "x%u0027 or 1=1"),
    "removes backslashes": (lambda value: value.replace("\\", ""), "x\\' or 1\\=1"),
    "resolves backslashes before quotes": (lambda value: value.replace("\\'", "'"), "x\\' or '\\d'"),
    "normalises": (lambda value: unicodedata.normalize("NFKC", value), "x\uff07 or 1=1"),
    "removes accents": (
        lambda value: unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode(),
        "é' ør 1=1",
    ),
    "escapes with a backslash": (lambda value: value.replace("'", "\\'"), "\u4e2d' or 1=1"),
    "doubles quotes after a backslash": (lambda value: value.replace("'", "''"), "\\' or 1=1 --"),
    "removes quotes": (lambda value: value.replace("'", ""), "1 o'r 1=1"),
    "removes tags": (lambda value: value.replace("<b>", ""), "x' o<b>r 1=1"),
    "undoes base64": (
        lambda value: base64.b64decode(value).decode(),
        base64.b64encode(ATTACK.encode()).decode(),
    ),
    "undoes base64 of another alphabet": (
        lambda value: base64.urlsafe_b64decode(value).decode(),
        base64.urlsafe_b64encode("x' or 'ÿÿ>".encode()).decode(),
    ),
    "undoes base64, then decodes": (
        lambda value: unquote(base64.b64decode(value).decode()),
        base64.b64encode(quote(ATTACK).encode()).decode(),
    ),
    "undoes base64 behind a kind": (
        lambda value: base64.b64decode(value.partition(":")[2]).decode(),
        "user:" + base64.b64encode(ATTACK.encode()).decode(),
    ),
    "undoes base64 of a data URL": (
        lambda value: base64.b64decode(value.partition(",")[2]).decode(),
        "data:text/plain;base64," + base64.b64encode(ATTACK.encode()).decode(),
    ),
    "undoes hexadecimal": (lambda value: bytes.fromhex(value).decode(), ATTACK.encode().hex()),
    "splits at a bar": (lambda value: value.split("|")[1], f"a|{ATTACK}|b"),
    "splits at a bar what has no quotes": (lambda value: value.split("|")[1], "a|1 or 1=1|b"),
    "splits at a comma only": (lambda value: value.split(",")[0], "1;2 or 1=1,b"),
    "splits at several signs": (lambda value: value.replace(";", ",").split(",")[1], "a;x' or 1,b"),
    "splits once": (lambda value: value.split("-", 1)[1], "a-x' or 1-1, 2"),
    "takes a file's name": (os.path.basename, "a/b$(id)"),
    "takes a suffix off": (lambda value: os.path.splitext(value)[0], "x.$(id).jpg"),
    "takes a field of JSON": (lambda value: str(json.loads(value)["a"]), json.dumps({"a": ATTACK})),
}


@pytest.mark.parametrize("name", REWRITINGS)
def test_a_form_is_followed_when_an_app(name: str) -> None:
    rewrite, value = REWRITINGS[name]
    assert rewrite(value) in derived_values(value) and rewrite(value) != value


def test_every_rewriting_is_tried() -> None:
    assert len(REWRITINGS) == 33


@pytest.mark.parametrize("value", ["x", ATTACK, "a" * 100_000, "%27", "eCcgb3IgMT0x", '{"a": "\'"}', " x "])
def test_the_value_itself_is_always_its_first_form(value: str) -> None:
    assert derived_values(value)[0] == value


ORDINARY = [
    "laptop",
    "a nice red shoe",
    "17",
    "0f8fad5b-d9cb-469f-a165-70867728950e",
    "d41d8cd98f00b204e9800998ecf8427e",
    "a.b@example.com",
    "text/html,application/xhtml+xml;q=0.9,image/webp,*/*;q=0.8",
    "en-US,en;q=0.9,de;q=0.8",
    "https://shop.example/products?page=2",
    "2026-11-22T08:00:00Z",
    "+49 (30) 1234567",
]


@pytest.mark.parametrize("value", ORDINARY)
def test_an_ordinary_value_has_one_form(value: str) -> None:
    assert list(derived_values(value)) == [value]


#: Units of which a long value is made; each is worst for one of the steps.
UNITS = [
    "a",
    "'",
    "%27",
    "&amp;",
    "\\u0027",
    "é",
    "\uff07",
    "',",
    "<a>",
    "QUFB",
    "27",
    '{"a":"\'"},',
    "or ",
    "f(",
]
UNITS += ["'\n", "\\'", "  '", "<", "&", "%", "\\", "|or", "x.'", "/'", "-'", "1;a"]


@pytest.mark.parametrize("unit", UNITS)
def test_the_forms_of_a_long_value_take_linear_time_and_are_few(unit: str) -> None:
    value = unit * (200_000 // len(unit))
    started = time.process_time()
    forms = derived_values(value)
    assert len(forms) < 100 and sum(map(len, forms)) < 40 * len(value)
    assert time.process_time() - started < 2
