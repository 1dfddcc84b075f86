"""Everything the sensor patches behaves as the original, in every legal call shape, in a request and outside.

All libraries that are installed here are imported, and whatever is then in `patching.patched` is tried: its
looks (name, signature, kind, equality, copies), and calls. The shapes are generated from the original's own
signature: each parameter by position or by name, each optional one given or left out, further arguments where
any are taken, and three illegal ones. The bodies are stand-ins of the same kind (function, coroutine,
generator) and signature that return what they were given, or raise; so every difference is the wrapper's.

`pytest -s -k number` prints the counts. What frameworks and servers are given is wrapped on purpose (an app,
the functions of a response): their hooks are tried for their looks here, for real in the matrix.
"""

from __future__ import annotations

import asyncio
import copy
import importlib
import inspect
import itertools
import pickle
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from divertor_sensor import context, frameworks, patching, sinks, threads
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor
from divertor_sensor.settings import Mode, Settings

Shape = tuple[tuple[Any, ...], dict[str, Any]]
#: Optional parameters beyond this many are given all or none: the shapes would be millions.
FREE = 5
#: Frames that a wrapper may add to a traceback of the host's own error: itself, and for coroutines one more.
MAX_NOISE = 2


class Failure(Exception):
    """What the stand-ins raise."""


class Told(tuple[Any, ...]):
    """What a stand-in was called with, which is what it answers; to httpx's hook it is a response as well."""

    status_code = status = 200


@dataclass(frozen=True)
class Patched:
    """One patched callable: where it is, what was there, what is there now, and why."""

    name: str
    kind: str
    owner: Any
    attribute: str
    original: Any

    @property
    def current(self) -> Any:
        return self.owner.__dict__[self.attribute]

    @property
    def is_method(self) -> bool:
        return isinstance(self.owner, type)

    @property
    def signature(self) -> inspect.Signature | None:
        try:
            return inspect.signature(self.original)
        except ValueError:
            return None


@pytest.fixture(scope="module")
def everything() -> Iterator[list[Patched]]:
    """All that is patched once everything is imported."""
    before = set(patching.patched)
    made = Sensor(Settings(mode=Mode.REPORT, strict=True))
    sinks.instrument()
    threads.instrument()
    frameworks.instrument(lambda: made)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' own, about each other
        imported: set[str] = set()
        # What is imported may ask for more.
        while missing := [module for _, module in patching.integrations if module not in imported]:
            imported.update(missing)
            for module in missing:
                with suppress(ImportError):
                    importlib.import_module(module)
    yield sorted(_found(), key=lambda each: each.name)
    patching.restore_all(but=before)


def _found() -> Iterator[Patched]:
    kinds = {name: each.kind for each in patching.integrations.values() for name in each.replaced}
    for (module, name), (owner, attribute, original) in patching.patched.items():
        yield Patched(f"{module}.{name}", kinds.get(f"{module}.{name}", "sink"), owner, attribute, original)


@contextmanager
def in_request(inside: bool) -> Iterator[None]:
    """Within a request that brings nothing, or outside of any."""
    if not inside:
        yield
        return
    sensor = Sensor(Settings(mode=Mode.REPORT, strict=True))
    token = context.current.set(Request(sensor, lambda: Head("GET", "/", "q=some+thing", {}, "")))
    try:
        yield
    finally:
        context.current.reset(token)


def shapes(signature: inspect.Signature, drop_self: bool) -> Iterator[Shape]:
    """Every legal way to call `signature`: how many by position, and which optional ones at all."""
    parameters = list(signature.parameters.values())[1 if drop_self else 0 :]
    plain = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    named = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    required = [p for p in plain + named if p.default is p.empty]
    more = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    for count in range(len(plain) + 1):
        by_position = tuple(f"value of {p.name}" for p in plain[:count])
        must = [p for p in required if p not in plain[:count]]
        if any(p.kind is p.POSITIONAL_ONLY for p in must):
            continue
        free = [p for p in plain[count:] + named if p not in must and p.kind is not p.POSITIONAL_ONLY]
        for chosen in _choices(free):
            yield _shape(by_position, must, chosen)
            if more and count == len(plain):
                yield _shape((*by_position, "one more", "another"), must, chosen)
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        yield tuple(f"value of {p.name}" for p in plain), {"any_other": "value", **_named(named)}


def _named(parameters: list[inspect.Parameter]) -> dict[str, Any]:
    return {p.name: f"value of {p.name}" for p in parameters}


def _choices(free: list[inspect.Parameter]) -> Iterator[tuple[inspect.Parameter, ...]]:
    first, rest = free[:FREE], tuple(free[FREE:])
    for size in range(len(first) + 1):
        for chosen in itertools.combinations(first, size):
            yield chosen
            if rest:
                yield (*chosen, *rest)


def _shape(by_position: tuple[Any, ...], must: list[Any], chosen: tuple[Any, ...]) -> Shape:
    return by_position, {p.name: f"value of {p.name}" for p in (*must, *chosen)}


#: No signature takes all of these.
ILLEGAL: list[Shape] = [((), {}), (("much",) * 40, {}), (("value",), {"no_such_parameter": "value"})]


def stand_ins(patched: Patched, raises: bool = False) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """(plain, proxied): a body of the original's kind and signature, bare and behind the real wrapper."""
    body = _body(patched, raises)
    if not patched.is_method:
        return body, patching.proxy(body, patched.current._self_wrapper)
    plain, proxied = (
        _holder(patched, body),
        _holder(patched, patching.proxy(body, patched.current._self_wrapper)),
    )
    return plain.call, proxied.call


def _holder(patched: Patched, body: Any) -> Any:
    """An object whose method `call` is `body`; of the real class where one can be made."""
    try:
        made: Any = type("Holder", (patched.owner,), {"call": body, "__del__": lambda self: None})
        return made.__new__(made)
    except TypeError:
        return type("Holder", (), {"call": body})()


def _body(patched: Patched, raises: bool) -> Any:
    signature, original, skip = patched.signature, patched.original, 1 if patched.is_method else 0

    def told(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if raises:
            raise Failure
        if signature is not None:
            signature.bind(*args, **kwargs)
        return Told((args[skip:], kwargs))

    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        return told(args, kwargs)

    async def asynchronous(*args: Any, **kwargs: Any) -> Any:
        yield told(args, kwargs)

    def generator(*args: Any, **kwargs: Any) -> Any:
        yield told(args, kwargs)

    def function(*args: Any, **kwargs: Any) -> Any:
        return told(args, kwargs)

    if inspect.iscoroutinefunction(original):
        return coroutine
    if inspect.isasyncgenfunction(original):
        return asynchronous
    return generator if inspect.isgeneratorfunction(original) else function


def outcome(call: Callable[..., Any], shape: Shape, inside: bool, loop: asyncio.AbstractEventLoop) -> Any:
    """What a call ends with: its value, all that it yields, or its exception."""
    args, kwargs = shape
    with in_request(inside):
        try:
            return _settled(call(*args, **kwargs), loop)
        except Exception as problem:
            return type(problem), str(problem)


def _settled(value: Any, loop: asyncio.AbstractEventLoop) -> Any:
    if inspect.isasyncgen(value):
        return loop.run_until_complete(_collected(value))
    if inspect.isawaitable(value):
        return loop.run_until_complete(value)
    return list(value) if inspect.isgenerator(value) else value


async def _collected(values: Any) -> list[Any]:
    return [value async for value in values]


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def looks(function: Any) -> dict[str, Any]:
    """How a callable looks to a program."""
    names = ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__", "__defaults__")
    kinds = (
        inspect.iscoroutinefunction,
        inspect.isasyncgenfunction,
        inspect.isgeneratorfunction,
        inspect.isbuiltin,
        inspect.isfunction,
        inspect.isroutine,
        callable,
    )
    seen = {name: getattr(function, name, None) for name in names}
    seen |= {kind.__name__: kind(function) for kind in kinds}
    return seen | {"signature": signature_of(function), "class": function.__class__, "hash": hash(function)}


def signature_of(function: Any) -> str:
    try:
        return str(inspect.signature(function))
    except ValueError:
        return "none"


def test_everything_patched_looks_as_the_original(everything: list[Patched]) -> None:
    for each in everything:
        assert looks(each.current) == looks(each.original), each.name
        assert each.current == each.original and {each.current} == {each.original}, each.name
        assert isinstance(each.current, type(each.original)), each.name


def test_everything_patched_is_copied_and_pickled_as_a_function_is(everything: list[Patched]) -> None:
    for each in everything:
        assert copy.copy(each.current) is each.current and copy.deepcopy(each.current) is each.current
        if "<locals>" in each.original.__qualname__:
            with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
                pickle.dumps(each.current)
            continue
        found = pickle.loads(pickle.dumps(each.current))
        assert found.__qualname__ == each.original.__qualname__, each.name


#: These hand on an argument that they made, a connection's class: tried for real, here and with the drivers.
FITTED = {"psycopg2._connect", "sqlite3.connect", "sqlite3.dbapi2.connect"}
#: Within a request, this one hands on a function that carries it (tried in `test_sensor_threads`).
CARRYING = {"concurrent.futures.thread.ThreadPoolExecutor.submit"}


def literal(everything: list[Patched]) -> list[Patched]:
    """What passes its arguments on as they came: all but frameworks, servers and `FITTED`."""
    return [each for each in everything if each.kind in ("sink", "context") and each.name not in FITTED]


def test_every_legal_call_is_passed_on_as_it_came(
    everything: list[Patched], loop: asyncio.AbstractEventLoop
) -> None:
    differences = []
    for each in literal(everything):
        plain, proxied = stand_ins(each)
        for shape in all_shapes(each):
            expected = outcome(plain, shape, False, loop)
            for inside in (False,) if each.name in CARRYING else (False, True):
                found = outcome(proxied, shape, inside, loop)
                if found != expected:
                    differences.append(f"{each.name} {shape} inside={inside}: {found}, not {expected}")
    assert differences == []


def all_shapes(each: Patched) -> Iterator[Shape]:
    if each.signature is not None:
        yield from shapes(each.signature, each.is_method)
    yield from ILLEGAL


def noise(each: Patched, inside: bool, loop: asyncio.AbstractEventLoop) -> int:
    """How many frames longer the traceback of the host's own exception is."""
    shape = next(all_shapes(each))
    lengths = []
    for call in stand_ins(each, raises=True):
        with in_request(inside), pytest.raises(Failure) as caught:
            _settled(call(*shape[0], **shape[1]), loop)
        lengths.append(len(traceback.extract_tb(caught.tb)))
    return lengths[1] - lengths[0]


def test_an_exception_passes_as_it_is_with_hardly_a_frame_more(
    everything: list[Patched], loop: asyncio.AbstractEventLoop
) -> None:
    found = Counter(noise(each, inside, loop) for each in literal(everything) for inside in (False, True))
    print("frames added to a traceback:", dict(sorted(found.items())))
    assert max(found) <= MAX_NOISE


#: Callables that are patched, by the top-level package of the library. None is left out silently.
CALLABLES = {
    "MySQLdb": 4,
    "aiohttp": 13,
    "aiomysql": 4,
    "asyncio": 4,
    "asyncpg": 31,
    "bottle": 3,
    "concurrent": 1,
    "django": 8,
    "falcon": 4,
    "flask": 2,
    "flask_login": 1,
    "granian": 3,
    "gunicorn": 1,
    "http": 1,
    "httpx": 2,
    "hypercorn": 2,
    "jinja2": 2,
    "ldap3": 6,
    "litestar": 2,
    "lxml": 6,
    "mako": 1,
    "multiprocessing": 4,
    "mysql": 20,
    "os": 8,
    "psycopg": 12,
    "psycopg2": 1,
    "pymongo": 39,
    "pymysql": 4,
    "pyramid": 2,
    "quart": 2,
    "socket": 3,
    "sqlite3": 2,
    "starlette": 1,
    "tarfile": 1,
    "threading": 1,
    "tornado": 7,
    "uvicorn": 1,
    "uvloop": 2,
    "waitress": 1,
    "werkzeug": 1,
    "wsgiref": 1,
    "xml": 6,
    "yaml": 2,
}
#: Shapes by interpreter version, with every library there: signatures grow.
SHAPES = {(3, 11): 12_155}


def test_the_number_of_callables_and_shapes_is_what_it_was(everything: list[Patched]) -> None:
    callables = Counter(each.name.partition(".")[0] for each in everything)
    total = sum(sum(1 for _ in all_shapes(each)) for each in literal(everything))
    print(f"{len(everything)} callables, {len(literal(everything))} of them in {total} call shapes each way")
    print(dict(sorted(callables.items())))
    # python-ldap is not installed: another test's stand-in for it may be patched in this process.
    callables.pop("ldap", None)
    # MySQL Connector's C part brings its own libssl, and does not load in a process that has another one.
    callables["mysql"] -= 9 * (callables["mysql"] == 29)
    assert dict(+callables) == {name: CALLABLES.get(name, 0) for name in +callables}
    assert len(callables) < len(CALLABLES) or total >= SHAPES.get(sys.version_info[:2], 0)
