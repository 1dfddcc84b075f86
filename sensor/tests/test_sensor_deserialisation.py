"""Documents that run code when they are read: stopped before they do, however they came and are read."""

from __future__ import annotations

import base64
import datetime
import io
import marshal
import os
import pickle
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import yaml

from divertor_sensor import AttackInterrupted, context
from divertor_sensor.detectors import Candidate, deserialisation
from divertor_sensor.reports.detection import Detection
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor
from divertor_sensor.sources.inputs import Input
from divertor_sensor.work import Spent, Work

MakeSensor = Callable[..., Sensor]
PROOF = "/nonexistent/proof"


class Gadget:
    """Its pickle calls `os.mkdir` when it is read."""

    def __reduce__(self) -> Any:
        return os.mkdir, (PROOF,)


class Cart:
    """A class of the app, as sessions hold them."""

    def __init__(self) -> None:
        self.items = ["a"]


class OwnUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return super().find_class(module, name)


def unpickler(raw: bytes) -> Any:
    return OwnUnpickler(io.BytesIO(raw)).load()


READERS: dict[str, Callable[[bytes], Any]] = {
    "loads": pickle.loads,
    "loads by name": lambda raw: pickle.loads(raw, encoding="bytes"),
    "load": lambda raw: pickle.load(io.BytesIO(raw)),
    "Unpickler": lambda raw: pickle.Unpickler(io.BytesIO(raw)).load(),
    "an own Unpickler": unpickler,
    "the one in Python": lambda raw: pickle._loads(raw),  # type: ignore[attr-defined]
}
WAYS: dict[str, Callable[[bytes], str]] = {
    "base64": lambda raw: base64.b64encode(raw).decode(),
    "urlsafe": lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("="),
    "hex": bytes.hex,
    "signed": lambda raw: f"{base64.b64encode(raw).decode()}:1tXy:c2lnbmF0dXJl",
    "zlib": lambda raw: base64.b64encode(zlib.compress(raw)).decode(),
}


def in_cookie(sensor: Sensor, value: str) -> Request:
    return Request(sensor, lambda: Head("GET", "/", "", {"cookie": f"cart={value}"}, ""))


def in_body(sensor: Sensor, raw: bytes) -> Request:
    kind = {"content-type": "application/octet-stream"}
    made = Request(sensor, lambda: Head("POST", "/", "", kind, ""))
    made.body.record(raw)
    return made


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_gadget_is_stopped(
    reader: str, protocol: int, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    raw = pickle.dumps(Gadget(), protocol=protocol)
    with pytest.raises(AttackInterrupted):
        context.run_in(in_body(make_sensor(), raw), READERS[reader], raw)
    assert [(found.type, found.signal, found.statement) for found in kept] == [
        ("unsafe_deserialisation", "attack", "posix:mkdir")
    ]


@pytest.mark.parametrize("way", WAYS)
def test_a_gadget_is_recognised_in_what_it_came_in(way: str, make_sensor: MakeSensor) -> None:
    raw = pickle.dumps(Gadget())
    with pytest.raises(AttackInterrupted):
        context.run_in(in_cookie(make_sensor(), WAYS[way](raw)), pickle.loads, raw)


def test_a_class_of_the_app_from_a_client_is_reported_and_made(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    raw = pickle.dumps(Cart())
    made = context.run_in(in_cookie(make_sensor(), base64.b64encode(raw).decode()), pickle.loads, raw)
    assert made.items == ["a"] and [found.signal for found in kept] == ["vulnerability"]


DATA: list[Any] = [1, "text", [1, {"a": (2.5, None)}], {1, 2}, datetime.date(2026, 1, 1), b"bytes", 2j]


@pytest.mark.parametrize("value", DATA)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_data_from_a_client_is_left_alone(
    value: Any, protocol: int, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    raw = pickle.dumps(value, protocol=protocol)
    assert context.run_in(in_body(make_sensor(), raw), pickle.loads, raw) == value
    assert kept == []


def test_a_pickle_of_the_app_itself_is_left_alone(make_sensor: MakeSensor, kept: list[Detection]) -> None:
    """Whatever it asks for, as long as the request did not bring it; also outside of a request."""
    raw, request = pickle.dumps([Cart(), os.getcwd]), in_cookie(make_sensor(), "posix.getcwd")
    assert context.run_in(request, pickle.loads, raw)[1] is os.getcwd
    with pytest.raises(FileNotFoundError):
        pickle.loads(pickle.dumps(Gadget()))
    assert kept == []


def test_marshalled_code_from_a_client_is_stopped(make_sensor: MakeSensor, kept: list[Detection]) -> None:
    raw = marshal.dumps(compile("import os", "x", "exec"))
    with pytest.raises(AttackInterrupted):
        context.run_in(in_cookie(make_sensor(), raw.hex()), marshal.loads, raw)
    assert context.run_in(in_cookie(make_sensor(), "other"), marshal.loads, raw) is not None
    assert [found.sink for found in kept] == ["marshal.loads"]


def test_importing_within_a_request_reads_no_input(make_sensor: MakeSensor, kept: list[Detection]) -> None:
    context.run_in(in_cookie(make_sensor(), "aaaa"), __import__, "wave")
    assert kept == []


ATTACKS = [
    f"!!python/object/apply:os.mkdir ['{PROOF}']",
    f"a: [!!python/object/apply:os%2Emkdir ['{PROOF}']]",
    f"%TAG ! tag:yaml.org,2002:python/object/apply:os.\n--- !mkdir ['{PROOF}']",
    "!!python/object/new:subprocess.Popen [[id]]",
    "!!python/name:os.system ''",
    "!!python/module:os ''",
]
UNSAFE: dict[str, Callable[[str], Any]] = {
    "unsafe_load": yaml.unsafe_load,
    "load with Loader": lambda text: yaml.load(text, Loader=yaml.Loader),  # noqa: TID251
    "load with UnsafeLoader": lambda text: yaml.load(text, yaml.UnsafeLoader),  # noqa: TID251
    "unsafe_load_all": lambda text: list(yaml.unsafe_load_all(text)),
}
SAFE: dict[str, Callable[[str], Any]] = {"safe_load": yaml.safe_load, "full_load": yaml.full_load}


@pytest.mark.parametrize("reader", UNSAFE)
@pytest.mark.parametrize("document", ATTACKS)
def test_a_yaml_document_that_runs_code_is_stopped(
    reader: str, document: str, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    with pytest.raises(AttackInterrupted):
        context.run_in(in_body(make_sensor(), document.encode()), UNSAFE[reader], document)
    assert [(found.type, found.sink) for found in kept] == [("unsafe_deserialisation", "yaml")]


@pytest.mark.parametrize("reader", SAFE)
@pytest.mark.parametrize("document", ATTACKS[:3])
def test_a_safe_loader_refuses_by_itself(
    reader: str, document: str, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    with pytest.raises(yaml.YAMLError):
        context.run_in(in_body(make_sensor(), document.encode()), SAFE[reader], document)
    assert kept == []


@pytest.mark.parametrize("reader", [*UNSAFE, *SAFE])
def test_an_honest_yaml_document_is_left_alone(
    reader: str, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    document = "name: os.system\nvalues: [1, !!set {a, b}]\n"
    made = context.run_in(in_body(make_sensor(), document.encode()), {**UNSAFE, **SAFE}[reader], document)
    assert made and kept == []


@pytest.mark.parametrize("piece", ["A", "A=", "\x93", "c\n", "python/", "ab.", "%41", "c", "\\u"])
def test_a_long_value_takes_linear_time(piece: str) -> None:
    value, started = piece * 100_000, time.process_time()
    with suppress(Spent):
        origin = Input("form", "q", value)
        found = [Candidate(text, origin) for text in deserialisation.select(value)]
        deserialisation.judge("posix:system", found, Work())
    assert time.process_time() - started < 2
